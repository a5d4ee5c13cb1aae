//! Hosts, as they register themselves.

use std::collections::BTreeSet;

use photon_resource::{Error, ResourceName, Scope, Time};

use super::kind;

/// Processors that a host can have: Linux on x86-64 knows no more (`NR_CPUS` of arch/x86/Kconfig).
const MOST_VCPUS: u32 = 8192;
/// Memory that a host can have, in MiB: 64 TiB, all that x86-64 with four levels of page tables addresses
/// (Documentation/arch/x86/x86_64/mm.rst).
const MOST_MEMORY_MIB: u64 = 64 << 20;
/// The largest file system that a host's disks make: 16 PiB, five hundred of the largest drives there are (32 TiB).
const MOST_DISK_BYTES: u64 = 16 << 50;

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
        if self.vcpus == 0 || self.vcpus > MOST_VCPUS {
            let expected = format!("1 to {MOST_VCPUS}");
            return Err(Error::invalid("node.vcpus", self.vcpus, expected));
        }
        if self.memory_mib == 0 || self.memory_mib > MOST_MEMORY_MIB {
            let expected = format!("1 to {MOST_MEMORY_MIB} (64 TiB)");
            return Err(Error::invalid("node.memory_mib", self.memory_mib, expected));
        }
        if self.disk_bytes > MOST_DISK_BYTES {
            let expected = format!("at most {MOST_DISK_BYTES} (16 PiB)");
            return Err(Error::invalid("node.disk_bytes", self.disk_bytes, expected));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Node {
        Node {
            name: "node01".into(),
            vcpus: MOST_VCPUS,
            memory_mib: MOST_MEMORY_MIB,
            overhead: Overhead::default(),
            disk_bytes: MOST_DISK_BYTES,
            accelerator: "kvm".into(),
            hypervisors: BTreeSet::from([Hypervisor::Qemu]),
            agent_version: "1".into(),
            last_seen: Time::now(),
        }
    }

    /// Whoever has most free memory gets the next VM, so a host that lies draws all of them.
    #[test]
    fn a_host_that_can_not_be_is_refused() {
        host().validate().unwrap();
        for (node, text) in [
            (
                Node {
                    vcpus: MOST_VCPUS + 1,
                    ..host()
                },
                "node.vcpus '8193' is not valid: expected 1 to 8192",
            ),
            (
                Node {
                    memory_mib: 1 << 30,
                    ..host()
                },
                "node.memory_mib '1073741824' is not valid: expected 1 to 67108864 (64 TiB)",
            ),
            (
                Node {
                    disk_bytes: 1 << 60,
                    ..host()
                },
                "node.disk_bytes '1152921504606846976' is not valid: expected at most 18014398509481984 (16 PiB)",
            ),
        ] {
            assert_eq!(node.validate().unwrap_err().to_string(), text);
        }
    }
}
