//! Following machines.

use std::ops::ControlFlow;
use std::time::Duration;

use photon_api::provisioner::v1::{
    Machine, MachineState, WatchMachineRequest, WatchMachineResponse,
};
use photon_client::{Followed, News};

use super::called;
use crate::error::Failure;
use crate::noun::Desk;
use crate::output::Output;

/// What is shown of a watch, and when it is over.
#[derive(Default)]
struct Follower {
    /// The state shown last.
    state: Option<MachineState>,
    /// How much of the installer's output was shown: a new watch begins with all of it.
    shown: usize,
    /// How much the present watch has sent.
    received: usize,
}

/// What to print, and how it ended if it did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    log: String,
    line: Option<String>,
    end: Option<Result<(), String>>,
}

impl Follower {
    /// A watch begins anew.
    fn restart(&mut self) {
        self.received = 0;
    }

    fn take(&mut self, change: &WatchMachineResponse) -> Step {
        let mut step = Step::default();
        if change.log_restarted {
            (self.shown, self.received) = (0, 0);
        }
        // What was shown before a watch was lost comes again at its beginning.
        let skip = self
            .shown
            .saturating_sub(self.received)
            .min(change.log.len());
        self.received += change.log.len();
        self.shown = self.shown.max(self.received);
        step.log = change.log.get(skip..).unwrap_or(&change.log).to_owned();
        let Some(machine) = &change.machine else {
            return step;
        };
        let state = machine.state();
        if self.state != Some(state) {
            step.line = Some(line(machine));
        }
        self.state = Some(state);
        step.end = match state {
            MachineState::Ready => Some(Ok(())),
            MachineState::Failed => Some(Err(format!(
                "machine {} failed: {}",
                called(machine),
                machine.reason
            ))),
            MachineState::Retired => Some(Err(format!("machine {} is retired", called(machine)))),
            _ => None,
        };
        step
    }
}

fn state_name(machine: &Machine) -> String {
    let name = machine.state().as_str_name();
    name.trim_start_matches("MACHINE_STATE_").to_lowercase()
}

fn line(machine: &Machine) -> String {
    let text = format!(
        "{}  {}  {}",
        called(machine),
        state_name(machine),
        machine.reason
    );
    text.trim_end().replace(photon_resource::is_hidden, " ")
}

/// `photon machine watch`: also over a restart of the provisioner, without which the machine goes on.
pub async fn run(
    desk: &Desk<'_>,
    machine: Option<String>,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let one = machine.is_some();
    let name = machine.clone();
    let request = WatchMachineRequest {
        id: machine.unwrap_or_default(),
    };
    let mut follower = Follower::default();
    let followed = desk.session.follow(request, limit, |news| {
        let shown = match news {
            News::Begun => {
                follower.restart();
                return ControlFlow::Continue(());
            }
            News::Change(change) if one => show_one(desk.output, &mut follower, &change),
            News::Change(change) => show_any(desk.output, &change).map(|()| None),
        };
        match shown {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(end)) => ControlFlow::Break(end.map_err(Failure::Local)),
            Err(failure) => ControlFlow::Break(Err(failure)),
        }
    });
    match followed.await? {
        Followed::Reached(end) => end,
        Followed::Late => Err(Failure::TimedOut(format!(
            "{} was not ready after {} s; it goes on by itself: `photon machine show` has how far it is",
            name.as_deref().unwrap_or("the machine"),
            limit.unwrap_or_default().as_secs()
        ))),
    }
}

/// Shows what is new of the machine; how it ended, if it did.
fn show_one(
    output: &Output,
    follower: &mut Follower,
    change: &WatchMachineResponse,
) -> Result<Option<Result<(), String>>, Failure> {
    let step = follower.take(change);
    if output.for_people() {
        show(output, &step)?;
    } else {
        output.message("provisioner.v1.WatchMachineResponse", change)?;
    }
    Ok(step.end)
}

fn show(output: &Output, step: &Step) -> Result<(), Failure> {
    if !step.log.is_empty() {
        // Colours and progress bars of the installer would be kept, but so would what it was told to print.
        let clean = |c: char| c.is_control() && c != '\n' && c != '\t';
        output.text(&step.log.replace(clean, ""))?;
    }
    match &step.line {
        Some(line) => output.line(line),
        None => Ok(()),
    }
}

fn show_any(output: &Output, change: &WatchMachineResponse) -> Result<(), Failure> {
    if !output.for_people() {
        return output.message("provisioner.v1.WatchMachineResponse", change);
    }
    match &change.machine {
        Some(machine) => output.line(&line(machine)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(state: Option<MachineState>, log: &str) -> WatchMachineResponse {
        WatchMachineResponse {
            machine: state.map(|state| Machine {
                name: "node02".into(),
                state: state.into(),
                reason: if state == MachineState::Failed {
                    "no disk"
                } else {
                    ""
                }
                .into(),
                ..Default::default()
            }),
            log: log.into(),
            ..Default::default()
        }
    }

    #[test]
    fn states_are_shown_once_and_ready_ends_it() {
        let mut follower = Follower::default();
        let step = follower.take(&change(Some(MachineState::Installing), ""));
        assert_eq!(step.line.as_deref(), Some("node02  installing"));
        assert_eq!(step.end, None);
        let step = follower.take(&change(Some(MachineState::Installing), "copying\n"));
        assert_eq!((step.line, step.log.as_str()), (None, "copying\n"));
        let step = follower.take(&change(Some(MachineState::Ready), ""));
        assert_eq!(step.end, Some(Ok(())));
    }

    #[test]
    fn a_failure_ends_it_with_the_reason() {
        let step = Follower::default().take(&change(Some(MachineState::Failed), ""));
        let reason = step.end.unwrap().unwrap_err();
        assert_eq!(reason, "machine node02 failed: no disk");
    }

    #[test]
    fn a_lost_watch_shows_nothing_twice() {
        let mut follower = Follower::default();
        follower.take(&change(Some(MachineState::Installing), "one\n"));
        follower.restart();
        let step = follower.take(&change(Some(MachineState::Installing), "one\ntwo\n"));
        assert_eq!(step.log, "two\n");
        assert_eq!(step.line, None);
        // Another installation's output is new from its beginning.
        let mut anew = change(None, "one\n");
        anew.log_restarted = true;
        assert_eq!(follower.take(&anew).log, "one\n");
    }
}
