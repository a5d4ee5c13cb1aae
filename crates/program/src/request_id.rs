//! The request id, which follows a call through the services.

use std::future::Future;
use std::sync::Arc;

use tracing::Instrument;

/// The name of the header and metadata key that carries it.
pub const REQUEST_ID: &str = "x-request-id";

/// Whether a request id from outside may be used: it is logged and stored, so it must be short and plain.
pub fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

/// A new request id.
pub fn new_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

tokio::task_local! {
    /// The request id of the call that this task answers.
    static CURRENT: Arc<str>;
}

/// The request id of the call that is being answered here; `None`: this is no call's work.
pub fn current_request_id() -> Option<Arc<str>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Work that goes on when its call is over, or waits for it in another task: calls that it makes carry the request id
/// of the call that it was begun in, and so do its log lines.
pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let request_id = current_request_id();
    let work = work.in_current_span();
    async move {
        match request_id {
            Some(id) => CURRENT.scope(id, work).await,
            None => work.await,
        }
    }
}

/// Answers a call with this request id: what [`carry`] and outgoing calls then find.
pub fn answering<F: Future>(request_id: Arc<str>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(request_id, work)
}
