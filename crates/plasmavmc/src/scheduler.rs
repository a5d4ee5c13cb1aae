//! Which host a new VM goes to: a pure, deterministic function of what the hosts have and hold.

use std::collections::BTreeSet;

use photon_resource::Error;

use crate::model::{Hypervisor, Node, Size};

#[cfg(test)]
mod tests;

/// One host as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    /// Heard of lately.
    pub ready: bool,
    /// What it has.
    pub total: Size,
    /// What VMs placed on it take.
    pub used: Size,
    pub hypervisors: BTreeSet<Hypervisor>,
}

impl Candidate {
    pub fn new(node: &Node, used: Size, ready: bool) -> Self {
        Self {
            name: node.name.clone(),
            ready,
            total: Size {
                vcpus: node.vcpus,
                memory_mib: node.memory_mib,
            },
            used,
            hypervisors: node.hypervisors.clone(),
        }
    }

    /// What is free. vCPUs may be promised `overcommit` times, memory once.
    pub fn free(&self, overcommit: u32) -> Size {
        let vcpus = self.total.vcpus.saturating_mul(overcommit.max(1));
        Size {
            vcpus: vcpus.saturating_sub(self.used.vcpus),
            memory_mib: self.total.memory_mib.saturating_sub(self.used.memory_mib),
        }
    }

    fn has_room(&self, wanted: Size, overcommit: u32) -> bool {
        let free = self.free(overcommit);
        free.vcpus >= wanted.vcpus && free.memory_mib >= wanted.memory_mib
    }
}

/// Chooses the host with the most free memory, and among equals the first by name.
///
/// Errors: `FailedPrecondition` if no host offers the hypervisor, `Unavailable` if those that do are not
/// heard of, `ResourceExhausted` with what is free if they have no room.
pub fn choose(
    candidates: &[Candidate],
    wanted: Size,
    hypervisor: Hypervisor,
    overcommit: u32,
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
            "no host is ready to take a VM: an operator sees why with ListNodes; try again later"
                .to_owned(),
        ));
    }
    ready
        .iter()
        .filter(|host| host.has_room(wanted, overcommit))
        .max_by(|a, b| {
            let memory = |host: &Candidate| host.free(overcommit).memory_mib;
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
    wanted: Size,
    hypervisor: Hypervisor,
    overcommit: u32,
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

fn no_room(hosts: &[&Candidate], wanted: Size, overcommit: u32) -> Error {
    // The most on one host: a tenant is told what would fit, not how the rack is made.
    let best = hosts
        .iter()
        .map(|host| host.free(overcommit))
        .max_by_key(|free| (free.memory_mib, free.vcpus))
        .unwrap_or_default();
    Error::ResourceExhausted(format!(
        "no host has room for {} vCPUs and {} MiB of memory: the most that is free on one is {} vCPUs and {} MiB",
        wanted.vcpus, wanted.memory_mib, best.vcpus, best.memory_mib
    ))
}
