//! What surrounds every gRPC call: its request id, span, time limit, access log line and metrics, and the end of
//! its stream when the server stops.

mod body;
mod layer;
mod request_body;

use std::sync::{Arc, OnceLock};

use photon_resource::Claims;

pub(crate) use layer::{CallLayer, Methods};
pub use request_body::only_waits;

/// What the layers around a call and its handler tell each other; in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub request_id: Arc<str>,
    /// `package.Service/Method`.
    pub method: Arc<str>,
    /// Name of the principal, once it is known.
    pub principal: Arc<OnceLock<String>>,
    /// What the call's token says, if it was accepted when the call was let in.
    pub verified: Arc<OnceLock<Arc<Claims>>>,
}
