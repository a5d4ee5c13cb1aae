//! What has to be done about installations: from the machines and the units that there are, to steps. Pure.

use std::time::{Duration, SystemTime};

use crate::model::{Machine, MachineId, State};

/// How recent a machine's last report must be for its installation to begin. It reports every 10 s.
pub const RECENT: Duration = Duration::from_secs(3 * 60);
/// How many machines are installed at the same time: each takes the network and a build of its host.
pub const AT_ONCE: usize = 8;

/// What the unit of an installer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// It works, or is being started or stopped.
    Running,
    /// It ended in good order.
    Done,
    /// It ended otherwise: why.
    Failed(String),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin the installation of an approved machine.
    Start(MachineId),
    /// The installer is done: from here on the machine boots from its disk.
    Installed(MachineId),
    /// The installation has failed: why.
    Fail(MachineId, String),
    /// Stop an installer that nobody waits for.
    Stop(MachineId),
    /// Let systemd forget an installer that has ended, and remove what it was given.
    Forget(MachineId),
}

impl Step {
    /// For the log.
    pub fn describe(&self) -> String {
        match self {
            Step::Start(id) => format!("begin the installation of {id}"),
            Step::Installed(id) => format!("{id} is installed"),
            Step::Fail(id, why) => format!("the installation of {id} has failed: {why}"),
            Step::Stop(id) => format!("stop the installer of {id}"),
            Step::Forget(id) => format!("clear up after the installer of {id}"),
        }
    }
}

/// What there is.
#[derive(Clone, Debug)]
pub struct Observed {
    pub now: SystemTime,
    pub machines: Vec<Machine>,
    /// Units of installers, by machine.
    pub units: Vec<(MachineId, Unit)>,
    /// Machines for whose installer there is a directory with its secrets.
    pub directories: Vec<MachineId>,
    /// Whether installers can be started.
    pub can_install: bool,
    /// How long an installation may take, until the host has enrolled.
    pub limit: Duration,
}

/// What has to be done.
pub fn plan(observed: &Observed) -> Vec<Step> {
    let unit_of = |id: MachineId| {
        observed
            .units
            .iter()
            .find(|(unit, _)| *unit == id)
            .map(|(_, unit)| unit)
    };
    let mut steps = Vec::new();
    let running = observed
        .units
        .iter()
        .filter(|(_, unit)| *unit == Unit::Running);
    let mut room = AT_ONCE.saturating_sub(running.count());
    for machine in &observed.machines {
        let id = machine.id;
        match (machine.state, unit_of(id)) {
            (State::Installing, unit) => steps.extend(installing(observed, machine, unit)),
            // It saw the machine start from its disk later than we did.
            (State::Joined | State::Ready, Some(Unit::Running)) => {}
            // Left over of an installation that was given up.
            (_, Some(Unit::Running)) => steps.push(Step::Stop(id)),
            (_, Some(_)) => steps.push(Step::Forget(id)),
            (State::Approved, None) if room > 0 && observed.can_install => {
                if due(machine, observed.now) {
                    room -= 1;
                    steps.push(Step::Start(id));
                } else if observed.directories.contains(&id) {
                    steps.push(Step::Forget(id));
                }
            }
            (_, None) if observed.directories.contains(&id) => steps.push(Step::Forget(id)),
            _ => {}
        }
    }
    // Of machines that there are not: nothing should have made them.
    let known = |id: &MachineId| observed.machines.iter().any(|machine| machine.id == *id);
    for (id, unit) in observed.units.iter().filter(|(id, _)| !known(id)) {
        steps.push(match unit {
            Unit::Running => Step::Stop(*id),
            _ => Step::Forget(*id),
        });
    }
    steps
}

/// Whether an approved machine's installation can begin: it has reported itself from the netboot image after it was
/// approved, and just now. So what runs on the machine is the netboot image, and not a system on its disks.
fn due(machine: &Machine, now: SystemTime) -> bool {
    machine.reported_address.is_some()
        && machine.reported_at > machine.state_changed_at
        && now
            .duration_since(machine.reported_at)
            .is_ok_and(|age| age < RECENT)
}

fn installing(observed: &Observed, machine: &Machine, unit: Option<&Unit>) -> Vec<Step> {
    let id = machine.id;
    let took_too_long = observed
        .now
        .duration_since(machine.state_changed_at)
        .is_ok_and(|took| took > observed.limit);
    let minutes = observed.limit.as_secs() / 60;
    let name = machine.called();
    match (machine.installed_at, unit) {
        (None, Some(Unit::Done)) => vec![Step::Installed(id)],
        (None, Some(Unit::Failed(why))) => vec![Step::Fail(id, why.clone())],
        (None, Some(Unit::Running)) if took_too_long => {
            let why = format!("the installer was not done after {minutes} minutes");
            // Stopped in the pass after this one, as what nobody waits for.
            vec![Step::Fail(id, why)]
        }
        (None, Some(Unit::Running)) => Vec::new(),
        (None, None) => vec![Step::Fail(
            id,
            format!(
                "the installation was interrupted; `photon machine reinstall {name}` begins it again"
            ),
        )],
        (Some(_), Some(Unit::Done | Unit::Failed(_))) => vec![Step::Forget(id)],
        (Some(_), _) if took_too_long => vec![Step::Fail(
            id,
            format!(
                "it was installed, but its host has not enrolled within {minutes} minutes; see its console, then \
                 `photon machine reinstall {name}`"
            ),
        )],
        (Some(_), None) if observed.directories.contains(&id) => vec![Step::Forget(id)],
        (Some(_), _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
