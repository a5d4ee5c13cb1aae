//! The right to an open stream, asked for again and again.

use std::time::{Duration, SystemTime};

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

/// What is asked again and again.
struct Question {
    guard: Guard,
    caller: Caller,
    action: String,
    resource: ResourceName,
    attributes: Vec<(String, String)>,
    /// The call was judged when it began, and needs no token to its end.
    judged_once: bool,
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
        Self::over(Question {
            guard,
            caller,
            action,
            resource,
            attributes,
            judged_once: false,
        })
    }

    /// As [`new`](Self::new), of a call that was judged when it began, such as an upload of hours: that a token without a
    /// session ends is no loss, and from then on nothing is asked. Such a call needs a bound of its own.
    pub fn judged_once(
        guard: Guard,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
    ) -> Self {
        Self::over(Question {
            guard,
            caller,
            action,
            resource,
            attributes,
            judged_once: true,
        })
    }

    fn over(question: Question) -> Self {
        let (told, lost) = oneshot::channel();
        let task = tokio::spawn(async move {
            let error = question.ask_until_lost().await;
            question.record(&error).await;
            // The call has ended by itself.
            let _ = told.send(error);
        });
        Self {
            lost,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Returns when the right is lost (the token was revoked or the role taken away; the token ended and is of no session, or
    /// its session ended), with why. Dropping the future loses nothing.
    pub async fn lost(&mut self) -> Error {
        let told = (&mut self.lost).await;
        told.unwrap_or_else(|_| Error::internal("the supervision of a call has ended"))
    }
}

impl Question {
    async fn ask_until_lost(&self) -> Error {
        let (caller, action, resource) = (&self.caller, &self.action, &self.resource);
        let attributes: Vec<(&str, &str)> = self
            .attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let mut permitted = Instant::now();
        // Only a session permits anything after the token's end.
        let mut by_session = false;
        loop {
            tokio::time::sleep(ASKED_EVERY).await;
            let ended = caller.claims.expires_at <= SystemTime::now();
            let asked = self
                .guard
                .judge_ongoing(caller, action, resource, &attributes);
            match asked.await {
                Ok(()) => {
                    permitted = Instant::now();
                    by_session |= ended;
                }
                Err(Error::Unavailable(_)) if permitted.elapsed() < UNASKED_AT_MOST => {}
                Err(Error::Unauthenticated(_)) if self.judged_once && ended && !by_session => {
                    std::future::pending::<()>().await;
                }
                Err(error) => return error,
            }
        }
    }

    async fn record(&self, error: &Error) {
        let reason = match error {
            Error::PermissionDenied { reason, .. } => reason.clone(),
            error => error.to_string(),
        };
        self.guard
            .record(&self.caller, &self.action, &self.resource, &reason)
            .await;
    }
}
