//! What all runs have in common: which cloud, as whom, with what guests, for how long; and that nothing is left.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

use crate::progress::say;
use crate::removal;
use crate::scenario::Guests;
use crate::{Account, Channels, Session};

/// A cloud that is just starting is given this long to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// How long it may take, at most, to remove what a run that failed left.
const REMOVAL: Duration = Duration::from_secs(240);

/// A cloud, and an operator in it.
pub struct Run {
    pub channels: Channels,
    pub operator: String,
    pub password: String,
    pub guests: Guests,
    /// What the names of the organizations begin with that the run makes.
    pub prefix: String,
    /// What they end with, of this run alone: the name of an organization that is removed is never given again.
    pub tag: String,
    /// Whether to spread VMs over all hosts, as the operator, or leave it to the scheduler.
    pub spread: bool,
    /// Whether to leave everything as it is at the end.
    pub keep: bool,
    pub limit: Duration,
}

impl Run {
    pub fn org(&self, name: &str) -> String {
        format!("{}-{name}-{}", self.prefix, self.tag)
    }

    /// A tenant that can be told from others afterwards.
    pub fn account(&self, name: &str) -> Result<Account> {
        Ok(Account {
            description: removal::MARK.into(),
            ..Account::new(&self.org(name))?
        })
    }

    /// The operator's session, as soon as IAM answers.
    pub async fn sign_in(&self) -> Result<Session> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let opened =
                Session::open(&self.channels, &self.operator, "", "", &self.password).await;
            match opened {
                Err(error) if is_unavailable(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Which hosts machines go to in turn: none, if the scheduler shall choose.
    pub async fn hosts(&self, operator: &Session) -> Result<Vec<String>> {
        operator.wait_for_host(ANSWER).await?;
        match self.spread {
            true => operator.ready_hosts().await,
            false => Ok(Vec::new()),
        }
    }

    /// Carries the work out, within the limit and until a signal ends it; then, unless that is to be kept, removes
    /// the organizations that it made, however it ended.
    pub async fn guarded(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        self.guarded_to_its_end(async {
            tokio::select! {
                ended = self.within_limit(work) => ended,
                name = interruption() => bail!("interrupted by {name}"),
            }
        })
        .await
    }

    /// Gives the work up when it takes longer than the run's limit.
    pub async fn within_limit<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(self.limit, work).await {
            Ok(result) => result,
            Err(_) => bail!("not done within {} s", self.limit.as_secs()),
        }
    }

    /// As [`guarded`](Self::guarded), for work that minds signals and the limit itself.
    pub async fn guarded_to_its_end(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let outcome = work.await;
        if self.keep {
            return outcome;
        }
        if let Err(error) = &outcome {
            say(format!("error: {error:#}"));
        }
        match (outcome, timeout(REMOVAL, self.clean()).await) {
            (outcome, Ok(Ok(_))) => outcome,
            (outcome, Ok(Err(error))) => join(outcome, error.context("cannot clean up")),
            (outcome, Err(_)) => {
                let late = anyhow::anyhow!("not cleaned up within {} s", REMOVAL.as_secs());
                join(outcome, late)
            }
        }
    }

    /// Removes every organization of this prefix; how many there were.
    pub async fn clean(&self) -> Result<usize> {
        let operator = self.sign_in().await?;
        let organizations = removal::organizations(&operator, &format!("{}-", self.prefix)).await?;
        for org in &organizations {
            removal::remove(&operator, org).await?;
        }
        Ok(organizations.len())
    }
}

/// Both errors, if there are two: what went wrong first is what a reader wants to know first.
fn join(outcome: Result<()>, then: anyhow::Error) -> Result<()> {
    match outcome {
        Ok(()) => Err(then),
        Err(first) => bail!("{first:#}; then {then:#}"),
    }
}

/// Whether the server could not be reached, or cannot reach what it needs, rather than refuses.
fn is_unavailable(error: &anyhow::Error) -> bool {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<photon_client::Error>())
        .is_some_and(photon_client::Error::is_passing)
}

/// Waits for a signal that asks to end; its name.
pub async fn interruption() -> &'static str {
    let (Ok(mut int), Ok(mut term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without a handler the signal's default action ends the process, which is as good.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => "SIGINT",
        _ = term.recv() => "SIGTERM",
    }
}

/// The first line of a file with a password.
pub fn read_password(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the operator's password from {}",
            path.display()
        )
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("{} is empty, not the operator's password", path.display());
    }
    Ok(line.to_owned())
}

/// What the guests are made of must be there before anything is begun.
pub fn check_readable(path: &PathBuf) -> Result<()> {
    std::fs::File::open(path)
        .map(drop)
        .with_context(|| format!("cannot read {}", path.display()))
}
