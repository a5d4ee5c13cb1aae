//! What surrounds every gRPC call: its request id, span, time limit, access log line and metrics, and the end of
//! its stream when the server stops.

mod body;
mod layer;

use std::sync::{Arc, OnceLock};

pub(crate) use layer::{CallLayer, CallLimits};

/// The name of the header and metadata key that follows a call through the services.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// What the layers around a call and its handler tell each other; in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub request_id: Arc<str>,
    /// `package.Service/Method`.
    pub method: Arc<str>,
    /// Name of the principal, once it is known.
    pub principal: Arc<OnceLock<String>>,
}

/// Whether a request id from outside may be used: it is logged and stored, so it must be short and plain.
pub(crate) fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
}

/// A new request id.
pub(crate) fn new_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
