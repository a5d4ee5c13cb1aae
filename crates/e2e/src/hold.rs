//! What a tenant notices while something is done to the cloud: two guests ping each other, and a client of each
//! server writes, until it is told that it is over.

mod pings;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::Session;
use crate::journal::Journal;
use crate::progress::say;
use crate::run::{Run, interruption};
use crate::scenario::{self, Tenant};

use pings::Pings;
use writer::{Target, Writer, Writes};

/// Room for all that is written, apart from where the guests are.
const WRITES: (&str, &str) = ("10.0.128.0/17", "10.0.128.1");

/// How long the first acknowledgments may take.
const BEGIN: Duration = Duration::from_secs(60);

/// How long afterwards the servers may take to answer again.
const ANSWER: Duration = Duration::from_secs(60);

/// How a hold is to be.
pub struct Hold {
    /// Ends it; else a signal does.
    pub length: Option<Duration>,
    pub interval: Duration,
    /// Made when everything runs.
    pub ready_file: Option<PathBuf>,
    pub journal: Option<PathBuf>,
    pub bounds: Bounds,
}

/// What a tenant may notice at most.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub interruption: Duration,
    pub silence: Duration,
}

/// What was noticed.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub ok: bool,
    pub error: Option<String>,
    /// How long it was held.
    pub seconds: f64,
    pub pings: Vec<Pings>,
    pub pings_lost: u32,
    pub longest_silence_seconds: f64,
    /// Whether a guest's kernel was started anew.
    pub rebooted: bool,
    pub writes: Vec<Writes>,
    pub acknowledged: u64,
    /// Acknowledged writes that are not there.
    pub lost: Vec<String>,
    /// The longest time during which some server acknowledged nothing.
    pub interruption_seconds: f64,
}

/// Holds it; the report has how far it came.
pub async fn run(run: &Run, hold: &Hold) -> Report {
    let mut report = Report::default();
    let outcome = run
        .guarded_to_its_end(carry_out(run, hold, &mut report))
        .await;
    report.ok = outcome.is_ok();
    report.error = outcome.err().map(|error| format!("{error:#}"));
    report
}

async fn carry_out(run: &Run, hold: &Hold, report: &mut Report) -> Result<()> {
    // From here on a signal means that it is over, also while guests still boot.
    let over = interruption();
    tokio::pin!(over);
    let journal = Arc::new(Mutex::new(Journal::begin(hold.journal.as_deref())?));

    say("==> making two guests that ping each other");
    let operator = run.sign_in().await?;
    let account = run.account("hold")?;
    let mut tenants = [tokio::select! {
        tenant = run.within_limit(prepare(run, &operator, &account)) => tenant?,
        name = &mut over => bail!("interrupted by {name} before it held anything"),
    }];
    let [tenant] = &mut tenants;
    let writes = tenant
        .session
        .create_subnet(&tenant.vpc, "writes", WRITES.0, WRITES.1)
        .await?;
    let addresses: Vec<String> = tenant
        .machines
        .iter()
        .map(|machine| machine.port.ip_address.clone())
        .collect();
    let mut pinging = Vec::new();
    for (machine, to) in tenant.machines.iter_mut().zip(addresses.iter().rev()) {
        pinging.push(pings::start(machine, to).await?);
    }

    say("==> writing to all servers");
    let (stop, stopped) = watch::channel(false);
    let writer = Writer {
        channels: run.channels.clone(),
        account: account.clone(),
        journal: journal.clone(),
        interval: hold.interval,
        stop: stopped,
        run: format!("e2e-{}", tenant.vpc.id),
    };
    let mut writers = JoinSet::new();
    let mut first = Vec::new();
    for target in [
        Target::ServiceAccounts,
        Target::Ports(writes),
        Target::ImageCount(tenant.image.clone()),
    ] {
        let (begun, told) = oneshot::channel();
        first.push((target.service(), told));
        writers.spawn(writer.clone().run(target, begun));
    }
    for (service, told) in first {
        let told = tokio::time::timeout(BEGIN, told).await;
        // An error of the channel: the writer has ended, and says below why.
        if told.is_err() {
            bail!("{service} acknowledged nothing for {} s", BEGIN.as_secs());
        }
    }

    let begun = Instant::now();
    if let Some(path) = &hold.ready_file {
        mark(path)?;
    }
    say("==> holding");
    let end = async {
        match hold.length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = end => {}
        name = &mut over => say(format!("    {name}: it is over")),
        // None ends by itself.
        Some(ended) = writers.join_next() => {
            ended??;
            bail!("a writer ended by itself");
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    stop.send_replace(true);
    while let Some(ended) = writers.join_next().await {
        report.writes.push(ended??);
    }

    say("==> looking at what came of it");
    let journal = std::mem::take(&mut *journal.lock().unwrap_or_else(PoisonError::into_inner));
    run.within_limit(async {
        // The token of before may have expired.
        let session = account.sign_in(&run.channels).await?;
        for (pinging, machine) in pinging.iter().zip(&tenant.machines) {
            report.pings.push(pinging.stop(&session, machine).await?);
        }
        report.lost = lost(run, &journal).await?;
        Ok(())
    })
    .await?;
    sum_up(report);
    judge(report, hold.bounds)
}

async fn prepare(run: &Run, operator: &Session, account: &crate::Account) -> Result<Tenant> {
    let hosts = run.hosts(operator).await?;
    let mut next = hosts.iter().cycle();
    let mut tenant = Tenant::set_up(operator, &run.channels, account, &run.guests).await?;
    for (name, address) in [("vm1", "10.0.1.10"), ("vm2", "10.0.1.11")] {
        let host = next.next().map(|host| (operator, host.as_str()));
        tenant.add_machine(name, address, &run.guests, host).await?;
    }
    let mut tenants = [tenant];
    scenario::boot(&mut tenants, &run.guests).await?;
    let [tenant] = tenants;
    Ok(tenant)
}

/// Whoever waits for it finds it whole.
fn mark(path: &Path) -> Result<()> {
    std::fs::write(path, "holding\n").with_context(|| format!("cannot write {}", path.display()))
}

/// What is lost, as soon as the servers answer.
async fn lost(run: &Run, journal: &Journal) -> Result<Vec<String>> {
    let deadline = Instant::now() + ANSWER;
    loop {
        let asked = match run.sign_in().await {
            Ok(operator) => journal.lost(&operator).await,
            Err(error) => Err(error),
        };
        match asked {
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            asked => return asked.context("cannot ask for what was acknowledged"),
        }
    }
}

fn sum_up(report: &mut Report) {
    let longest = |seconds: &mut f64, other: f64| *seconds = seconds.max(other);
    for pings in &report.pings {
        report.pings_lost += pings.lost;
        report.rebooted |= pings.rebooted;
        longest(
            &mut report.longest_silence_seconds,
            pings.longest_silence_seconds,
        );
    }
    for writes in &report.writes {
        report.acknowledged += writes.acknowledged;
        longest(
            &mut report.interruption_seconds,
            writes.interruption_seconds,
        );
    }
}

fn judge(report: &Report, bounds: Bounds) -> Result<()> {
    let mut wrong = Vec::new();
    if report.rebooted {
        wrong.push("a guest was started anew".to_owned());
    }
    let (seen, most) = (report.longest_silence_seconds, bounds.silence.as_secs_f64());
    if seen > most {
        wrong.push(format!(
            "pings were lost for {seen:.1} s, at most {most:.1} s are allowed"
        ));
    }
    let (seen, most) = (
        report.interruption_seconds,
        bounds.interruption.as_secs_f64(),
    );
    if seen > most {
        wrong.push(format!(
            "nothing was acknowledged for {seen:.1} s, at most {most:.1} s are allowed"
        ));
    }
    for writes in report.writes.iter().filter(|writes| writes.refused > 0) {
        wrong.push(format!(
            "{} refused {} writes: {}",
            writes.service,
            writes.refused,
            writes.last_error.as_deref().unwrap_or_default()
        ));
    }
    if !report.lost.is_empty() {
        wrong.push(format!(
            "{} acknowledged writes are lost: {}",
            report.lost.len(),
            report.lost.join(", ")
        ));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("{}", wrong.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        interruption: Duration::from_secs(5),
        silence: Duration::from_secs(1),
    };

    #[test]
    fn what_is_within_bounds_is_right() {
        let report = Report {
            interruption_seconds: 4.9,
            longest_silence_seconds: 1.0,
            ..Default::default()
        };
        judge(&report, BOUNDS).unwrap();
    }

    #[test]
    fn every_excess_is_named() {
        let report = Report {
            interruption_seconds: 5.1,
            longest_silence_seconds: 1.2,
            rebooted: true,
            lost: vec!["port p1".into()],
            ..Default::default()
        };
        let error = judge(&report, BOUNDS).unwrap_err().to_string();
        for word in ["anew", "1.2 s", "5.1 s", "port p1"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
