//! Hosts.

use std::time::SystemTime;

use photon_api::plasmavmc::v1;
use photon_resource::Error;

use super::unknown;
use crate::model::{Hypervisor, Node, Size};

/// What a host says of itself, seen at `now`.
pub fn node_from_wire(node: v1::Node, now: SystemTime) -> Result<Node, Error> {
    let hypervisors = node.hypervisors.iter().map(|kind| {
        hypervisor("node.hypervisors", *kind)?.ok_or_else(|| {
            unknown(
                "node.hypervisors",
                *kind,
                "HYPERVISOR_KIND_QEMU and HYPERVISOR_KIND_FIRECRACKER",
            )
        })
    });
    Ok(Node {
        name: node.name,
        vcpus: node.vcpus,
        memory_mib: node.memory_mib,
        accelerator: node.accelerator,
        hypervisors: hypervisors.collect::<Result<_, Error>>()?,
        agent_version: node.agent_version,
        last_seen: now,
    })
}

/// `None`: not said.
pub(super) fn hypervisor(field: &str, value: i32) -> Result<Option<Hypervisor>, Error> {
    match v1::HypervisorKind::try_from(value) {
        Ok(v1::HypervisorKind::Unspecified) => Ok(None),
        Ok(v1::HypervisorKind::Qemu) => Ok(Some(Hypervisor::Qemu)),
        Ok(v1::HypervisorKind::Firecracker) => Ok(Some(Hypervisor::Firecracker)),
        Err(_) => Err(unknown(
            field,
            value,
            "HYPERVISOR_KIND_QEMU and HYPERVISOR_KIND_FIRECRACKER",
        )),
    }
}

pub(super) fn hypervisor_to_wire(hypervisor: Hypervisor) -> i32 {
    match hypervisor {
        Hypervisor::Qemu => v1::HypervisorKind::Qemu.into(),
        Hypervisor::Firecracker => v1::HypervisorKind::Firecracker.into(),
    }
}

pub fn node_to_wire(node: &Node, used: Size, ready: bool) -> v1::Node {
    v1::Node {
        name: node.name.clone(),
        vcpus: node.vcpus,
        memory_mib: node.memory_mib,
        vcpus_used: used.vcpus,
        memory_mib_used: used.memory_mib,
        accelerator: node.accelerator.clone(),
        hypervisors: node
            .hypervisors
            .iter()
            .map(|hypervisor| hypervisor_to_wire(*hypervisor))
            .collect(),
        last_seen: Some(node.last_seen.into()),
        ready,
        agent_version: node.agent_version.clone(),
    }
}
