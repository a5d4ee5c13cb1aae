//! Hosts.

use photon_api::plasmavmc::v1 as pb;
use photon_catalog::wire::timestamp;
use photon_resource::{Error, Time};

use super::unknown;
use crate::app::Standing;
use crate::model::{Hypervisor, Node, Overhead};

/// What a host says of itself, seen at `now`.
pub fn node_from_wire(node: pb::Node, now: Time) -> Result<Node, Error> {
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
        overhead: node
            .memory_overhead
            .map(|overhead| Overhead {
                per_vm_mib: overhead.per_vm_mib,
                per_vcpu_mib: overhead.per_vcpu_mib,
                per_gib_mib: overhead.per_gib_mib,
            })
            .unwrap_or_default(),
        disk_bytes: node.disk_bytes,
        accelerator: node.accelerator,
        hypervisors: hypervisors.collect::<Result<_, Error>>()?,
        agent_version: node.agent_version,
        last_seen: now,
    })
}

/// `None`: not said.
pub(super) fn hypervisor(field: &str, value: i32) -> Result<Option<Hypervisor>, Error> {
    match pb::HypervisorKind::try_from(value) {
        Ok(pb::HypervisorKind::Unspecified) => Ok(None),
        Ok(pb::HypervisorKind::Qemu) => Ok(Some(Hypervisor::Qemu)),
        Ok(pb::HypervisorKind::Firecracker) => Ok(Some(Hypervisor::Firecracker)),
        Err(_) => Err(unknown(
            field,
            value,
            "HYPERVISOR_KIND_QEMU and HYPERVISOR_KIND_FIRECRACKER",
        )),
    }
}

pub(super) fn hypervisor_to_wire(hypervisor: Hypervisor) -> i32 {
    match hypervisor {
        Hypervisor::Qemu => pb::HypervisorKind::Qemu.into(),
        Hypervisor::Firecracker => pb::HypervisorKind::Firecracker.into(),
    }
}

/// A host as operators see it.
pub fn node_to_wire(standing: &Standing) -> pb::Node {
    let Standing { node, used, ready } = standing;
    pb::Node {
        name: node.name.clone(),
        vcpus: node.vcpus,
        memory_mib: node.memory_mib,
        vcpus_used: used.vcpus,
        memory_mib_used: used.memory_mib,
        memory_overhead: (node.overhead != Overhead::default()).then_some(pb::MemoryOverhead {
            per_vm_mib: node.overhead.per_vm_mib,
            per_vcpu_mib: node.overhead.per_vcpu_mib,
            per_gib_mib: node.overhead.per_gib_mib,
        }),
        memory_mib_overhead: node.overhead.with(*used) - used.memory_mib,
        disk_bytes: node.disk_bytes,
        disk_bytes_used: used.disk_bytes,
        accelerator: node.accelerator.clone(),
        hypervisors: node
            .hypervisors
            .iter()
            .map(|hypervisor| hypervisor_to_wire(*hypervisor))
            .collect(),
        last_seen: Some(timestamp(node.last_seen)),
        ready: *ready,
        agent_version: node.agent_version.clone(),
    }
}
