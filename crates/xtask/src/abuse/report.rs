//! What was seen before and with the abuse, as a table, and whether it is within its bounds.

use super::attack::{Attack, Counts};
use super::neighbour::{CALLS, Calls, Course};
use super::watched::Seen;

/// By how much the stores, chains and logs may grow, in bytes.
const DISK: u64 = 20 << 20;
/// A p99 may be so many times what it was.
const TIMES: f64 = 2.0;

/// If less than this was refused, nobody tried hard.
const REFUSALS: u64 = 500;

/// What one phase showed.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    pub course: Course,
    /// Of each server, in their order.
    pub seen: Vec<Seen>,
    /// What stores, chains and logs take.
    pub disk: u64,
}

/// A server as the report names it.
#[derive(Clone, Debug)]
pub struct Server {
    pub program: &'static str,
    pub memory_max: u64,
}

/// All of it.
pub struct Report {
    pub seconds: u64,
    /// A p99 below this is no harm, in ms: on a machine with two cores, on which the attackers run too, that is what a
    /// call waits when others have their turn.
    pub floor_ms: f64,
    pub servers: Vec<Server>,
    pub before: Phase,
    pub with: Phase,
    pub attacks: Vec<(Attack, Counts)>,
    /// Whether the host, whose agent goes on all the while, is ready at the end.
    pub host_ready: bool,
}

impl Report {
    /// How long a call may take at the 99th percentile, in ms.
    fn allowed(&self, before: f64) -> f64 {
        (TIMES * before).max(self.floor_ms)
    }

    fn calls(phase: &Phase, name: &str) -> Calls {
        phase.course.calls.get(name).cloned().unwrap_or_default()
    }

    /// The bounds that do not hold, in words; none: all do.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for name in CALLS {
            let (mut before, mut with) = (
                Self::calls(&self.before, name),
                Self::calls(&self.with, name),
            );
            for (when, calls) in [("before", &before), ("with the abuse", &with)] {
                if calls.failures > 0 {
                    let count = calls.failures;
                    broken.push(format!("{count} times it could not {name}, {when}"));
                }
            }
            if with.times.count() == 0 || before.times.count() == 0 {
                broken.push(format!("it did not {name} at all"));
                continue;
            }
            let (was, is) = (before.times.quantile_ms(0.99), with.times.quantile_ms(0.99));
            let allowed = self.allowed(was);
            if is > allowed {
                broken.push(format!(
                    "to {name} takes {is:.1} ms (p99), and may take {allowed:.1}"
                ));
            }
        }
        for (server, seen) in self.servers.iter().zip(&self.with.seen) {
            if seen.peak >= server.memory_max {
                broken.push(format!(
                    "{} had {} MiB of memory, and its MemoryMax is {}",
                    server.program,
                    seen.peak >> 20,
                    server.memory_max >> 20
                ));
            }
        }
        if self.grown() >= DISK {
            broken.push(format!(
                "stores, chains and logs grew by {:.1} MiB, and may by less than {}",
                mib(self.grown()),
                DISK >> 20
            ));
        }
        if self.refused() < REFUSALS {
            broken.push(format!(
                "the servers refused {} calls and connections: those who attack had no time to do harm",
                self.refused()
            ));
        }
        if !self.host_ready {
            broken.push("the host is not ready any more".into());
        }
        broken
    }

    /// With the abuse, by all servers together.
    fn refused(&self) -> u64 {
        let seen = self.before.seen.iter().zip(&self.with.seen);
        seen.map(|(before, with)| with.refused.saturating_sub(before.refused))
            .sum()
    }

    fn grown(&self) -> u64 {
        self.with.disk.saturating_sub(self.before.disk)
    }

    /// The tables.
    pub fn text(&self) -> String {
        let mut text = format!(
            "The neighbour, {} s alone and {} s with the abuse (times in ms; its p99 may be {TIMES} times what it was, \
             or {} ms)\n\n",
            self.seconds, self.seconds, self.floor_ms
        );
        text += &columns(&self.neighbour());
        for told in &self.with.course.told {
            text += &format!("  failed: {told}\n");
        }
        text += "\nThe servers (MiB)\n\n";
        text += &columns(&self.memory());
        text += &format!(
            "\nStores, chains and logs: {:.1} MiB before, {:.1} after: grown by {:.1}, and may by {}\n",
            mib(self.before.disk),
            mib(self.with.disk),
            mib(self.grown()),
            DISK >> 20
        );
        text += "\nThe attackers\n\n";
        text += &columns(&self.attackers());
        text
    }

    fn neighbour(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(&[
            "", "calls", "failed", "p50", "p99", "calls", "failed", "p50", "p99", "allowed",
        ])];
        for name in CALLS {
            let mut cells = vec![name.to_owned()];
            let mut allowed = 0.0;
            for phase in [&self.before, &self.with] {
                let mut calls = Self::calls(phase, name);
                let p99 = calls.times.quantile_ms(0.99);
                cells.push(calls.times.count().to_string());
                cells.push(calls.failures.to_string());
                cells.push(format!("{:.1}", calls.times.quantile_ms(0.5)));
                cells.push(format!("{p99:.1}"));
                if allowed == 0.0 {
                    allowed = self.allowed(p99);
                }
            }
            cells.push(format!("{allowed:.1}"));
            rows.push(cells);
        }
        rows
    }

    fn memory(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(&[
            "",
            "before",
            "after",
            "peak",
            "MemoryMax",
            "refused before",
            "and since",
        ])];
        let seen = self.before.seen.iter().zip(&self.with.seen);
        for (server, (before, with)) in self.servers.iter().zip(seen) {
            rows.push(vec![
                server.program.to_owned(),
                (before.resident >> 20).to_string(),
                (with.resident >> 20).to_string(),
                (with.peak >> 20).to_string(),
                (server.memory_max >> 20).to_string(),
                before.refused.to_string(),
                with.refused.saturating_sub(before.refused).to_string(),
            ]);
        }
        rows
    }

    fn attackers(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(&["", "let in", "refused", "other errors", "cut off"])];
        for (attack, counts) in &self.attacks {
            let mut cells = vec![format!("{}: {}", attack.who.name(), attack.name)];
            for count in [
                counts.answered,
                counts.refused,
                counts.denied,
                counts.broken,
            ] {
                cells.push(count.to_string());
            }
            rows.push(cells);
        }
        rows
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Rows below each other, the first column to the left.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<width$}", width = width(0)),
            _ => format!("{cell:>width$}", width = width(column)),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whose calls all take so long.
    fn phase(ms: u64) -> Phase {
        let mut phase = Phase {
            seen: vec![Seen {
                peak: 100 << 20,
                ..Seen::default()
            }],
            disk: 1 << 20,
            ..Phase::default()
        };
        for name in CALLS {
            let calls = phase.course.calls.entry(name).or_default();
            for _ in 0..200 {
                calls.times.push(Duration::from_millis(ms));
            }
        }
        phase
    }

    fn report(before: Phase, mut with: Phase) -> Report {
        with.seen[0].refused = REFUSALS;
        Report {
            seconds: 1,
            floor_ms: 50.0,
            servers: vec![Server {
                program: "iam-server",
                memory_max: 2 << 30,
            }],
            before,
            with,
            attacks: Vec::new(),
            host_ready: true,
        }
    }

    #[test]
    fn a_p99_may_double_or_stay_below_the_floor() {
        assert_eq!(report(phase(4), phase(49)).broken(), [""; 0]);
        assert_eq!(report(phase(40), phase(79)).broken(), [""; 0]);
        let slow = report(phase(40), phase(81)).broken();
        assert_eq!(slow.len(), CALLS.len());
        assert_eq!(slow[0], "to sign in takes 81.0 ms (p99), and may take 80.0");
    }

    #[test]
    fn a_failure_is_one_whatever_else_holds() {
        let mut with = phase(4);
        with.course.calls.entry("get a port").or_default().failures = 1;
        let broken = report(phase(4), with).broken();
        assert_eq!(broken, ["1 times it could not get a port, with the abuse"]);
        // Nothing is slow of what never came.
        let mut with = phase(4);
        with.course.calls.remove("list ports");
        let broken = report(phase(4), with).broken();
        assert_eq!(broken, ["it did not list ports at all"]);
    }

    #[test]
    fn memory_disk_and_hosts_have_their_bounds() {
        let mut with = phase(4);
        with.seen[0].peak = 2 << 30;
        with.disk = 21 << 20;
        let mut report = report(phase(4), with);
        report.host_ready = false;
        let broken = report.broken();
        assert_eq!(
            broken[0],
            "iam-server had 2048 MiB of memory, and its MemoryMax is 2048"
        );
        assert!(broken[1].contains("grew by 20.0 MiB"), "{broken:?}");
        assert_eq!(broken[2], "the host is not ready any more");
        report.with.seen[0].refused = 3;
        let broken = report.broken();
        assert!(broken[2].contains("refused 3 calls"), "{broken:?}");
        let text = report.text();
        assert!(
            text.contains("get a port          200       0  4.0  4.0"),
            "{text}"
        );
    }
}
