//! The client's session, with the steps of the scenario on it.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result};
use photon_client::{Channels, Credential, Policy, SignIn};

/// The first operator's name, as bootstrap makes it.
pub const OPERATOR: &str = "operator";

/// Someone who signed in. The steps are in `network` and `vm`.
#[derive(Clone)]
pub struct Session(photon_client::Session);

impl Deref for Session {
    type Target = photon_client::Session;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Session {
    /// Signs in with a password.
    pub async fn open(
        channels: &Channels,
        principal: &str,
        org: &str,
        project: &str,
        password: &str,
    ) -> Result<Self> {
        let who = SignIn {
            principal: principal.into(),
            org: org.into(),
            project: project.into(),
            credential: Credential::Password(password.into()),
            ttl_seconds: 0,
            session: false,
        };
        let (session, _) = photon_client::Session::sign_in(channels, who)
            .await
            .with_context(|| format!("{principal} cannot sign in"))?;
        // What a server does not answer is to be seen, not bridged.
        Ok(Self(session.with_policy(Policy::ONCE)))
    }

    /// The same token over connections of its own, as another client's would be.
    pub fn over(&self, channels: &Channels) -> Self {
        Self(self.0.over(channels))
    }

    /// The same, about another organization's project: for an operator, who may look everywhere.
    pub fn within(&self, org: &str, project: &str) -> Self {
        Self(self.0.within(org, project))
    }

    /// The same, for whom an answer that takes longer than this is none.
    pub(crate) fn hurried(&self, deadline: Duration) -> Self {
        let policy = Policy {
            deadline,
            ..Policy::ONCE
        };
        Self(self.with_policy(policy))
    }

    /// Calls about the session's organization and project.
    pub async fn here<R: photon_client::call::Unary>(
        &self,
        request: R,
    ) -> Result<R::Answer, photon_client::Error> {
        self.call(request.within(&self.org, &self.project)).await
    }
}
