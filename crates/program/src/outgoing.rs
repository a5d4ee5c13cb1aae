//! What calls to other services carry.

use photon_resource::{Caller, Error};
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::request_id::{REQUEST_ID, current_request_id, is_request_id};

/// A request on behalf of `caller`: with its own token, so that its rights decide, and its request id.
pub fn on_behalf<T>(message: T, caller: &Caller) -> Result<Request<T>, Error> {
    with_token(message, &caller.token, &caller.request_id)
}

/// A request with a token and a request id. Empty: that of the call which is being answered here, if there is one;
/// else the server makes one.
///
/// Errors: `Internal` if the token can't be a header's value.
pub fn with_token<T>(message: T, token: &str, request_id: &str) -> Result<Request<T>, Error> {
    let mut request = Request::new(message);
    let mut bearer: MetadataValue<_> = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::internal("a token with characters that no header can have"))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    let current = current_request_id();
    let request_id = match (request_id, &current) {
        ("", Some(current)) => current,
        (given, _) => given,
    };
    if is_request_id(request_id)
        && let Ok(value) = request_id.parse()
    {
        request.metadata_mut().insert(REQUEST_ID, value);
    }
    Ok(request)
}
