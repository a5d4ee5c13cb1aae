//! What surrounds every gRPC call: its request id, span, time limit, access log line and metrics, and the end of
//! its stream when the server stops.

mod body;
mod layer;

use std::sync::{Arc, OnceLock};

pub(crate) use layer::{CallLayer, CallLimits};

/// What the layers around a call and its handler tell each other; in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub request_id: Arc<str>,
    /// `package.Service/Method`.
    pub method: Arc<str>,
    /// Name of the principal, once it is known.
    pub principal: Arc<OnceLock<String>>,
}
