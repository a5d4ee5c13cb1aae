//! Who calls, and whether they may.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{Action, Error, OrgId, PrincipalId, ProjectId, ResourceName, Scope};

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program of a tenant's.
    ServiceAccount,
    /// A host's agents.
    Node,
    /// One of the cloud's own servers.
    Service,
}

/// Who acts as somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonator {
    /// The principal that got the token.
    pub id: PrincipalId,
    /// Its name then, for logs and events.
    pub name: String,
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose token it is.
    pub principal_id: PrincipalId,
    /// The principal's name, for logs and events.
    pub principal_name: String,
    /// What the principal is.
    pub kind: PrincipalKind,
    /// Who has the token, if that is not the principal.
    pub impersonator: Option<Impersonator>,
    /// The organization that the token is for; `None`: the system.
    pub org_id: Option<OrgId>,
    /// The project that the token is for; `None`: the whole organization.
    pub project_id: Option<ProjectId>,
    /// For a node: its host's name.
    pub node: Option<String>,
    /// The token's own id (`jti`).
    pub token_id: String,
    /// When the token ends.
    pub expires_at: SystemTime,
}

impl Claims {
    /// The scope that the token is for.
    pub fn scope(&self) -> Scope {
        match (&self.org_id, &self.project_id) {
            (None, _) => Scope::System,
            (Some(org), None) => Scope::Org(org.clone()),
            (Some(org), Some(project)) => Scope::Project(org.clone(), project.clone()),
        }
    }
}

/// The authenticated caller of one request.
#[derive(Clone)]
pub struct Caller {
    /// What its token says.
    pub claims: Claims,
    /// The token itself, to call other services on the caller's behalf. Secret.
    pub token: String,
    /// The address that the call came from, without the port; `unknown` for a local socket.
    pub source: String,
    /// Follows the call through the services (`x-request-id`).
    pub request_id: String,
}

impl Caller {
    /// Whether the tenancy wall lets the caller at things of `scope`: a tenant's token reaches what is in its
    /// organization, a token of the system reaches everything. What lies beyond must look absent, whatever the policy says.
    /// That a token for a project acts in that project alone is the policy's matter.
    pub fn may_see(&self, scope: &Scope) -> bool {
        match &self.claims.org_id {
            None => true,
            Some(org) => scope.org() == Some(org),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("claims", &self.claims)
            .field("token", &"(secret)")
            .field("source", &self.source)
            .field("request_id", &self.request_id)
            .finish()
    }
}

/// What the policy says of one action on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why not, for people; empty when allowed.
    pub reason: String,
    /// Of all resources of a type: which of them it may be done to.
    pub extent: Extent,
    /// It is refused alone because there is no such organization or project, which only who might do it there is told.
    pub absent: bool,
}

/// Which of all resources of a type something may be done to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// None of them, as far as is known.
    #[default]
    None,
    /// Those for which a role's condition holds: each is to be asked for.
    Some,
    /// Every one, whatever its attributes.
    Each,
}

/// A resource, and what conditions of policies can read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its full name.
    pub name: ResourceName,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

/// Decides whether a caller may do something. The tenancy wall stands before it and is not its matter alone:
/// whoever asks has checked [`Caller::may_see`].
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Errors: `Unauthenticated` when the token has been revoked meanwhile, `Unavailable` when no decision
    /// can be had. An error is never a permission.
    async fn authorize(
        &self,
        caller: &Caller,
        action: &Action,
        resource: &ResourceName,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Decision, Error>;

    /// Whether it may do that to each of the resources, at most 1000, in their order.
    ///
    /// Errors: as [`authorize`](Self::authorize).
    async fn authorize_each(
        &self,
        caller: &Caller,
        action: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        let mut allowed = Vec::with_capacity(resources.len());
        for it in resources {
            let decided = self.authorize(caller, action, &it.name, &it.attributes);
            allowed.push(decided.await?.allowed);
        }
        Ok(allowed)
    }

    /// As [`authorize_each`](Self::authorize_each), for calls that were permitted when they began and go on: a token that has
    /// ended since counts as long as the session lasts that it is of.
    ///
    /// Errors: as `authorize`; `Unauthenticated` too where nobody knows of sessions, as by default.
    async fn authorize_ongoing(
        &self,
        caller: &Caller,
        action: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        self.authorize_each(caller, action, resources).await
    }
}

/// Tells from a token who calls.
#[async_trait]
pub trait TokenVerifier: Send + Sync + 'static {
    /// Errors: `Unauthenticated` (forged, expired, for somebody else), `Unavailable` (no keys to verify with).
    async fn verify(&self, token: &str) -> Result<Claims, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(org: Option<&str>) -> Caller {
        Caller {
            claims: Claims {
                principal_id: PrincipalId::generate(),
                principal_name: "someone".into(),
                kind: PrincipalKind::User,
                impersonator: None,
                org_id: org.map(|org| org.parse().unwrap()),
                project_id: None,
                node: None,
                token_id: "t".into(),
                expires_at: SystemTime::now(),
            },
            token: "eyJ-secret".into(),
            source: "127.0.0.1".into(),
            request_id: "r".into(),
        }
    }

    #[test]
    fn the_wall_stands_between_organizations() {
        let acme = caller(Some("acme"));
        assert!(acme.may_see(&"org/acme/project/web".parse().unwrap()));
        assert!(!acme.may_see(&"org/globex".parse().unwrap()));
        assert!(!acme.may_see(&Scope::System));
        assert!(caller(None).may_see(&"org/globex".parse().unwrap()));
    }

    #[test]
    fn a_token_is_never_printed() {
        assert!(!format!("{:?}", caller(None)).contains("eyJ-secret"));
    }
}
