//! Two guests that ping each other in the background, where no console is needed for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::time::Instant;

use crate::Session;
use crate::console::Console;
use crate::guest::Guest;
use crate::scenario::Machine;

/// Pings per second.
const RATE: u32 = 5;

const COMMAND: Duration = Duration::from_secs(60);

/// How long consoles and the ways to them may take to be there again.
const CONSOLE: Duration = Duration::from_secs(90);

/// What one guest saw of the other.
#[derive(Debug, Serialize)]
pub struct Pings {
    /// The guest's VM.
    pub from: String,
    pub to: String,
    pub sent: u32,
    pub answered: u32,
    pub lost: u32,
    /// The longest run of pings without an answer, as time.
    pub longest_silence_seconds: f64,
    /// Whether the guest's kernel was started anew meanwhile.
    pub rebooted: bool,
}

/// A guest that pings.
pub struct Pinging {
    name: String,
    to: String,
    boot_id: String,
}

async fn boot_id(guest: &mut Guest<Console>) -> Result<String> {
    let id = guest.check("cat /proc/sys/kernel/random/boot_id", COMMAND);
    Ok(id.await?.trim().to_owned())
}

/// Lets the machine's guest ping an address, and waits for the first answer. Its console is closed.
pub async fn start(machine: &mut Machine, to: &str) -> Result<Pinging> {
    let name = machine.vm.name.clone();
    let guest = machine.guest.take();
    let mut guest = guest.with_context(|| format!("the console of {name} is not open"))?;
    let boot_id = boot_id(&mut guest).await?;
    let interval = 1.0 / f64::from(RATE);
    let ping = format!("rm -f /tmp/pings; (ping -i {interval} {to} >/tmp/pings 2>&1 &)");
    guest.check(&ping, COMMAND).await?;
    let first = "for try in $(seq 100); do grep -q seq= /tmp/pings && exit 0; sleep 0.2; done; cat /tmp/pings; exit 1";
    // In a shell of its own: this one is the console's.
    guest
        .check(&format!("sh -c {}", crate::guest::quote(first)), COMMAND)
        .await
        .with_context(|| format!("{name} gets no answer from {to}"))?;
    Ok(Pinging {
        name,
        to: to.to_owned(),
        boot_id,
    })
}

impl Pinging {
    /// Ends the pings; what came of them.
    pub async fn stop(&self, session: &Session, machine: &Machine) -> Result<Pings> {
        let mut guest = console(session, machine).await?;
        let rebooted = boot_id(&mut guest).await? != self.boot_id;
        let mut pings = Pings {
            from: self.name.clone(),
            to: self.to.clone(),
            sent: 0,
            answered: 0,
            lost: 0,
            longest_silence_seconds: 0.0,
            rebooted,
        };
        if rebooted {
            // What it had written is gone with it.
            return Ok(pings);
        }
        let end = "killall -INT ping; while pidof ping >/dev/null; do sleep 0.1; done; \
                   sed -n 's/.*seq=\\([0-9]*\\) .*/\\1/p' /tmp/pings >/tmp/seqs; \
                   sed -n 's/^\\([0-9]*\\) packets transmitted.*/\\1/p' /tmp/pings";
        let sent = guest.check(end, COMMAND).await?;
        let sent = sent.trim();
        pings.sent = sent
            .parse()
            .with_context(|| format!("ping of {} told of `{sent}` packets", self.name))?;
        // The highest number of pings in a row that nobody answered; those at the end count too.
        let gaps = format!(
            "awk 'BEGIN {{last=-1}} $1-last-1>most {{most=$1-last-1}} {{last=$1}} \
             END {{if ({sent}-last-1>most) most={sent}-last-1; print NR, most+0}}' /tmp/seqs",
        );
        let report = guest.check(&gaps, COMMAND).await?;
        let (answered, most) =
            numbers(&report).with_context(|| format!("awk of {} said `{report}`", self.name))?;
        pings.answered = answered;
        pings.lost = pings.sent.saturating_sub(answered);
        pings.longest_silence_seconds = f64::from(most) / f64::from(RATE);
        Ok(pings)
    }
}

fn numbers(report: &str) -> Option<(u32, u32)> {
    let (first, second) = report.trim().split_once(' ')?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// The console, opened anew, as soon as there is one: sessions end with the servers.
async fn console(session: &Session, machine: &Machine) -> Result<Guest<Console>> {
    let deadline = Instant::now() + CONSOLE;
    loop {
        let error = match session.guest(&machine.vm).await {
            Ok(mut guest) => match guest.ready(Duration::from_secs(20)).await {
                Ok(()) => return Ok(guest),
                Err(error) => error,
            },
            Err(error) => error,
        };
        ensure!(
            Instant::now() < deadline,
            "no console of {} within {} s: {error:#}",
            machine.vm.name,
            CONSOLE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_awk_prints_is_read() {
        assert_eq!(numbers("120 3\n"), Some((120, 3)));
        assert_eq!(numbers("120"), None);
    }
}
