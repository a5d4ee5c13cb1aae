//! Runs a reconciler on a signal, on a timer, and again after a failure.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::jittered;
use crate::{Backoff, Outcome, Pass, Reconciler, Signal, Status, run_once};

/// When passes happen that nobody asked for.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Longest time between two passes; shortened by up to a quarter at random.
    pub every: Duration,
    /// Delay after the first failure; doubles with each.
    pub retry_first: Duration,
    /// Longest delay after a failure.
    pub retry_most: Duration,
}

impl Default for Timing {
    /// A pass every 30 s; after failures 0.25 s to 30 s.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            retry_first: Duration::from_millis(250),
            retry_most: Duration::from_secs(30),
        }
    }
}

/// Owns a reconciler and runs it until it is told to stop.
pub struct Driver<R> {
    name: &'static str,
    reconciler: R,
    timing: Timing,
    signal: Signal,
    status: watch::Sender<Status>,
}

impl<R: Reconciler> Driver<R> {
    /// A driver that has not run yet; `name` is used in logs.
    pub fn new(name: &'static str, reconciler: R, timing: Timing, signal: Signal) -> Self {
        Self {
            name,
            reconciler,
            timing,
            signal,
            status: watch::Sender::new(Status::default()),
        }
    }

    /// Follows the status.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Runs at once, then whenever it is due, until `cancel`. A pass in progress is finished first, so that
    /// stopping never leaves half a change; gives the reconciler back.
    ///
    /// After a failure a signal does not cut the delay short: what fails is not hammered because there is
    /// news.
    pub async fn run(mut self, cancel: CancellationToken) -> R {
        let mut backoff = Backoff::new(self.timing.retry_first, self.timing.retry_most);
        // A plan that never becomes empty is slowed like a failure.
        let mut unconfirmed = Backoff::new(self.timing.retry_first, self.timing.retry_most);
        let mut goal = self.reconciler.goal();
        while !cancel.is_cancelled() {
            if goal != self.reconciler.goal() {
                goal = self.reconciler.goal();
                unconfirmed.succeeded();
            }
            let result = run_once(self.name, &mut self.reconciler).await;
            let outcome = match &result {
                Ok(Pass::Unknown) => Outcome::Unknown,
                Ok(Pass::NothingToDo) => Outcome::NothingToDo,
                Ok(Pass::Applied) => Outcome::Applied,
                Err(error) => Outcome::Failed {
                    error: error.to_string(),
                    failures: backoff.failures() + 1,
                },
            };
            self.note(&outcome);
            match outcome {
                Outcome::Applied => {
                    backoff.succeeded();
                    let delay = unconfirmed.failed();
                    // The first time, what was applied is confirmed at once.
                    if unconfirmed.failures() > 1 {
                        pause(delay, &cancel).await;
                    }
                }
                Outcome::Failed { error, failures } => {
                    let delay = backoff.failed();
                    tracing::warn!(
                        reconciler = self.name,
                        failures,
                        retry_in_ms = delay.as_millis(),
                        "pass failed: {error}"
                    );
                    pause(delay, &cancel).await;
                }
                _ => {
                    backoff.succeeded();
                    unconfirmed.succeeded();
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = self.signal.notified() => {}
                        () = tokio::time::sleep(jittered(self.timing.every)) => {}
                    }
                }
            }
        }
        self.reconciler
    }

    fn note(&self, outcome: &Outcome) {
        self.status.send_modify(|status| {
            if *outcome == Outcome::NothingToDo && status.last != Outcome::NothingToDo {
                tracing::info!(reconciler = self.name, "nothing to do");
            }
            status.passes += 1;
            match outcome {
                Outcome::Applied => status.applied += 1,
                Outcome::Failed { .. } => status.failed += 1,
                _ => {}
            }
            status.last = outcome.clone();
        });
    }
}

async fn pause(delay: Duration, cancel: &CancellationToken) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = tokio::time::sleep(delay) => {}
    }
}

#[cfg(test)]
mod tests;
