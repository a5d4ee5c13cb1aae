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

/// What VMs take of a host, or a host has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    pub vms: u32,
    pub vcpus: u32,
    /// As guests see it.
    pub memory_mib: u64,
    /// As guests see their disks; on the host they take what was written to.
    pub disk_bytes: u64,
}

impl Load {
    /// With what `more` takes.
    pub fn and(self, more: Load) -> Self {
        Self {
            vms: self.vms.saturating_add(more.vms),
            vcpus: self.vcpus.saturating_add(more.vcpus),
            memory_mib: self.memory_mib.saturating_add(more.memory_mib),
            disk_bytes: self.disk_bytes.saturating_add(more.disk_bytes),
        }
    }

    /// Without what `less` takes.
    pub fn without(self, less: Load) -> Self {
        Self {
            vms: self.vms.saturating_sub(less.vms),
            vcpus: self.vcpus.saturating_sub(less.vcpus),
            memory_mib: self.memory_mib.saturating_sub(less.memory_mib),
            disk_bytes: self.disk_bytes.saturating_sub(less.disk_bytes),
        }
    }
}

/// Memory that a host's processes take beside their guests', in MiB. A host that says nothing of it takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overhead {
    pub per_vm_mib: u32,
    pub per_vcpu_mib: u32,
    /// For each GiB of guests' memory.
    pub per_gib_mib: u32,
}

impl Overhead {
    /// Memory of the host that these VMs take in all, in MiB.
    pub fn with(self, load: Load) -> u64 {
        let share = load.memory_mib.saturating_mul(self.per_gib_mib.into()) / 1024;
        let processes = u64::from(self.per_vm_mib) * u64::from(load.vms);
        let threads = u64::from(self.per_vcpu_mib) * u64::from(load.vcpus);
        load.memory_mib
            .saturating_add(share)
            .saturating_add(processes)
            .saturating_add(threads)
    }
}

/// A host that can hold VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub overhead: Overhead,
    /// Size of the file system that disks are on; 0: not said.
    pub disk_bytes: u64,
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
        if self.disk_bytes > 1 << 60 {
            return Err(Error::invalid(
                "node.disk_bytes",
                self.disk_bytes,
                "at most 1152921504606846976 (1 EiB)",
            ));
        }
        let overhead = [
            ("per_vm_mib", self.overhead.per_vm_mib),
            ("per_vcpu_mib", self.overhead.per_vcpu_mib),
            ("per_gib_mib", self.overhead.per_gib_mib),
        ];
        for (field, value) in overhead {
            if value > 65_536 {
                let field = format!("node.memory_overhead.{field}");
                return Err(Error::invalid(field, value, "at most 65536"));
            }
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
