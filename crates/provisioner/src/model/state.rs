//! How far a machine has come, and what can happen to it next.
//!
//! ```text
//!              approve             start              enrol            ready
//!  discovered ─────────► approved ───────► installing ──────► joined ────────► ready
//!                           ▲                  │ fail            │               │
//!                           │ reinstall        ▼                 │               │
//!                           ├────────────── failed               │               │
//!                           └────────────────────────────────────┴───────────────┘ reinstall
//!  retire: from every state to retired; approve: from retired to approved again
//!  invite, enrol again: of joined and ready, which stay what they are
//! ```

use std::fmt;

use photon_resource::Error;

/// How far a machine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Seen, approved by nobody.
    Discovered,
    /// It has a name, and is installed when it reports itself from the netboot image.
    Approved,
    /// Being installed, or installed and not enrolled yet.
    Installing,
    /// It has its certificate.
    Joined,
    /// It has said that all it should run runs.
    Ready,
    /// The installation failed.
    Failed,
    /// Taken out.
    Retired,
}

/// What can happen to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operator gives it a name.
    Approve,
    /// The installer is started.
    Start,
    /// Its host enrols.
    Enrol,
    /// An operator wants a new join token for its host, and has confirmed it.
    Invite,
    /// Its host enrols with such a token.
    EnrolAgain,
    /// Its host says that it is ready.
    Ready,
    /// The installation fails.
    Fail,
    /// An operator wants it installed anew, and has confirmed it.
    Reinstall,
    /// An operator takes it out, and has confirmed it.
    Retire,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Discovered,
        State::Approved,
        State::Installing,
        State::Joined,
        State::Ready,
        State::Failed,
        State::Retired,
    ];

    /// The state that follows. That of `Ready` after `Ready` is the same: a host may say it again. A host that enrols
    /// again is what it was: it has another certificate, as after a renewal.
    ///
    /// Errors: `FailedPrecondition` with what would have to be done first, for `machine` (as people call it).
    pub fn after(self, event: Event, machine: &str) -> Result<State, Error> {
        use State::{Approved, Discovered, Failed, Installing, Joined, Ready, Retired};
        let next = match (self, event) {
            (Discovered | Retired, Event::Approve) => Approved,
            (Approved, Event::Start) => Installing,
            (Installing, Event::Enrol) => Joined,
            (Joined | Ready, Event::Ready) => Ready,
            (Joined | Ready, Event::Invite | Event::EnrolAgain) => self,
            (Installing, Event::Fail) => Failed,
            (Joined | Ready | Failed, Event::Reinstall) => Approved,
            (Discovered | Approved | Installing | Joined | Ready | Failed, Event::Retire) => {
                Retired
            }
            _ => return Err(Error::FailedPrecondition(self.refusal(event, machine))),
        };
        Ok(next)
    }

    /// Whether its host has a certificate that counts.
    pub fn is_member(self) -> bool {
        matches!(self, State::Joined | State::Ready)
    }

    /// Its name in answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            State::Discovered => "discovered",
            State::Approved => "approved",
            State::Installing => "installing",
            State::Joined => "joined",
            State::Ready => "ready",
            State::Failed => "failed",
            State::Retired => "retired",
        }
    }

    fn refusal(self, event: Event, machine: &str) -> String {
        let is = format!("machine '{machine}' is {self}");
        match (event, self) {
            (Event::Approve, State::Failed) => {
                format!(
                    "{is}: it has a name already; install it anew with `photon machine reinstall`"
                )
            }
            (Event::Approve, _) => format!(
                "{is}: it has a name already; retire it first to give it another, or reinstall it"
            ),
            (Event::Start, State::Discovered) => {
                format!("{is}: nobody has approved it, so it is not installed")
            }
            (Event::Start, State::Joined | State::Ready) => format!(
                "{is}: its disks are not touched unless an operator has it reinstalled and confirms that"
            ),
            (Event::Start, State::Failed) => {
                format!("{is}: it is not installed again by itself; use `photon machine reinstall`")
            }
            (Event::Start, _) => format!("{is}: no installation can begin"),
            (Event::Enrol, State::Joined | State::Ready) => {
                format!("{is}: it has enrolled; renew the certificate instead")
            }
            (Event::Enrol, State::Failed) => format!(
                "{is}: its installation took too long or failed; use `photon machine reinstall`"
            ),
            (Event::Enrol, _) => format!("{is}: only a machine that is being installed can enrol"),
            (Event::Invite, State::Approved | State::Installing) => {
                format!("{is}: its installation leaves a join token on it")
            }
            (Event::Invite, State::Failed) => {
                format!("{is}: it never was a host; use `photon machine reinstall`")
            }
            (Event::Invite, _) => {
                format!(
                    "{is}: it is no host; approve it, its installation leaves a join token on it"
                )
            }
            (Event::EnrolAgain, _) => {
                format!("{is}: only a host that has enrolled can enrol again")
            }
            (Event::Ready, _) => format!("{is}: only a host that has enrolled can be ready"),
            (Event::Fail, _) => format!("{is}: no installation is under way that could fail"),
            (Event::Reinstall, State::Discovered) => {
                format!("{is}: approve it, that installs it")
            }
            (Event::Reinstall, State::Approved) => {
                format!("{is}: it is installed as soon as it netboots")
            }
            (Event::Reinstall, State::Installing) => {
                format!("{is}: wait for that to end, see `photon machine watch`, or retire it")
            }
            (Event::Reinstall, _) => format!("{is}: approve it again, that installs it"),
            (Event::Retire, _) => format!("{is} already"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Approved, Discovered, Failed, Installing, Joined, Ready, Retired};
    use super::*;

    const EVENTS: [Event; 9] = [
        Event::Approve,
        Event::Start,
        Event::Enrol,
        Event::Invite,
        Event::EnrolAgain,
        Event::Ready,
        Event::Fail,
        Event::Reinstall,
        Event::Retire,
    ];

    /// Every move that there is; all others are refused.
    const LEGAL: [(State, Event, State); 20] = [
        (Discovered, Event::Approve, Approved),
        (Discovered, Event::Retire, Retired),
        (Approved, Event::Start, Installing),
        (Approved, Event::Retire, Retired),
        (Installing, Event::Enrol, Joined),
        (Installing, Event::Fail, Failed),
        (Installing, Event::Retire, Retired),
        (Joined, Event::Invite, Joined),
        (Joined, Event::EnrolAgain, Joined),
        (Joined, Event::Ready, Ready),
        (Joined, Event::Reinstall, Approved),
        (Joined, Event::Retire, Retired),
        (Ready, Event::Invite, Ready),
        (Ready, Event::EnrolAgain, Ready),
        (Ready, Event::Ready, Ready),
        (Ready, Event::Reinstall, Approved),
        (Ready, Event::Retire, Retired),
        (Failed, Event::Reinstall, Approved),
        (Failed, Event::Retire, Retired),
        (Retired, Event::Approve, Approved),
    ];

    #[test]
    fn every_move_is_in_the_table_or_refused_with_a_message() {
        for state in State::ALL {
            for event in EVENTS {
                let expected = LEGAL
                    .iter()
                    .find(|(from, by, _)| *from == state && *by == event)
                    .map(|(_, _, to)| *to);
                match (state.after(event, "node02"), expected) {
                    (Ok(next), Some(expected)) => assert_eq!(next, expected, "{state} {event:?}"),
                    (Err(Error::FailedPrecondition(message)), None) => {
                        assert!(message.contains("node02"), "{message}");
                        assert!(message.contains(state.name()), "{message}");
                        assert!(message.len() > 25, "{message}");
                    }
                    (other, expected) => panic!("{state} {event:?}: {other:?}, not {expected:?}"),
                }
            }
        }
    }

    #[test]
    fn nothing_but_a_confirmed_reinstallation_leads_from_ready_to_the_installer() {
        // All states that can be reached from ready without Reinstall and Retire, which are confirmed.
        let mut reached = vec![Ready];
        let mut at = 0;
        while at < reached.len() {
            for event in EVENTS {
                if matches!(event, Event::Reinstall | Event::Retire) {
                    continue;
                }
                if let Ok(next) = reached[at].after(event, "m")
                    && !reached.contains(&next)
                {
                    reached.push(next);
                }
            }
            at += 1;
        }
        assert_eq!(reached, [Ready]);
    }
}
