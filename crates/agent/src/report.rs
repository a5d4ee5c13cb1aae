//! Tells the server what exists.

use std::time::Duration;

use photon_reconcile::Backoff;
use tokio::sync::watch;
use tonic::Status;

use super::Session;

/// A report is sent again after this time, should the server have lost the last one.
const AGAIN: Duration = Duration::from_secs(60);

/// Sends each new report until it is accepted. The default report says nothing, and is not sent. Ends with the
/// reports.
pub(crate) async fn send<R, F>(
    session: Session,
    mut reports: watch::Receiver<R>,
    send: impl Fn(Session, R) -> F,
) where
    R: Clone + Default + PartialEq,
    F: Future<Output = Result<(), Status>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
    loop {
        let report = reports.borrow_and_update().clone();
        if report != R::default() {
            if let Err(status) = send(session.clone(), report).await {
                session.failed("status", &status).await;
                tokio::time::sleep(backoff.failed()).await;
                continue;
            }
            backoff.succeeded();
        }
        tokio::select! {
            changed = reports.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
