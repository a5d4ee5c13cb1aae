//! What guests are told of themselves: a file for each VM, which plasmavmc-metadata answers from. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use photon_resource::VmId;
use plasmavmc_metadata::{Instance, Interface, Tokens};

use super::desired::{Desired, DesiredInterface, DesiredVm};
use super::seed;

/// What there is, and what should be.
#[derive(Debug, Default)]
pub struct Observed {
    pub desired: Arc<Desired>,
    pub files: BTreeMap<VmId, Vec<u8>>,
    /// VMs of which this host has something, whether or not the server mentions them.
    pub here: BTreeSet<VmId>,
}

/// What has to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub write: BTreeMap<VmId, Vec<u8>>,
    pub remove: BTreeSet<VmId>,
}

impl photon_reconcile::Plan for Plan {
    fn is_empty(&self) -> bool {
        self.write.is_empty() && self.remove.is_empty()
    }

    fn summary(&self) -> String {
        let (write, remove) = (self.write.len(), self.remove.len());
        format!("{write} guests to be told otherwise, {remove} nothing")
    }
}

/// The plan. A VM that the server does not mention, or that is not understood, is told what it was: its deletion is always
/// said.
pub fn plan(observed: &Observed) -> Plan {
    let desired = &observed.desired;
    let mut plan = Plan::default();
    for (id, vm) in &desired.vms {
        let wanted = (vm.metadata.enabled && !vm.deleting)
            .then(|| instance(*id, vm).to_file().ok())
            .flatten();
        match wanted {
            Some(wanted) if observed.files.get(id) != Some(&wanted) => {
                plan.write.insert(*id, wanted);
            }
            None if observed.files.contains_key(id) => {
                plan.remove.insert(*id);
            }
            _ => {}
        }
    }
    let strangers = observed.files.keys().filter(|id| {
        let known = desired.vms.contains_key(id) || desired.refused.contains_key(id);
        !known && !observed.here.contains(id)
    });
    plan.remove.extend(strangers);
    plan
}

fn instance(id: VmId, vm: &DesiredVm) -> Instance {
    Instance {
        vm: id,
        instance_id: seed::instance_id(id, vm),
        org: vm.org.to_string(),
        project: vm.project.to_string(),
        name: vm.name.clone(),
        hostname: vm.hostname.clone(),
        vcpus: vm.vcpus,
        memory_mib: vm.memory_mib,
        ssh_authorized_keys: vm.ssh_authorized_keys.clone(),
        user_data: match vm.user_data_binary.as_str() {
            "" => STANDARD.encode(&vm.user_data),
            encoded => encoded.to_owned(),
        },
        meta_data: seed::meta_data(id, vm),
        network_config: seed::network_config(vm).to_string(),
        interfaces: vm.interfaces.iter().filter_map(interface).collect(),
        http_tokens: match vm.metadata.tokens_required {
            true => Tokens::Required,
            false => Tokens::Optional,
        },
        hop_limit: vm.metadata.hop_limit,
    }
}

/// `None`: its address is not known, which an earlier release attached; nobody can be told from it.
fn interface(it: &DesiredInterface) -> Option<Interface> {
    let known = it.addressing.as_ref()?;
    Some(Interface {
        tap: it.tap.clone(),
        name: it.name.clone(),
        mac: it.mac.clone(),
        mtu: it.mtu,
        address: known.address,
        gateway: known.gateway,
        dhcp: known.dhcp,
        dns: known.dns.clone(),
        ipv6: known.ipv6,
    })
}

#[cfg(test)]
mod tests {
    use photon_reconcile::Plan as _;
    use serde_json::json;

    use super::*;

    fn id(n: u8) -> VmId {
        format!("00000000-0000-4000-8000-0000000000{n:02x}")
            .parse()
            .unwrap()
    }

    fn vm() -> DesiredVm {
        serde_json::from_value(json!({
            "org": "acme", "project": "web", "name": "a", "hostname": "a-1", "vcpus": 1, "memory_mib": 64,
            "power": "on", "user_data": "#!/bin/sh\n",
            "interfaces": [
                {"tap": "pt1", "mac": "fa:16:3e:00:00:01", "name": "eth0", "addressing":
                    {"address": "10.0.1.10/24", "gateway": "10.0.1.1", "dhcp": true}},
                {"tap": "pt2", "mac": "fa:16:3e:00:00:02", "name": "eth1"},
            ],
        }))
        .unwrap()
    }

    fn observed(vms: &[(u8, DesiredVm)]) -> Observed {
        let vms = vms.iter().map(|(n, vm)| (id(*n), vm.clone()));
        Observed {
            desired: Arc::new(Desired {
                vms: vms.collect(),
                ..Desired::default()
            }),
            ..Observed::default()
        }
    }

    fn done(observed: &mut Observed) {
        let plan = plan(observed);
        observed.files.extend(plan.write);
        observed.files.retain(|id, _| !plan.remove.contains(id));
    }

    #[test]
    fn a_guest_is_told_what_its_vm_is_and_is_known_by_the_addresses_that_are() {
        let mut host = observed(&[(1, vm())]);
        done(&mut host);
        assert!(plan(&host).is_empty());
        let told = Instance::from_file(&host.files[&id(1)]).unwrap();
        assert_eq!((told.vm, told.hostname.as_str()), (id(1), "a-1"));
        assert_eq!(STANDARD.decode(&told.user_data).unwrap(), b"#!/bin/sh\n");
        let taps: Vec<_> = told.interfaces.iter().map(|it| it.tap.as_str()).collect();
        assert_eq!(taps, ["pt1"]);
        assert_eq!((told.http_tokens, told.hop_limit), (Tokens::Required, 1));
        assert!(told.meta_data.contains("local-hostname: \"a-1\""));
        // Once more after a change.
        let mut other = vm();
        other.hostname = "b".into();
        other.metadata.tokens_required = false;
        other.metadata.hop_limit = 2;
        host.desired = observed(&[(1, other)]).desired;
        assert_eq!(plan(&host).write.len(), 1);
        done(&mut host);
        let told = Instance::from_file(&host.files[&id(1)]).unwrap();
        assert_eq!((told.http_tokens, told.hop_limit), (Tokens::Optional, 2));
    }

    #[test]
    fn who_goes_or_does_not_want_it_is_told_nothing() {
        let mut host = observed(&[(1, vm()), (2, vm())]);
        done(&mut host);
        assert_eq!(host.files.len(), 2);
        let (mut going, mut quiet) = (vm(), vm());
        going.deleting = true;
        quiet.metadata.enabled = false;
        host.desired = observed(&[(1, going), (2, quiet)]).desired;
        assert_eq!(plan(&host).remove, [id(1), id(2)].into());
        done(&mut host);
        assert!(plan(&host).is_empty());
    }

    #[test]
    fn who_is_not_spoken_of_is_told_what_it_was_while_it_is_here() {
        let mut host = observed(&[(1, vm()), (2, vm()), (3, vm())]);
        done(&mut host);
        host.desired = Arc::new(Desired {
            refused: [(id(1), "not understood".to_owned())].into(),
            ..Desired::default()
        });
        host.here = [id(2)].into();
        assert_eq!(plan(&host).remove, [id(3)].into());
    }
}
