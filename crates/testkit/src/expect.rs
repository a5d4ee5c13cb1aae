//! What tests say of answers, and how they wait.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};

/// As long as a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The text of a refusal, which must be of this kind.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> String {
    let status = result.expect_err("the call should be refused");
    assert_eq!(status.code(), code, "{status}");
    status.message().to_owned()
}

/// A refusal of this kind, with this in its text.
#[track_caller]
pub fn expect_error<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let message = refused(result, code);
    assert!(message.contains(text), "'{message}' does not say '{text}'");
}

/// Looks again and again until there is something, but not for longer than [`DEADLINE`].
pub async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Looks again and again until `done`, for at most five seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let look = until(async || done().await.then_some(()));
    let limit = Duration::from_secs(5);
    let within = tokio::time::timeout(limit, look).await;
    within.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"));
}

/// An id that nothing has.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
