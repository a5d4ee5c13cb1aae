//! Which host a new VM goes to: a pure, deterministic function of what the hosts have and hold.

use std::collections::BTreeSet;

use photon_resource::Error;

use crate::model::{Hypervisor, Load, Node, Overhead};

#[cfg(test)]
mod tests;

const MIB: u64 = 1 << 20;

/// One host as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    /// Heard of lately.
    pub ready: bool,
    /// What it has; its bytes of disk are 0 where it does not say them. (`vms` is of no account.)
    pub total: Load,
    /// What VMs placed on it take.
    pub used: Load,
    pub overhead: Overhead,
    pub hypervisors: BTreeSet<Hypervisor>,
}

/// How often what a host has may be promised. Memory is promised once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit {
    pub vcpus: u32,
    pub disk: u32,
}

impl Candidate {
    pub fn new(node: &Node, used: Load, ready: bool) -> Self {
        Self {
            name: node.name.clone(),
            ready,
            total: Load {
                vms: 0,
                vcpus: node.vcpus,
                memory_mib: node.memory_mib,
                disk_bytes: node.disk_bytes,
            },
            used,
            overhead: node.overhead,
            hypervisors: node.hypervisors.clone(),
        }
    }

    /// What one more VM of `vcpus` may have at most.
    pub fn free(&self, vcpus: u32, overcommit: Overcommit) -> Load {
        let promised = self.total.vcpus.saturating_mul(overcommit.vcpus.max(1));
        let bare = Load {
            vms: 1,
            vcpus,
            ..Load::default()
        };
        let taken = self.overhead.with(self.used.and(bare));
        let memory = self.total.memory_mib.saturating_sub(taken);
        let gib = 1024 + u64::from(self.overhead.per_gib_mib);
        Load {
            vms: 1,
            vcpus: promised.saturating_sub(self.used.vcpus),
            memory_mib: memory.saturating_mul(1024) / gib,
            disk_bytes: match self.total.disk_bytes {
                0 => u64::MAX,
                total => total
                    .saturating_mul(overcommit.disk.max(1).into())
                    .saturating_sub(self.used.disk_bytes),
            },
        }
    }

    fn has_room(&self, wanted: Load, overcommit: Overcommit) -> bool {
        let free = self.free(wanted.vcpus, overcommit);
        free.vcpus >= wanted.vcpus
            && free.memory_mib >= wanted.memory_mib
            && free.disk_bytes >= wanted.disk_bytes
    }
}

/// Chooses the host with the most free memory, and among equals the first by name.
///
/// Errors: `FailedPrecondition` if no host offers the hypervisor, `Unavailable` if those that do are not
/// heard of, `ResourceExhausted` with what is free if they have no room.
pub fn choose(
    candidates: &[Candidate],
    wanted: Load,
    hypervisor: Hypervisor,
    overcommit: Overcommit,
) -> Result<&Candidate, Error> {
    let offering: Vec<&Candidate> = candidates
        .iter()
        .filter(|host| host.hypervisors.contains(&hypervisor))
        .collect();
    if offering.is_empty() && !candidates.is_empty() {
        return Err(no_hypervisor(hypervisor, candidates));
    }
    let ready: Vec<&Candidate> = offering.into_iter().filter(|host| host.ready).collect();
    if ready.is_empty() {
        return Err(Error::Unavailable(
            "no host is ready to take a VM: try again later, or ask those who run the cloud"
                .to_owned(),
        ));
    }
    ready
        .iter()
        .filter(|host| host.has_room(wanted, overcommit))
        .max_by(|a, b| {
            let memory = |host: &Candidate| host.free(wanted.vcpus, overcommit).memory_mib;
            memory(a).cmp(&memory(b)).then(b.name.cmp(&a.name))
        })
        .copied()
        .ok_or_else(|| no_room(&ready, wanted, overcommit))
}

/// Takes the named host, if it can hold the VM.
///
/// Errors: as [`choose`], and `InvalidArgument` if there is no such host.
pub fn choose_named<'a>(
    candidates: &'a [Candidate],
    name: &str,
    wanted: Load,
    hypervisor: Hypervisor,
    overcommit: Overcommit,
) -> Result<&'a Candidate, Error> {
    let Some(host) = candidates.iter().find(|host| host.name == name) else {
        let names: Vec<&str> = candidates.iter().map(|host| host.name.as_str()).collect();
        let expected = match names.as_slice() {
            [] => "nothing: no host has registered itself yet".to_owned(),
            names => format!("one of {}", names.join(", ")),
        };
        return Err(Error::invalid("node", name, expected));
    };
    if !host.hypervisors.contains(&hypervisor) {
        return Err(no_hypervisor(hypervisor, std::slice::from_ref(host)));
    }
    if !host.ready {
        return Err(Error::Unavailable(format!(
            "host '{name}' has not been heard of lately: start its plasmavmc-agent, or name another host"
        )));
    }
    if !host.has_room(wanted, overcommit) {
        return Err(no_room(&[host], wanted, overcommit));
    }
    Ok(host)
}

fn no_hypervisor(hypervisor: Hypervisor, candidates: &[Candidate]) -> Error {
    let offered: BTreeSet<&str> = candidates
        .iter()
        .flat_map(|host| host.hypervisors.iter().map(|kind| kind.as_str()))
        .collect();
    let offered: Vec<&str> = offered.into_iter().collect();
    Error::FailedPrecondition(format!(
        "no host offers {} as hypervisor: use one of {}",
        hypervisor.as_str(),
        offered.join(", ")
    ))
}

fn no_room(hosts: &[&Candidate], wanted: Load, overcommit: Overcommit) -> Error {
    // The most on one host: a tenant is told what would fit, not how the rack is made.
    let free = hosts.iter().map(|host| host.free(wanted.vcpus, overcommit));
    let best = free
        .max_by_key(|free| (free.memory_mib, free.vcpus))
        .unwrap_or_default();
    let mut text = format!(
        "no host has room for {} vCPUs and {} MiB of memory",
        wanted.vcpus, wanted.memory_mib
    );
    if wanted.disk_bytes > 0 {
        text += &format!(", with {} MiB of disks", wanted.disk_bytes.div_ceil(MIB));
    }
    text += &format!(
        ": the most that is free on one is {} vCPUs and {} MiB",
        best.vcpus, best.memory_mib
    );
    if wanted.disk_bytes > 0 && best.disk_bytes != u64::MAX {
        text += &format!(", with {} MiB for disks", best.disk_bytes / MIB);
    }
    Error::ResourceExhausted(text)
}
