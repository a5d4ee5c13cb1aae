//! Hosts, as they register themselves.

use std::collections::BTreeSet;

use photon_resource::{Error, ResourceName, Scope, Time};

use super::kind;

/// What runs a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hypervisor {
    Qemu,
    Firecracker,
}

impl Hypervisor {
    /// As people name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::Firecracker => "Firecracker",
        }
    }
}

/// A host that can hold VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    pub hypervisors: BTreeSet<Hypervisor>,
    pub agent_version: String,
    /// When it was last heard of.
    pub last_seen: Time,
}

impl Node {
    pub fn resource_name(name: &str) -> ResourceName {
        kind::NODES.name(Scope::System, name)
    }

    /// Checks what a host says of itself.
    ///
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        if self.vcpus == 0 || self.vcpus > 65_536 {
            return Err(Error::invalid("node.vcpus", self.vcpus, "1 to 65536"));
        }
        // 1 PiB: a typing error, not a host.
        if self.memory_mib == 0 || self.memory_mib > 1 << 30 {
            return Err(Error::invalid(
                "node.memory_mib",
                self.memory_mib,
                "1 to 1073741824",
            ));
        }
        if !["kvm", "tcg"].contains(&self.accelerator.as_str()) {
            return Err(Error::invalid(
                "node.accelerator",
                &self.accelerator,
                "'kvm' or 'tcg'",
            ));
        }
        if self.hypervisors.is_empty() {
            return Err(Error::invalid(
                "node.hypervisors",
                "",
                "at least one of HYPERVISOR_KIND_QEMU and HYPERVISOR_KIND_FIRECRACKER",
            ));
        }
        if self.agent_version.len() > 100 {
            return Err(Error::invalid(
                "node.agent_version",
                &self.agent_version,
                "at most 100 bytes",
            ));
        }
        Ok(())
    }
}
