//! The server, as the agent of a host reaches it.

use std::sync::Arc;
use std::time::Duration;

use photon_api::components;
use photon_program::{AgentSettings, Component, Identity, Invalid};
use photon_resource::Error;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long a call may take; streams have no end.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// A connection with the agent's identity. Clones share both.
#[derive(Clone)]
pub struct Session {
    node: Arc<str>,
    channel: Channel,
    identity: Identity,
}

impl Session {
    /// To this server, as the agent of this host; connects and signs in when first used.
    ///
    /// Errors: settings that can't work.
    pub fn new<S>(
        component: Component,
        settings: &AgentSettings<S>,
        server: &components::Component,
    ) -> Result<Self, Invalid> {
        let principal = format!("{}@{}", component.name, settings.node);
        let credential = settings.credential_file.as_deref();
        Ok(Self {
            node: settings.node.as_str().into(),
            channel: settings.endpoints.channel(server)?,
            identity: Identity::new(&principal, credential, &settings.endpoints)?,
        })
    }

    /// The host's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The connection, for a client.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request that opens a stream.
    ///
    /// Errors: IAM gives no token.
    pub async fn stream<T>(&self, message: T) -> Result<Request<T>, Status> {
        let request = self.identity.request(message, "").await;
        request.map_err(|error| match error {
            Error::Unauthenticated(_) => Status::unauthenticated(error.to_string()),
            // IAM is away, or the key can't be read yet: the next attempt asks again.
            _ => Status::unavailable(error.to_string()),
        })
    }

    /// A request that is answered within 10 s or fails.
    ///
    /// Errors: IAM gives no token.
    pub async fn call<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = self.stream(message).await?;
        request.set_timeout(CALL_LIMIT);
        Ok(request)
    }

    /// Takes note of what a call or stream failed with. A token that was refused is not used again; one that was not
    /// is kept, so that the restart of a server does not make every host sign in anew.
    pub async fn failed(&self, what: &str, status: &Status) {
        if status.code() == Code::Unauthenticated {
            self.identity.forget().await;
        }
        tracing::warn!(
            code = ?status.code(),
            reason = status.message(),
            "{what}: the server can't be reached or refuses; what is on this host stays"
        );
    }
}
