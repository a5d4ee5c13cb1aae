//! The interfaces of a guest that runs: plugged in and taken out one by one, as what is wanted changes.
//!
//! ```text
//!   wanted:        TAP is there ──Plug──► plugged
//!   not any more:  plugged ──Unplug──► the guest lets go ──Unplug──► the TAP is closed ──► told, and only then the port goes
//! ```
//! A guest that does not let go keeps its interface, and is asked again and again.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::DesiredVm;
use super::{ObservedVm, Run, Step, Unit};

#[cfg(test)]
mod tests;

/// The interfaces of a running process, and what was tried with them a short while ago.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interfaces {
    /// By the TAP that the process has open.
    pub held: BTreeMap<String, Held>,
    /// How many more can be plugged in.
    pub free: usize,
    /// It was started with places to plug into; one that was not takes and gives up nothing while it runs.
    pub has_places: bool,
    /// By TAP.
    pub tried: BTreeMap<String, Attempt>,
}

/// A TAP that a process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The guest has a device on it, which can be taken out.
    Plugged,
    /// The guest has a device on it, which stays until the process ends.
    Fixed,
    /// No device is on it (any more, or yet).
    Bare,
}

/// What came of plugging or unplugging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was begun; the rest is the guest's.
    Asked,
    /// It did not work, for this reason.
    Failed(String),
}

/// What is to be done, and what its owner is told. `links`: the host's interfaces.
pub(super) fn plan(
    vm: &DesiredVm,
    there: &ObservedVm,
    links: &BTreeSet<String>,
) -> (Vec<Step>, String) {
    let Some(there) = &there.interfaces else {
        return (vec![], String::new());
    };
    let tried = &there.tried;
    let (mut steps, mut told) = (Vec::new(), Vec::new());
    let wanted: BTreeSet<&str> = vm.interfaces.iter().map(|it| it.tap.as_str()).collect();
    for (tap, held) in &there.held {
        if wanted.contains(tap.as_str()) {
            continue;
        }
        match (held, tried.get(tap)) {
            (Held::Fixed, _) => told.push(format!(
                "the interface on {tap} stays until the VM is stopped and started: it was started by an earlier release"
            )),
            (_, Some(Attempt::Failed(reason))) => {
                told.push(format!("the interface on {tap} can't be taken out yet: {reason}"));
            }
            (Held::Plugged, Some(Attempt::Asked)) => told.push(format!(
                "the guest has been asked to let go of the interface on {tap}, and has not yet"
            )),
            _ => steps.push(Step::Unplug { tap: tap.clone() }),
        }
    }
    let mut free = there.free;
    for interface in &vm.interfaces {
        let (tap, name) = (&interface.tap, &interface.name);
        match (there.held.get(tap), tried.get(tap)) {
            (Some(Held::Plugged | Held::Fixed), _) => {}
            (_, Some(Attempt::Failed(reason))) => {
                told.push(format!(
                    "interface {name} can't be plugged in yet: {reason}"
                ));
            }
            (_, Some(Attempt::Asked)) => {}
            (held, None) => {
                if !there.has_places {
                    told.push(format!(
                        "interface {name} is there when the VM is stopped and started: it was started by an earlier \
                         release, which left no place for more"
                    ));
                } else if free == 0 {
                    told.push(format!(
                        "interface {name} is there when the VM is stopped and started: it has no place left for more"
                    ));
                } else if held.is_none() && !links.contains(tap) {
                    told.push(format!(
                        "interface {name} waits for the network interface {tap}"
                    ));
                } else {
                    free -= 1;
                    steps.push(Step::Plug { tap: tap.clone() });
                }
            }
        }
    }
    (steps, told.join("; "))
}

/// The TAPs that its process has open; `None`: not known.
pub(super) fn taps(there: &ObservedVm) -> Option<BTreeSet<String>> {
    match &there.unit {
        // Nothing runs.
        Unit::Absent | Unit::Exited(_) | Unit::Failed(..) => Some(BTreeSet::new()),
        Unit::Running(_) => {
            let interfaces = there.interfaces.as_ref()?;
            Some(interfaces.held.keys().cloned().collect())
        }
        Unit::Starting(_) | Unit::Stopping(_) => None,
    }
}

/// Whether a start of this unit opens a TAP that the VM has no more.
pub(super) fn is_outdated(run: &Run, vm: &DesiredVm) -> bool {
    let wanted = |tap: &String| vm.interfaces.iter().any(|interface| interface.tap == *tap);
    run.taps
        .as_ref()
        .is_some_and(|taps| !taps.iter().all(wanted))
}
