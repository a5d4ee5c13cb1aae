use std::time::SystemTime;

use photon_resource::{
    ApiKeyId, Error, OrgId, PrincipalId, ProjectId, Scope, SessionId, is_hidden,
};

use super::home;

/// A sign-in that goes on: what it has been given is good for further tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub principal_id: PrincipalId,
    /// Where the principal belongs; `None`: the system.
    pub home: Option<OrgId>,
    /// What its tokens are for: `None`, the system.
    pub org_id: Option<OrgId>,
    /// `None`: the whole organization.
    pub project_id: Option<ProjectId>,
    /// The API key that it was begun with, and ends with.
    pub api_key: Option<ApiKeyId>,
    /// The principal's token generation when it was begun: it ends when all tokens of it are revoked.
    pub generation: u64,
    /// How long each of its tokens lives.
    pub token_seconds: u32,
    /// SHA-256 of what all its refresh tokens have in common.
    pub family_sha256: [u8; 32],
    /// SHA-256 of what the one has alone that is good now.
    pub secret_sha256: [u8; 32],
    /// The one before.
    pub before: Option<Predecessor>,
    pub created_at: SystemTime,
    pub last_used_at: SystemTime,
    /// When it ends however it is used.
    pub ends_at: SystemTime,
    /// Where the last token was asked from.
    pub source: String,
    /// What the client calls itself.
    pub client: String,
}

/// A refresh token that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// SHA-256 of what it had alone.
    pub secret_sha256: [u8; 32],
    /// What its successor follows from, together with itself.
    pub salt: [u8; 32],
    pub used_at: SystemTime,
}

impl Session {
    /// What its tokens are for.
    pub fn scope(&self) -> Scope {
        match (&self.org_id, &self.project_id) {
            (None, _) => Scope::System,
            (Some(org), None) => Scope::Org(org.clone()),
            (Some(org), Some(project)) => Scope::Project(org.clone(), project.clone()),
        }
    }

    /// Where it lies as a resource: one for a project of the principal's own organization in that, others where their
    /// principal belongs.
    pub fn place(&self) -> Scope {
        match self.scope() {
            scope @ Scope::Project(..) if self.org_id == self.home => scope,
            _ => home(self.home.as_ref()),
        }
    }
}

/// What a client calls itself: at most so many characters.
const LONGEST_CLIENT: usize = 100;

/// Checks what a client calls itself.
///
/// Errors: `InvalidArgument`.
pub fn validate_client(client: &str) -> Result<(), Error> {
    if client.chars().count() > LONGEST_CLIENT || client.chars().any(is_hidden) {
        return Err(Error::invalid(
            "session.client",
            client,
            "at most 100 characters, none that is invisible or turns the direction of writing",
        ));
    }
    Ok(())
}

/// As much of a `User-Agent` as can be shown.
pub fn client_of(user_agent: &str) -> String {
    let shown = user_agent.chars().filter(|c| !is_hidden(*c));
    shown.take(LONGEST_CLIENT).collect()
}
