//! A client that writes to one server, again and again, and notes how long nothing was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use photon_api::iam::v1::{CreatePrincipalRequest, PrincipalKind};
use photon_api::plasmavmc::v1::{Image, Labels, UpdateImageRequest};
use photon_api::prismnet::v1::{CreatePortRequest, Subnet};
use photon_client::Error;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::journal::{COUNT, Entry, Journal};
use crate::{Account, Channels, Session};

/// A call without an answer after this is tried again: with the same request id, so that it counts once.
const CALL: Duration = Duration::from_secs(2);

/// A token is exchanged for a new one when it has less than this left, in seconds.
const FRESH: i64 = 300;

/// What is written.
pub enum Target {
    ServiceAccounts,
    Ports(Subnet),
    ImageCount(Image),
}

impl Target {
    pub fn service(&self) -> &'static str {
        match self {
            Target::ServiceAccounts => "iam",
            Target::Ports(_) => "prismnet",
            Target::ImageCount(_) => "plasmavmc",
        }
    }

    /// Who writes: service accounts are the organization's, beyond what a project's token may do.
    fn writer(&self, account: Account) -> Account {
        match self {
            Target::ServiceAccounts => account.of_organization(),
            Target::Ports(_) | Target::ImageCount(_) => account,
        }
    }

    async fn write(
        &self,
        session: &Session,
        number: u64,
        request_id: String,
    ) -> Result<Entry, Error> {
        let (org, project) = (session.org.clone(), session.project.clone());
        let name = format!("write-{number}");
        match self {
            Target::ServiceAccounts => {
                let request = CreatePrincipalRequest {
                    org_id: org.clone(),
                    name,
                    kind: PrincipalKind::ServiceAccount.into(),
                    request_id,
                    ..Default::default()
                };
                let principal = session.call(request).await?.principal.unwrap_or_default();
                Ok(Entry::ServiceAccount {
                    org,
                    id: principal.id,
                })
            }
            Target::Ports(subnet) => {
                let request = CreatePortRequest {
                    org_id: org.clone(),
                    project_id: project.clone(),
                    subnet_id: subnet.id.clone(),
                    name,
                    request_id,
                    ..Default::default()
                };
                let port = session.call(request).await?.port.unwrap_or_default();
                Ok(Entry::Port {
                    org,
                    project,
                    id: port.id,
                })
            }
            Target::ImageCount(image) => {
                let labels = BTreeMap::from([(COUNT.to_owned(), number.to_string())]);
                let request = UpdateImageRequest {
                    id: image.id.clone(),
                    labels: Some(Labels { labels }),
                    request_id,
                    ..Default::default()
                };
                session.call(request).await?;
                Ok(Entry::ImageCount {
                    org,
                    project,
                    id: image.id.clone(),
                    count: number,
                })
            }
        }
    }
}

/// How one server did.
#[derive(Debug, Serialize)]
pub struct Writes {
    pub service: &'static str,
    pub acknowledged: u64,
    /// Attempts that got no answer, or one that says to try again.
    pub unavailable: u64,
    /// Attempts that the server refused for good, which it never should.
    pub refused: u64,
    /// The last thing that a server said which was not an acknowledgment.
    pub last_error: Option<String>,
    /// The longest time from one acknowledgment to the next.
    pub interruption_seconds: f64,
}

/// What all writers share.
#[derive(Clone)]
pub struct Writer {
    pub channels: Channels,
    pub account: Account,
    pub journal: Arc<Mutex<Journal>>,
    pub interval: Duration,
    /// Becomes true when it is time to end.
    pub stop: watch::Receiver<bool>,
    /// In every request id: those of an earlier run must not be taken for ours.
    pub run: String,
}

impl Writer {
    /// Writes until it is told to stop. `begun` is told when the first write was acknowledged.
    ///
    /// # Errors
    /// When the server refuses the first write for good.
    pub async fn run(
        mut self,
        target: Target,
        begun: tokio::sync::oneshot::Sender<()>,
    ) -> Result<Writes> {
        let account = target.writer(self.account);
        let mut session = account.sign_in(&self.channels).await?.hurried(CALL);
        let mut writes = Writes {
            service: target.service(),
            acknowledged: 0,
            unavailable: 0,
            refused: 0,
            last_error: None,
            interruption_seconds: 0.0,
        };
        let mut begun = Some(begun);
        let mut last = Instant::now();
        let mut number = 1;
        while !*self.stop.borrow() {
            let request_id = format!("{}-{}-{number}", self.run, writes.service);
            let write = target.write(&session, number, request_id);
            match write.await {
                Ok(entry) => {
                    self.journal
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .append(entry)?;
                    writes.acknowledged += 1;
                    writes.noticed(last.elapsed(), begun.is_some());
                    last = Instant::now();
                    if let Some(begun) = begun.take() {
                        // Whoever asked for this may have gone; the writer is told to stop then.
                        let _ = begun.send(());
                    }
                    number += 1;
                }
                Err(error) if begun.is_some() && !is_passing(&error) => {
                    return Err(error)
                        .context(format!("{} refuses to be written to", writes.service));
                }
                Err(error) => {
                    let again = is_passing(&error);
                    writes.last_error = Some(match error.code() {
                        Some(code) => format!("{code:?}: {error}"),
                        None => error.to_string(),
                    });
                    if again {
                        writes.unavailable += 1;
                    } else {
                        writes.refused += 1;
                        number += 1;
                    }
                }
            }
            if session.expires_at() - jiff::Timestamp::now().as_second() < FRESH {
                // If IAM cannot be reached now, the old token still serves, and this is tried again.
                if let Ok(Ok(fresh)) = timeout(CALL, account.sign_in(&self.channels)).await {
                    session = fresh.hurried(CALL);
                }
            }
            // Whichever comes first; the loop asks.
            let _ = timeout(self.interval, self.stop.changed()).await;
        }
        writes.noticed(last.elapsed(), begun.is_some());
        Ok(writes)
    }
}

impl Writes {
    /// The time before the first acknowledgment is no interruption.
    fn noticed(&mut self, silence: Duration, first: bool) {
        if !first {
            self.interruption_seconds = self.interruption_seconds.max(silence.as_secs_f64());
        }
    }
}

/// Whether a client may expect the same call to succeed later.
fn is_passing(error: &Error) -> bool {
    let later = [Code::DeadlineExceeded, Code::Cancelled, Code::Aborted];
    error.is_passing() || error.code().is_some_and(|code| later.contains(&code))
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn refusals_are_told_from_absence() {
        let of = |status| Error::of("iam", "http://iam", status);
        assert!(is_passing(&of(Status::unavailable("IAM is away"))));
        assert!(is_passing(&of(Status::from_error(
            std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
        ))));
        assert!(!is_passing(&of(Status::internal("a bug"))));
        assert!(!is_passing(&of(Status::permission_denied("no"))));
    }

    #[test]
    fn the_time_before_the_first_acknowledgment_is_no_interruption() {
        let mut writes = Writes {
            service: "iam",
            acknowledged: 0,
            unavailable: 0,
            refused: 0,
            last_error: None,
            interruption_seconds: 0.0,
        };
        writes.noticed(Duration::from_secs(9), true);
        writes.noticed(Duration::from_secs(2), false);
        writes.noticed(Duration::from_secs(1), false);
        assert_eq!(writes.interruption_seconds, 2.0);
    }
}
