//! Who is known where, where guests are heard, and what of that is to be done. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use photon_host::links::{Kind, Link};

use crate::ADDRESS;
use crate::instance::Instance;

/// What the names of VRFs of VPCs begin with (`photon_resource::vrf_name`).
const VRF: &str = "pv";

/// A VM, by one of its interfaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub instance: Arc<Instance>,
    pub tap: String,
}

/// The guests of a VRF, by their addresses in it.
pub type Callers = BTreeMap<IpAddr, Known>;

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub vrf: String,
    /// The index of the VRF's device: a socket of another index is deaf.
    pub index: u32,
}

/// What there is, and what should be.
#[derive(Debug, Default)]
pub struct Observed {
    pub instances: Vec<Arc<Instance>>,
    pub links: Vec<Link>,
    /// What is open and heard.
    pub open: BTreeSet<Endpoint>,
    /// Who is known in each VRF.
    pub known: BTreeMap<String, Arc<Callers>>,
}

/// What has to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// VRFs in which others are known than before.
    pub know: BTreeMap<String, Arc<Callers>>,
    pub close: BTreeSet<Endpoint>,
    pub open: BTreeSet<Endpoint>,
    /// VRFs that are not there any more.
    pub forget: BTreeSet<String>,
}

impl photon_reconcile::Plan for Plan {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn summary(&self) -> String {
        let guests: usize = self.know.values().map(|callers| callers.len()).sum();
        format!(
            "{guests} addresses known anew in {} VRFs, {} sockets to open, {} to close, {} VRFs to forget",
            self.know.len(),
            self.open.len(),
            self.close.len(),
            self.forget.len()
        )
    }
}

/// What leads from what there is to what should be.
pub fn plan(observed: &Observed) -> Plan {
    let endpoints = endpoints(&observed.links);
    let mut callers = callers(&observed.instances, &observed.links);
    let vrfs: BTreeSet<&String> = endpoints.iter().map(|it| &it.vrf).collect();
    let know = vrfs.iter().filter_map(|vrf| {
        let wanted = callers.remove(*vrf).unwrap_or_default();
        let known = observed.known.get(*vrf);
        let same = known.is_some_and(|known| **known == wanted);
        (!same).then(|| ((*vrf).clone(), Arc::new(wanted)))
    });
    let know = know.collect();
    let forget = observed.known.keys().filter(|vrf| !vrfs.contains(vrf));
    Plan {
        know,
        close: observed.open.difference(&endpoints).cloned().collect(),
        open: endpoints.difference(&observed.open).cloned().collect(),
        forget: forget.cloned().collect(),
    }
}

/// In each VRF that has our address. Where it has not, nowhere.
fn endpoints(links: &[Link]) -> BTreeSet<Endpoint> {
    let ours = links.iter().filter(|link| {
        let is_vrf = link.name.starts_with(VRF) && matches!(link.kind, Kind::Vrf { .. });
        let mut addresses = link.addresses.iter();
        is_vrf && addresses.any(|it| it.addr() == IpAddr::from(ADDRESS))
    });
    ours.map(|link| Endpoint {
        vrf: link.name.clone(),
        index: link.index,
    })
    .collect()
}

/// The guests of each VRF: those whose TAP is in a bridge that is in it. An address that two are said to have is nobody's:
/// one of them would be told what is the other's.
fn callers(instances: &[Arc<Instance>], links: &[Link]) -> BTreeMap<String, Callers> {
    let by_name: BTreeMap<&str, &Link> = links.iter().map(|it| (it.name.as_str(), it)).collect();
    let vrf_of = |tap: &str| {
        let bridge = by_name.get(tap)?.master.as_deref()?;
        by_name.get(bridge)?.master.clone()
    };
    let mut all: BTreeMap<String, Callers> = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for instance in instances {
        for interface in &instance.interfaces {
            let Some(vrf) = vrf_of(&interface.tap) else {
                continue;
            };
            let address = IpAddr::from(interface.address.addr());
            let known = Known {
                instance: instance.clone(),
                tap: interface.tap.clone(),
            };
            let callers = all.entry(vrf.clone()).or_default();
            if callers.insert(address, known).is_some() {
                twice.insert((vrf, address));
            }
        }
    }
    for (vrf, address) in twice {
        all.get_mut(&vrf).map(|callers| callers.remove(&address));
    }
    all
}

#[cfg(test)]
mod tests;
