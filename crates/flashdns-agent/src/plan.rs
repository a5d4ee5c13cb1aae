//! What should be open, and what of that is to be done. Pure.

mod desired;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use photon_host::links::{Kind, Link};
use photon_resource::{VpcId, vrf_name};
use serde::Serialize;

pub use desired::{Desired, Vpc};

/// Where guests of a VPC are heard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    pub vpc: VpcId,
    /// The index of the VRF's device: a socket of another index is deaf.
    pub index: u32,
    pub address: IpAddr,
    pub protocol: Protocol,
}

/// How guests ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Udp,
    Tcp,
}

/// What there is, and what should be.
#[derive(Clone, Debug)]
pub struct Observed {
    pub desired: Arc<Desired>,
    pub links: Vec<Link>,
    /// What is open and heard.
    pub open: BTreeSet<Endpoint>,
    /// What each VPC is answered from, and with which suffix.
    pub answered: BTreeMap<VpcId, (Arc<Vpc>, String)>,
}

/// What has to be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// VPCs whose guests are to be answered from something else than before.
    pub answer: BTreeSet<VpcId>,
    pub close: BTreeSet<Endpoint>,
    pub open: BTreeSet<Endpoint>,
    /// VPCs that no guest of this host is in any more.
    pub forget: BTreeSet<VpcId>,
}

impl photon_reconcile::Plan for Plan {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn summary(&self) -> String {
        format!(
            "{} views anew, {} sockets to open, {} to close, {} VPCs to forget",
            self.answer.len(),
            self.open.len(),
            self.close.len(),
            self.forget.len()
        )
    }
}

/// What leads from what there is to what should be.
pub fn plan(observed: &Observed) -> Plan {
    let desired = &observed.desired;
    let endpoints = endpoints(desired, &observed.links);
    let suffix = &desired.suffix;
    let answer = desired.vpcs.iter().filter(|(id, vpc)| {
        let answered = observed.answered.get(id);
        answered.is_none_or(|(of, with)| of != *vpc || with != suffix)
    });
    let forget = observed.answered.keys();
    let forget = forget.filter(|id| !desired.vpcs.contains_key(id));
    Plan {
        answer: answer.map(|(id, _)| *id).collect(),
        close: observed.open.difference(&endpoints).cloned().collect(),
        open: endpoints.difference(&observed.open).cloned().collect(),
        forget: forget.copied().collect(),
    }
}

/// Where guests are to be heard: at the gateways that the host has in a VPC's VRF. Where there is no VRF, or not that
/// address in it, nowhere.
fn endpoints(desired: &Desired, links: &[Link]) -> BTreeSet<Endpoint> {
    let mut endpoints = BTreeSet::new();
    for (id, vpc) in &desired.vpcs {
        let device = vrf_name(*id);
        let is_vrf = |link: &&Link| link.name == device && matches!(link.kind, Kind::Vrf { .. });
        let Some(vrf) = links.iter().find(is_vrf) else {
            continue;
        };
        let inside = |link: &&Link| link.master.as_ref() == Some(&device);
        let addresses: BTreeSet<IpAddr> = links
            .iter()
            .filter(inside)
            .flat_map(|link| &link.addresses)
            .map(|address| address.addr())
            .collect();
        for address in vpc.gateways.iter().filter(|it| addresses.contains(it)) {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                endpoints.insert(Endpoint {
                    vpc: *id,
                    index: vrf.index,
                    address: *address,
                    protocol,
                });
            }
        }
    }
    endpoints
}

#[cfg(test)]
mod tests;
