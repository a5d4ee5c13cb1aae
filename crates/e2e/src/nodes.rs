//! That hosts are part of the cloud: each takes a VM, and a guest on one reaches a guest on the next.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::Session;
use crate::progress::{human, say};
use crate::run::Run;
use crate::scenario::{self, Ask, Tenant};
use crate::tenant_path::{Guest, guests};

/// What was seen.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub ok: bool,
    pub error: Option<String>,
    /// All hosts that take VMs, whether they were expected or not.
    pub ready: Vec<String>,
    /// A guest on each of those that were.
    pub guests: Vec<Guest>,
    pub reachability: Vec<Ask>,
}

/// Waits for these hosts and tries them; the report has how far it came.
pub async fn run(run: &Run, expected: &[String], wait: Duration) -> Report {
    let mut report = Report::default();
    let outcome = run
        .guarded(carry_out(run, expected, wait, &mut report))
        .await;
    report.ok = outcome.is_ok();
    report.error = outcome.err().map(|error| format!("{error:#}"));
    report
}

async fn carry_out(
    run: &Run,
    expected: &[String],
    wait: Duration,
    report: &mut Report,
) -> Result<()> {
    say(format!("==> waiting for {}", expected.join(", ")));
    let begun = Instant::now();
    let operator = run.sign_in().await?;
    wait_for(&operator, expected, wait, report).await?;
    say(format!("    ready: {}", human(begun.elapsed())));

    say("==> making a guest on each");
    let account = run.account("nodes")?;
    let mut tenant = Tenant::set_up(&operator, &run.channels, &account, &run.guests).await?;
    for (number, host) in (10..).zip(expected) {
        let address = format!("10.0.1.{number}");
        let host = Some((&operator, host.as_str()));
        tenant
            .add_machine(&format!("vm{number}"), &address, &run.guests, host)
            .await?;
    }
    let mut tenants = [tenant];
    scenario::boot(&mut tenants, &run.guests).await?;
    report.guests = guests(&tenants);
    for (guest, host) in report.guests.iter().zip(expected) {
        ensure!(
            guest.host == *host,
            "{} was to be on {host}, and is on {}",
            guest.name,
            guest.host
        );
    }

    say("==> asking every guest whom it reaches");
    report.reachability = scenario::reach(&mut tenants).await?;
    let wrong = scenario::wrong(&report.reachability);
    ensure!(
        wrong.is_empty(),
        "who reaches whom is not as it must be: {}",
        wrong.join("; ")
    );
    Ok(())
}

async fn wait_for(
    operator: &Session,
    expected: &[String],
    wait: Duration,
    report: &mut Report,
) -> Result<()> {
    let deadline = Instant::now() + wait;
    loop {
        report.ready = operator.ready_hosts().await?;
        let missing = missing(expected, &report.ready);
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "after {} s these hosts do not take VMs: {}; these do: {}",
            wait.as_secs(),
            missing.join(", "),
            report.ready.join(", ")
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn missing(expected: &[String], ready: &[String]) -> Vec<String> {
    let missing = expected.iter().filter(|name| !ready.contains(name));
    missing.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_not_ready_are_named() {
        let name = |name: &str| name.to_owned();
        let ready = [name("node01"), name("node04")];
        let expected = [name("node01"), name("node02")];
        assert_eq!(missing(&expected, &ready), ["node02"]);
    }
}
