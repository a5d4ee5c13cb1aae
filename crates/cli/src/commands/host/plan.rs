//! What is decided of an upgrade, apart from carrying it out: the order of hosts, what counts as healthy, and what
//! became of each host.

use std::fmt;

use serde_json::{Value, json};

use super::facts::Facts;

/// A host with what it was when the upgrade began.
#[derive(Clone, Debug)]
pub struct Before {
    pub name: String,
    pub facts: Facts,
}

/// Agents before servers: a newer agent understands all that an older server tells it, but an older agent would not
/// know a newer server's fields. And the stores, which only servers change, come last, when all else has proven good.
pub fn upgrade_order(mut hosts: Vec<Before>) -> Vec<Before> {
    hosts.sort_by_key(|host| host.facts.is_control_plane());
    hosts
}

/// The other way round.
pub fn rollback_order(mut hosts: Vec<Before>) -> Vec<Before> {
    hosts.sort_by_key(|host| !host.facts.is_control_plane());
    hosts
}

/// What is wrong with a host; empty: it is healthy. `unanswered` are its APIs that do not serve, with the reason;
/// what had failed `before` already is not held against it.
pub fn problems(
    facts: &Facts,
    unanswered: &[(String, String)],
    before: Option<&Facts>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if facts.units.len() < 2 {
        problems.push(
            "no PhotonCloud service belongs to photon.target: is a role enabled in its configuration?"
                .to_owned(),
        );
    }
    for (name, unit) in &facts.units {
        if !unit.is_well() {
            let mut text = format!("{name} is {} ({})", unit.active, unit.sub);
            if !unit.last_words.is_empty() {
                text.push_str(&format!(": {}", unit.last_words));
            }
            problems.push(text);
        } else if unit.program != unit.running {
            problems.push(format!(
                "{name} still runs {}, not {}: it was not restarted",
                unit.running, unit.program
            ));
        }
    }
    for name in &facts.failed {
        let ours = facts.units.contains_key(name);
        let old = before.is_some_and(|before| before.failed.contains(name));
        if !ours && !old {
            problems.push(format!("{name} has failed"));
        }
    }
    for (unit, reason) in unanswered {
        // A unit that is not up was named already.
        if facts
            .units
            .get(unit)
            .is_some_and(|unit| unit.active == "active")
        {
            problems.push(format!("the API of {unit} does not serve: {reason}"));
        }
    }
    problems
}

/// Which VMs are not the same processes any more. New ones are none of it.
pub fn disturbed(before: &Facts, after: &Facts) -> Vec<String> {
    let mut disturbed = Vec::new();
    for (name, vm) in &before.vms {
        match after.vms.get(name) {
            Some(now) if now == vm => {}
            Some(_) => disturbed.push(format!("{name} was restarted")),
            None => disturbed.push(format!("{name} stopped")),
        }
    }
    disturbed
}

/// Whether what runs is settled: the same processes as a look earlier.
pub fn settled(earlier: &Facts, now: &Facts) -> bool {
    let processes = |facts: &Facts| -> Vec<(String, u32, u32)> {
        let units = facts.units.iter();
        units
            .map(|(name, unit)| (name.clone(), unit.main_pid, unit.restarts))
            .collect()
    };
    processes(earlier) == processes(now)
}

/// What became of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs the new configuration and is healthy.
    Done,
    /// It ran that very configuration already, and is healthy.
    Same,
    /// It went wrong before anything was switched: the host is as it was.
    Untouched { reason: String },
    /// It went wrong, and the host is back at what it ran before.
    Undone { reason: String },
    /// It went wrong and the way back did, too.
    Broken { reason: String, rollback: String },
    /// It was not this host's turn any more.
    NotBegun,
}

impl Outcome {
    /// Whether the host runs what was wanted.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Done | Self::Same)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Same => "unchanged",
            Self::Untouched { .. } => "not switched",
            Self::Undone { .. } => "rolled back",
            Self::Broken { .. } => "BROKEN",
            Self::NotBegun => "not begun",
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Done | Self::Same | Self::NotBegun => String::new(),
            Self::Untouched { reason } | Self::Undone { reason } => reason.clone(),
            Self::Broken { reason, rollback } => {
                format!("{reason}; and going back failed: {rollback}")
            }
        }
    }
}

/// A host and what became of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub from: String,
    /// What it runs now, as far as that is known.
    pub now: String,
    pub outcome: Outcome,
}

impl Line {
    /// As tables and scripts show it.
    pub fn value(&self) -> Value {
        json!({
            "name": self.name,
            "outcome": self.outcome.word(),
            "from": self.from,
            "now": self.now,
            "reason": self.outcome.reason(),
        })
    }
}

/// All hosts of an upgrade or a rollback, in their order.
#[derive(Clone, Debug)]
pub struct Report {
    /// `upgrade` or `rollback`.
    pub verb: &'static str,
    pub lines: Vec<Line>,
    pub interrupted: bool,
}

impl Report {
    /// Whether every host has what was wanted.
    pub fn is_good(&self) -> bool {
        self.lines.iter().all(|line| line.outcome.is_good())
    }
}

impl fmt::Display for Report {
    /// Why it ended where it did, and what to do next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |wanted: &dyn Fn(&Outcome) -> bool| {
            let lines = self.lines.iter().filter(|line| wanted(&line.outcome));
            let names: Vec<&str> = lines.map(|line| line.name.as_str()).collect();
            names.join(", ")
        };
        let verb = self.verb;
        let failed = self
            .lines
            .iter()
            .find(|line| !line.outcome.is_good() && line.outcome != Outcome::NotBegun);
        match failed {
            Some(line) => {
                let is = match &line.outcome {
                    Outcome::Untouched { .. } => "nothing was switched on it",
                    Outcome::Undone { .. } => "it was rolled back and is healthy",
                    _ => "it is NOT healthy",
                };
                write!(
                    f,
                    "the {verb} stopped at {}: {}\n{}: {is}",
                    line.name,
                    line.outcome.reason(),
                    line.name
                )?;
                if matches!(line.outcome, Outcome::Broken { .. }) {
                    write!(
                        f,
                        "; look with `photon host status {}` and `journalctl -b` on the host",
                        line.name
                    )?;
                }
            }
            None if self.interrupted => write!(f, "the {verb} was interrupted between two hosts")?,
            None => write!(f, "the {verb} did not reach every host")?,
        }
        let done = names(&Outcome::is_good);
        let rest = names(&|outcome| *outcome == Outcome::NotBegun);
        if !done.is_empty() {
            write!(f, "\n{verb} done: {done}")?;
            if verb == "upgrade" {
                write!(
                    f,
                    " (`photon host rollback` takes them back, if that is wanted)"
                )?;
            }
        }
        if !rest.is_empty() {
            write!(
                f,
                "\nnot begun: {rest} (the same command goes on with them)"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::ANSWER;
    use super::*;

    fn healthy() -> Facts {
        let mut facts = Facts::parse(ANSWER).unwrap();
        facts.failed.clear();
        let agent = facts.units.get_mut("plasmavmc-agent.service").unwrap();
        agent.active = "active".into();
        agent.last_words.clear();
        let iam = facts.units.get_mut("iam-server.service").unwrap();
        iam.running = iam.program.clone();
        facts
    }

    fn host(name: &str, control_plane: bool) -> Before {
        let mut facts = healthy();
        if !control_plane {
            facts.units.remove("iam-server.service");
        }
        Before {
            name: name.into(),
            facts,
        }
    }

    #[test]
    fn servers_come_last_and_go_back_first() {
        let hosts = || {
            vec![
                host("node01", true),
                host("node02", false),
                host("node03", false),
            ]
        };
        let names = |hosts: Vec<Before>| -> Vec<String> {
            hosts.into_iter().map(|host| host.name).collect()
        };
        assert_eq!(
            names(upgrade_order(hosts())),
            ["node02", "node03", "node01"]
        );
        assert_eq!(
            names(rollback_order(hosts())),
            ["node01", "node02", "node03"]
        );
    }

    #[test]
    fn a_healthy_host_has_no_problem() {
        assert_eq!(problems(&healthy(), &[], None), [""; 0]);
    }

    #[test]
    fn every_problem_is_named() {
        let facts = Facts::parse(ANSWER).unwrap();
        let unanswered = [
            (
                "iam-server.service".to_owned(),
                "connection refused".to_owned(),
            ),
            (
                "plasmavmc-agent.service".to_owned(),
                "never asked".to_owned(),
            ),
        ];
        let found = problems(&facts, &unanswered, None);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[0].contains("0.1.0") && found[0].contains("not restarted"),
            "{found:#?}"
        );
        assert!(
            found[1].contains("plasmavmc-agent.service is activating (auto-restart): cannot reach")
        );
        assert_eq!(found[2], "nscd.service has failed");
        assert!(found[3].contains("connection refused"));
        // What had failed before is no fault of the upgrade; PhotonCloud's own units are looked at anyway.
        let found = problems(&facts, &[], Some(&facts));
        assert!(
            !found.iter().any(|problem| problem.contains("nscd")),
            "{found:#?}"
        );
        assert_eq!(found.len(), 2);
        let found = problems(&Facts::default(), &[], None);
        assert!(found[0].contains("photon.target"), "{found:#?}");
    }

    #[test]
    fn a_vm_that_is_another_process_was_disturbed() {
        let before = healthy();
        assert_eq!(disturbed(&before, &before), [""; 0]);
        let mut after = before.clone();
        after.vms.get_mut("photon-vm-1.service").unwrap().invocation = "ffff".into();
        after.vms.insert(
            "photon-vm-9.service".into(),
            before.vms["photon-vm-1.service"].clone(),
        );
        assert_eq!(
            disturbed(&before, &after),
            ["photon-vm-1.service was restarted"]
        );
        after.vms.clear();
        assert_eq!(disturbed(&before, &after), ["photon-vm-1.service stopped"]);
    }

    #[test]
    fn a_crash_loop_is_not_settled() {
        let earlier = healthy();
        let mut now = earlier.clone();
        assert!(settled(&earlier, &now));
        now.units.get_mut("iam-server.service").unwrap().restarts += 1;
        assert!(!settled(&earlier, &now));
    }

    #[test]
    fn a_report_says_what_is_done_undone_and_not_begun() {
        let line = |name: &str, outcome| Line {
            name: name.into(),
            from: "old".into(),
            now: "new".into(),
            outcome,
        };
        let mut report = Report {
            verb: "upgrade",
            lines: vec![
                line("node02", Outcome::Done),
                line(
                    "node03",
                    Outcome::Undone {
                        reason: "iam-server.service is failed".into(),
                    },
                ),
                line("node01", Outcome::NotBegun),
            ],
            interrupted: false,
        };
        assert!(!report.is_good());
        let text = report.to_string();
        assert!(
            text.contains("stopped at node03: iam-server.service is failed"),
            "{text}"
        );
        assert!(
            text.contains("node03: it was rolled back and is healthy"),
            "{text}"
        );
        assert!(text.contains("upgrade done: node02"), "{text}");
        assert!(text.contains("not begun: node01"), "{text}");

        report.lines[1].outcome = Outcome::NotBegun;
        report.interrupted = true;
        let text = report.to_string();
        assert!(text.contains("interrupted between two hosts"), "{text}");
        assert!(text.contains("not begun: node03, node01"), "{text}");
        assert_eq!(report.lines[0].value()["outcome"], "done");
    }
}
