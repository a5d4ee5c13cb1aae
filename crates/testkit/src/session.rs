//! Somebody who is signed in.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A principal with a token.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The principal's id.
    pub principal_id: String,
    /// Its token; empty: it has none.
    pub token: String,
}

/// A channel on which each call bears a token.
pub type Bearing = InterceptedService<Channel, Bearer>;

/// Puts a token on each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl AsRef<Session> for Session {
    fn as_ref(&self) -> &Session {
        self
    }
}

impl Session {
    /// With this token, whoever it is of.
    pub fn with_token(token: &str) -> Self {
        Self {
            principal_id: String::new(),
            token: token.to_owned(),
        }
    }

    fn bearer(&self) -> Bearer {
        let value = format!("Bearer {}", self.token);
        let value = value.parse().expect("a token is visible ASCII");
        Bearer(Some(value).filter(|_| !self.token.is_empty()))
    }

    /// A request by this principal.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Bearer(Some(value)) = self.bearer() {
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// For clients of which each call is by this principal.
    pub fn on(&self, channel: Channel) -> Bearing {
        InterceptedService::new(channel, self.bearer())
    }
}
