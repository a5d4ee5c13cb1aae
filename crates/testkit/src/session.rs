//! Somebody who is signed in.

use tonic::Request;

/// A principal with a token.
#[derive(Clone)]
pub struct Session {
    /// The principal's id.
    pub principal_id: String,
    /// Its token.
    pub token: String,
}

impl Session {
    /// A request by this principal.
    pub fn request<T>(&self, message: T) -> Request<T> {
        bearing(&self.token, message)
    }
}

/// A request with a token.
pub(crate) fn bearing<T>(token: &str, message: T) -> Request<T> {
    photon_program::with_token(message, token, "").expect("a token is visible ASCII")
}
