//! The life of a VM, as pure rules.
//!
//! ```text
//!   CreateVm ──► Attaching ──all ports attached──► Placed ──DeleteVm──► Removing ──gone──► Releasing ──► (no record)
//!                    │ a port has another device, or DeleteVm                                 ▲
//!                    └────────────────────────────────────────────────────────────────────────┘
//! ```
//! An operator who gives up a lost host takes what was on it from `Placed` or `Removing` to `Releasing` at once; the
//! store keeps a note for the host, which removes it should it come back.
//!
//! The stage is the server's own: it says who has to act next. The host hears of a VM in `Placed` and
//! `Removing` only, so in `Attaching` nothing is on the host that would have to be removed. The phase is
//! what people see: the host's last report, corrected by what the owner has asked for since.

use std::collections::BTreeSet;
use std::time::SystemTime;

use photon_resource::Error;

use super::{PowerState, Vm};

#[cfg(test)]
mod tests;

/// Who has to act on the VM next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The server: attach its ports.
    Attaching,
    /// The host: run it as wanted.
    Placed,
    /// The host: remove it, disks and all.
    Removing,
    /// The server: detach its ports, then remove the record.
    Releasing,
}

impl Stage {
    /// Whether its host is told of it.
    pub fn is_on_host(self) -> bool {
        matches!(self, Self::Placed | Self::Removing)
    }

    /// Whether the server has work to do on it.
    pub fn is_servers(self) -> bool {
        matches!(self, Self::Attaching | Self::Releasing)
    }

    pub fn is_deleting(self) -> bool {
        matches!(self, Self::Removing | Self::Releasing)
    }
}

/// What a VM is doing.
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

impl Phase {
    /// As people read it, which is the API's name without its prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Deleting => "DELETING",
        }
    }
}

/// What the host said last, and what the server knows to follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    pub message: String,
    pub accelerator: String,
    pub unit: String,
    pub started_at: Option<SystemTime>,
}

impl Status {
    /// Of a VM that was just accepted.
    pub fn new() -> Self {
        Self {
            phase: Phase::Provisioning,
            message: String::new(),
            accelerator: String::new(),
            unit: String::new(),
            started_at: None,
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

/// What an owner asks of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Start,
    Stop {
        force: bool,
        timeout_seconds: u32,
    },
    Reboot {
        force: bool,
    },
    Delete,
    /// Delete without the host, which is lost.
    Abandon,
}

impl Command {
    /// What becomes of the VM, for people: they may have said it to `photon` or by the API.
    fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop { .. } => "stopped",
            Self::Reboot { .. } => "rebooted",
            Self::Delete | Self::Abandon => "deleted",
        }
    }

    /// The phases in which it is accepted, for people.
    fn accepted_in(self) -> &'static str {
        match self {
            Self::Start => "STOPPED or FAILED",
            Self::Stop { .. } => "PROVISIONING, STARTING, RUNNING, STOPPING or FAILED",
            Self::Reboot { .. } => "RUNNING",
            Self::Delete | Self::Abandon => "every phase",
        }
    }

    fn is_accepted(self, vm: &Vm) -> bool {
        let off = vm.power_state == PowerState::Off;
        match (self, vm.status.phase) {
            (Self::Delete | Self::Abandon, _) => true,
            (_, Phase::Deleting) => false,
            (Self::Start, Phase::Stopped | Phase::Failed) => true,
            // Created switched off, and not on its host yet.
            (Self::Start, Phase::Provisioning) => off,
            (Self::Start, _) => false,
            // Ended by itself: stopping it now means that it shall stay so.
            (Self::Stop { .. }, Phase::Stopped) => !off,
            (Self::Stop { .. }, _) => true,
            (Self::Reboot { .. }, Phase::Running) => !off,
            (Self::Reboot { .. }, _) => false,
        }
    }
}

/// What a host reports of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub phase: Option<Phase>,
    pub message: String,
    pub accelerator: String,
    pub unit: String,
    pub started_at: Option<SystemTime>,
    pub reboot_generation: u64,
    pub gone: bool,
    /// TAPs that its process has open; `None`: not known.
    pub taps: Option<BTreeSet<String>>,
}

impl Vm {
    /// Carries out what its owner asks, on the record: the host follows. Says whether anything changed.
    ///
    /// Errors: `FailedPrecondition` naming the phase, and those in which it would be accepted.
    pub fn command(&mut self, command: Command) -> Result<bool, Error> {
        if !command.is_accepted(self) {
            return Err(Error::FailedPrecondition(format!(
                "VM '{}' is {}: it can be {} when it is {}",
                self.meta.name,
                self.status.phase.as_str(),
                command.done(),
                command.accepted_in(),
            )));
        }
        let before = self.clone();
        match command {
            Command::Start => {
                // Wanted on already, and ended all the same: the host starts it again only if asked anew.
                if self.power_state == PowerState::On {
                    self.reboot_generation += 1;
                }
                self.power_state = PowerState::On;
                self.force = false;
                self.show(Phase::Starting);
            }
            Command::Stop {
                force,
                timeout_seconds,
            } => {
                self.power_state = PowerState::Off;
                self.force = force;
                self.stop_timeout_seconds = timeout_seconds;
                self.show(Phase::Stopping);
            }
            Command::Reboot { force } => {
                self.reboot_generation += 1;
                self.force = force;
                self.show(Phase::Stopping);
            }
            Command::Delete => {
                self.stage = match self.stage {
                    Stage::Attaching | Stage::Releasing => Stage::Releasing,
                    Stage::Placed | Stage::Removing => Stage::Removing,
                };
                self.status.phase = Phase::Deleting;
                self.status.message.clear();
            }
            Command::Abandon => {
                self.stage = Stage::Releasing;
                self.status.phase = Phase::Deleting;
                self.status.message.clear();
            }
        }
        Ok(*self != before)
    }

    /// A VM that its host does not know of yet stays PROVISIONING, whatever its owner wants by now.
    fn show(&mut self, phase: Phase) {
        if self.stage == Stage::Placed {
            self.status.phase = phase;
            self.status.message.clear();
        }
    }

    /// Takes in what its host reports. Says whether anything changed.
    pub fn observe(&mut self, report: &Report) -> bool {
        let before = (self.stage, self.status.clone(), self.leaving.clone());
        match self.stage {
            // The host cannot know of it: a report of an earlier time.
            Stage::Attaching | Stage::Releasing => {}
            Stage::Removing => {
                if report.gone {
                    self.stage = Stage::Releasing;
                }
                self.status.message = report.message.clone();
            }
            Stage::Placed => {
                if let Some(phase) = report.phase.and_then(|phase| self.shown(phase, report)) {
                    self.status.phase = phase;
                    self.status.message = report.message.clone();
                    self.status.started_at = report.started_at;
                }
                if !report.accelerator.is_empty() {
                    self.status.accelerator = report.accelerator.clone();
                }
                if !report.unit.is_empty() {
                    self.status.unit = report.unit.clone();
                }
                if let Some(taps) = &report.taps {
                    self.holds(taps);
                }
            }
        }
        before != (self.stage, self.status.clone(), self.leaving.clone())
    }

    /// What a reported phase means to people: on the way to what the owner wants, a VM is not yet there.
    fn shown(&self, phase: Phase, report: &Report) -> Option<Phase> {
        let rebooting = report.reboot_generation < self.reboot_generation;
        match (phase, self.power_state) {
            // Nobody asked for that: the host mistakes it for another.
            (Phase::Deleting, _) => None,
            (Phase::Starting | Phase::Running, PowerState::Off) => Some(Phase::Stopping),
            (Phase::Running, PowerState::On) if rebooting => Some(Phase::Stopping),
            (Phase::Stopped, PowerState::On) if rebooting => Some(Phase::Starting),
            (phase, _) => Some(phase),
        }
    }
}
