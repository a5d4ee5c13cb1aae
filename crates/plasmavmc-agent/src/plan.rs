//! What a host has to do, from what is there and what should be. Pure.
//!
//! ```text
//!             images, TAPs there            its process runs
//!   Absent ──Prepare, Start──► Starting ──────────────────────► Running ──by itself──► Exited | Failed
//!     ▲                            │ Stop                          │ Stop, Kill              │ Clear
//!     └────────────────────────────┴──────────► Stopping ◄─────────┘                         │
//!     └───────────────────────────────────────────┴──────────────────────────────────────────┘
//! ```
//! A reboot is a stop, and the start that follows from finding the VM absent though it is wanted on; the
//! same start restores it after a power cut. What the plan does not know it leaves alone: a VM that the
//! server does not mention keeps running and keeps its disks, since a deletion is always said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use photon_resource::VmId;
use serde::Serialize;

use desired::{Desired, DesiredVm, PowerState, RestartPolicy, Sha256Hex};

pub mod desired;
mod interfaces;
pub mod metadata;
pub mod seed;

pub use interfaces::{Attempt, Held, Interfaces};

#[cfg(test)]
mod tests;

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub desired: Arc<Desired>,
    /// Every VM of which there is anything.
    pub vms: BTreeMap<VmId, ObservedVm>,
    /// Names of the network interfaces.
    pub interfaces: BTreeSet<String>,
    /// Image files that are complete.
    pub images: BTreeSet<Sha256Hex>,
    /// Image files that are being fetched, with the bytes that have come.
    pub fetching: BTreeMap<Sha256Hex, u64>,
    /// VMs whose last step failed a short while ago, with the reason: they are tried again later.
    pub held: BTreeMap<VmId, String>,
    /// VMs whose process was sent SIGKILL since it was last told to stop.
    pub killed: BTreeSet<VmId>,
}

/// What there is of a VM.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedVm {
    pub unit: Unit,
    /// What its disks and seed were made from ([`DesiredVm::preparation`]); `None`: something is missing.
    pub prepared: Option<String>,
    /// Its process runs, and its guest stands still because the host has no room for what it writes.
    pub out_of_room: bool,
    /// Of a process that runs; `None`: not known (yet).
    pub interfaces: Option<Interfaces>,
    /// Whether it has files or a user.
    pub has_files: bool,
    /// Reboot generation of its last start, which a reboot of the host does not forget.
    pub started: Option<u64>,
}

/// What its unit is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Unit {
    /// There is none.
    #[default]
    Absent,
    /// Its process is being started, also by systemd's own restart.
    Starting(Run),
    Running(Run),
    /// Its process ended in good order: the guest powered itself down.
    Exited(Run),
    /// Being stopped.
    Stopping(Run),
    /// Its process failed, and systemd does not restart it (any more).
    Failed(Run, String),
}

/// One run of a VM's unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The reboot generation that it carries out.
    pub reboot_generation: u64,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    pub started_at: Option<SystemTime>,
    /// Its process keeps what the guest prints.
    pub keeps_output: bool,
    /// TAPs that its process opens when it starts, also when systemd restarts it; `None`: started by an agent that did not
    /// say, of whose interfaces none can be taken out.
    pub taps: Option<BTreeSet<String>>,
}

impl Run {
    /// Tells this run from others of the same VM: the microsecond of its start.
    pub fn name(started_at: Option<SystemTime>) -> String {
        let since = started_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_micros()).to_string()
    }
}

impl Unit {
    /// The run that the unit is in or has ended.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Absent => None,
            Self::Starting(run)
            | Self::Running(run)
            | Self::Exited(run)
            | Self::Stopping(run)
            | Self::Failed(run, _) => Some(run),
        }
    }

    /// The same, to add what the unit itself does not know.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Absent => None,
            Self::Starting(run)
            | Self::Running(run)
            | Self::Exited(run)
            | Self::Stopping(run)
            | Self::Failed(run, _) => Some(run),
        }
    }
}

/// One thing to do. Each can be done again without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// Fetch an image file, in the background.
    Fetch { sha256: Sha256Hex },
    /// Make the user, the directory, missing disks, the seed.
    Prepare,
    /// Start the unit.
    Start,
    /// Stop the unit: the guest is asked to power down, and has this long.
    Stop { timeout_seconds: u32 },
    /// End the process at once.
    Kill,
    /// Press the reset button, and note that this generation is done.
    Reset { generation: u64 },
    /// Plug in an interface, while the guest runs.
    Plug { tap: String },
    /// Go a step towards taking an interface out: ask the guest, then close the TAP.
    Unplug { tap: String },
    /// Let systemd forget a unit whose process has ended.
    Clear,
    /// Forget that it was started.
    Forget,
    /// Remove disks, seed, user and notes.
    Remove,
}

/// What a VM is doing, as people are shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Provisioning,
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    Deleting,
}

/// What to tell the server of a VM.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub phase: Phase,
    /// For people.
    pub message: String,
    /// `kvm` or `tcg`; empty while there is no run.
    pub accelerator: String,
    pub started_at: Option<SystemTime>,
    /// Reboot generation that has been carried out.
    pub reboot_generation: u64,
    /// A VM that must go has gone.
    pub gone: bool,
    /// TAPs that its process has open; `None`: not known.
    pub taps: Option<BTreeSet<String>>,
}

/// What has to be done, per VM in order, and what is to be told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// The desired state that it is made from.
    pub revision: u64,
    pub steps: BTreeMap<VmId, Vec<Step>>,
    #[serde(skip)]
    pub reports: BTreeMap<VmId, Report>,
    #[serde(skip)]
    pub desired: Arc<Desired>,
}

impl photon_reconcile::Plan for Plan {
    fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn summary(&self) -> String {
        let steps = self
            .steps
            .iter()
            .map(|(id, steps)| format!("{id}: {steps:?}"));
        steps.collect::<Vec<_>>().join("; ")
    }
}

/// The plan.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan {
        revision: observed.desired.revision,
        desired: Arc::clone(&observed.desired),
        ..Plan::default()
    };
    let nothing = ObservedVm::default();
    for (id, vm) in &observed.desired.vms {
        let there = observed.vms.get(id).unwrap_or(&nothing);
        let (mut steps, mut report) = plan_vm(*id, vm, there, observed);
        if let Some(reason) = observed.held.get(id) {
            steps.clear();
            report.message.clone_from(reason);
            if matches!(there.unit, Unit::Absent) && !vm.deleting {
                report.phase = Phase::Failed;
            }
        }
        if !steps.is_empty() {
            plan.steps.insert(*id, steps);
        }
        plan.reports.insert(*id, report);
    }
    for (id, reason) in &observed.desired.refused {
        let there = observed.vms.get(id).unwrap_or(&nothing);
        let mut report = report(there, Phase::Failed, reason);
        if let Some(phase) = running_phase(&there.unit) {
            report.phase = phase;
        }
        plan.reports.insert(*id, report);
    }
    for (id, there) in &observed.vms {
        if plan.reports.contains_key(id) {
            continue;
        }
        if let Some(phase) = running_phase(&there.unit) {
            let message = "runs although the server does not know it";
            plan.reports.insert(*id, report(there, phase, message));
        }
    }
    plan
}

fn plan_vm(
    id: VmId,
    vm: &DesiredVm,
    there: &ObservedVm,
    observed: &Observed,
) -> (Vec<Step>, Report) {
    if vm.deleting {
        return plan_deleting(id, there, observed);
    }
    match vm.power {
        PowerState::On => plan_on(id, vm, there, observed),
        PowerState::Off => plan_off(id, vm, there, observed),
    }
}

fn plan_on(
    id: VmId,
    vm: &DesiredVm,
    there: &ObservedVm,
    observed: &Observed,
) -> (Vec<Step>, Report) {
    let wanted = vm.reboot_generation;
    let older = |run: &Run| run.reboot_generation < wanted;
    match &there.unit {
        Unit::Absent => plan_start(id, vm, there, observed),
        Unit::Starting(_) => (vec![], report(there, Phase::Starting, "")),
        Unit::Running(run) if older(run) && vm.force => {
            let steps = vec![Step::Reset { generation: wanted }];
            (steps, report(there, Phase::Running, ""))
        }
        Unit::Running(run) if older(run) => {
            let steps = vec![Step::Stop {
                timeout_seconds: vm.stop_timeout_seconds,
            }];
            (steps, report(there, Phase::Stopping, "rebooting"))
        }
        Unit::Running(_) => {
            let (steps, mut message) = interfaces::plan(vm, there, &observed.interfaces);
            if there.out_of_room {
                message = halted(there).to_owned();
            }
            (steps, report(there, Phase::Running, &message))
        }
        Unit::Stopping(_) => (
            kill_if(vm.force, id, observed),
            report(there, Phase::Stopping, "it will be started again"),
        ),
        Unit::Exited(run) | Unit::Failed(run, _) if older(run) => {
            (vec![Step::Clear], report(there, Phase::Starting, ""))
        }
        Unit::Exited(_) => (
            vec![],
            report(there, Phase::Stopped, "the guest powered itself down"),
        ),
        // It may have failed for want of an interface that was taken out, which every start of this unit would open.
        Unit::Failed(run, _)
            if interfaces::is_outdated(run, vm) && vm.restart_policy != RestartPolicy::Never =>
        {
            (vec![Step::Clear], report(there, Phase::Starting, ""))
        }
        Unit::Failed(_, reason) => (vec![], report(there, Phase::Failed, reason)),
    }
}

/// Why a running guest does nothing, if it does nothing.
fn halted(there: &ObservedVm) -> &'static str {
    if there.out_of_room {
        return "halted: no room left on its host's disk for what the guest writes; it goes on by itself when there is some";
    }
    ""
}

/// The VM is wanted on and has no unit.
fn plan_start(
    id: VmId,
    vm: &DesiredVm,
    there: &ObservedVm,
    observed: &Observed,
) -> (Vec<Step>, Report) {
    let started_before = there
        .started
        .is_some_and(|generation| generation >= vm.reboot_generation);
    if vm.restart_policy == RestartPolicy::Never && started_before {
        let message = "its restart policy is never, and the host was started again";
        return (vec![], report(there, Phase::Stopped, message));
    }
    let files = vm.image_files();
    let missing: Vec<_> = files
        .iter()
        .filter(|file| !observed.images.contains(&file.sha256))
        .collect();
    if !missing.is_empty() {
        let total: u64 = missing.iter().map(|file| file.size_bytes).sum();
        let come = missing
            .iter()
            .filter_map(|file| observed.fetching.get(&file.sha256));
        let message = format!(
            "fetching images: {} of {} MiB",
            come.sum::<u64>() >> 20,
            total.div_ceil(1 << 20)
        );
        let steps = missing
            .iter()
            .filter(|file| !observed.fetching.contains_key(&file.sha256))
            .map(|file| Step::Fetch {
                sha256: file.sha256.clone(),
            });
        return (
            steps.collect(),
            report(there, Phase::Provisioning, &message),
        );
    }
    let mut steps = Vec::new();
    if there.prepared.as_ref() != Some(&vm.preparation(id)) {
        steps.push(Step::Prepare);
    }
    let absent: Vec<&str> = vm
        .interfaces
        .iter()
        .map(|interface| interface.tap.as_str())
        .filter(|tap| !observed.interfaces.contains(*tap))
        .collect();
    if absent.is_empty() {
        steps.push(Step::Start);
        return (steps, report(there, Phase::Starting, ""));
    }
    let message = format!("waiting for the network interface {}", absent.join(", "));
    (steps, report(there, Phase::Provisioning, &message))
}

fn plan_off(
    id: VmId,
    vm: &DesiredVm,
    there: &ObservedVm,
    observed: &Observed,
) -> (Vec<Step>, Report) {
    let (steps, phase) = match &there.unit {
        Unit::Absent => {
            let forget = there.started.is_some().then_some(Step::Forget);
            let mut report = report(there, Phase::Stopped, "");
            // Off is what every reboot that was asked for has become.
            report.reboot_generation = vm.reboot_generation;
            return (forget.into_iter().collect(), report);
        }
        Unit::Starting(_) | Unit::Running(_) if vm.force => (
            vec![Step::Stop { timeout_seconds: 0 }, Step::Kill],
            Phase::Stopping,
        ),
        Unit::Starting(_) | Unit::Running(_) => {
            let stop = Step::Stop {
                timeout_seconds: vm.stop_timeout_seconds,
            };
            (vec![stop], Phase::Stopping)
        }
        Unit::Stopping(_) => (kill_if(vm.force, id, observed), Phase::Stopping),
        Unit::Exited(_) | Unit::Failed(..) => (vec![Step::Clear], Phase::Stopped),
    };
    (steps, report(there, phase, ""))
}

fn plan_deleting(id: VmId, there: &ObservedVm, observed: &Observed) -> (Vec<Step>, Report) {
    let steps = match &there.unit {
        Unit::Absent if there.has_files => vec![Step::Remove],
        Unit::Absent => {
            let mut report = report(there, Phase::Deleting, "");
            report.gone = true;
            return (vec![], report);
        }
        // What its disks hold is going away: nobody needs the guest's own farewell.
        Unit::Starting(_) | Unit::Running(_) => {
            vec![Step::Stop { timeout_seconds: 0 }, Step::Kill]
        }
        Unit::Stopping(_) => kill_if(true, id, observed),
        Unit::Exited(_) | Unit::Failed(..) => vec![Step::Clear, Step::Remove],
    };
    (steps, report(there, Phase::Deleting, ""))
}

fn kill_if(force: bool, id: VmId, observed: &Observed) -> Vec<Step> {
    if force && !observed.killed.contains(&id) {
        vec![Step::Kill]
    } else {
        vec![]
    }
}

fn report(there: &ObservedVm, phase: Phase, message: &str) -> Report {
    let run = there.unit.run();
    Report {
        phase,
        message: message.to_owned(),
        accelerator: run.map(|run| run.accelerator.clone()).unwrap_or_default(),
        started_at: run.and_then(|run| run.started_at),
        reboot_generation: run
            .map(|run| run.reboot_generation)
            .or(there.started)
            .unwrap_or(0),
        gone: false,
        taps: interfaces::taps(there),
    }
}

/// The phase of a unit that nobody wants anything of; `None` when there is none.
fn running_phase(unit: &Unit) -> Option<Phase> {
    Some(match unit {
        Unit::Absent => return None,
        Unit::Starting(_) => Phase::Starting,
        Unit::Running(_) => Phase::Running,
        Unit::Exited(_) => Phase::Stopped,
        Unit::Stopping(_) => Phase::Stopping,
        Unit::Failed(..) => Phase::Failed,
    })
}
