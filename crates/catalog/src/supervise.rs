//! The right to an open stream, asked for again and again.

use std::time::Duration;

use photon_resource::{Caller, Error, ResourceName};
use photon_service::Guard;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How soon the loss of a right ends an open stream.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long an open stream goes on while IAM can't be asked, so that its restart ends nobody's console.
const UNASKED_AT_MOST: Duration = Duration::from_secs(10);

/// Watches over a long call's right to go on. Dropped with the call.
#[derive(Debug)]
pub struct Supervision {
    lost: oneshot::Receiver<Error>,
    _task: AbortOnDropHandle<()>,
}

impl Supervision {
    /// `caller` was permitted `action` on `resource`, which has `attributes`, just now.
    pub fn new(
        guard: Guard,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
    ) -> Self {
        let (told, lost) = oneshot::channel();
        let task = tokio::spawn(async move {
            let error = ask_until_lost(&guard, &caller, &action, &resource, &attributes).await;
            // The call has ended by itself.
            let _ = told.send(error);
        });
        Self {
            lost,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Returns when the right is lost (the token was revoked or ended, the role was taken away), with why.
    /// Dropping the future loses nothing.
    pub async fn lost(&mut self) -> Error {
        let told = (&mut self.lost).await;
        told.unwrap_or_else(|_| Error::internal("the supervision of a call has ended"))
    }
}

async fn ask_until_lost(
    guard: &Guard,
    caller: &Caller,
    action: &str,
    resource: &ResourceName,
    attributes: &[(String, String)],
) -> Error {
    let attributes: Vec<(&str, &str)> = attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let mut permitted = Instant::now();
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        match guard.authorize(caller, action, resource, &attributes).await {
            Ok(()) => permitted = Instant::now(),
            Err(Error::Unavailable(_)) if permitted.elapsed() < UNASKED_AT_MOST => {}
            Err(error) => return error,
        }
    }
}
