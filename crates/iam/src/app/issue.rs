//! Making a token for whoever has proven who it is.

use std::time::{Duration, SystemTime};

use chainfire::{NewEvent, Outcome};
use photon_resource::{
    ApiKeyId, Claims, Error, Impersonator, OrgId, PrincipalId, ProjectId, ResourceName, Scope,
    SessionId,
};

use super::refresh::Going;
use super::{Core, now};
use crate::model::Principal;
use crate::token::NewToken;

const ACTION: &str = "iam:tokens:create";

/// Where a call without a token comes from.
pub struct Stranger {
    pub source: String,
    pub request_id: String,
    /// The certificate (DER) that its connection was made with, verified then.
    pub certificate: Option<Vec<u8>>,
}

/// Whose credential was right, and what it ties the token to.
pub(super) struct Proven {
    pub principal: Principal,
    pub api_key: Option<ApiKeyId>,
    /// The one project that it proves something for.
    pub confined: Option<(OrgId, ProjectId)>,
    /// Who impersonates the principal.
    pub actor: Option<Principal>,
    /// No token outlives what it was issued for.
    pub until: Option<SystemTime>,
    /// The session that the token is of.
    pub session: Option<SessionId>,
}

/// What the token shall be for, and for how long.
pub struct Wanted {
    /// `None`: the principal's own.
    pub org: Option<OrgId>,
    /// `None`: none.
    pub project: Option<ProjectId>,
    pub ttl: Duration,
}

/// A token, and what is told with it.
pub struct Issued {
    pub token: String,
    pub expires_at: SystemTime,
    pub principal_id: PrincipalId,
    /// What it is for.
    pub scope: Scope,
    /// The session that it is of.
    pub going: Option<Going>,
}

/// A token that nobody has yet, and the event that must come before anybody does.
pub(super) struct Prepared {
    pub issued: Issued,
    event: NewEvent,
}

impl Prepared {
    /// The token, now that the log knows of it: there is none that it does not know of.
    pub(super) async fn recorded(self, core: &Core) -> Result<Issued, Error> {
        core.ledger.record(self.event).await?;
        Ok(self.issued)
    }
}

pub(super) const WRONG: &str = "the principal or its credential is not right";

/// The same for an unknown principal, a wrong credential, and a principal that can't sign in this way.
pub(super) fn wrong() -> Error {
    Error::Unauthenticated(WRONG.into())
}

/// The scope of the token: there must be such a thing, the principal must be let into its organization, and have
/// a binding at it, above it or below it.
async fn scope_for(core: &Core, wanted: &Wanted, proven: &Proven) -> Result<Scope, Error> {
    let principal = &proven.principal;
    let (mut org, mut project) = (wanted.org.clone(), wanted.project.clone());
    if let Some((own_org, own_project)) = &proven.confined {
        org.get_or_insert_with(|| own_org.clone());
        project.get_or_insert_with(|| own_project.clone());
    }
    let org = org.or_else(|| principal.org_id.clone());
    let scope = match (org, &project) {
        (None, None) => Scope::System,
        (Some(org), None) => Scope::Org(org),
        (Some(org), Some(project)) => Scope::Project(org, project.clone()),
        (None, Some(project)) => {
            return Err(Error::invalid(
                "org_id",
                "",
                format!("the organization of project '{project}'"),
            ));
        }
    };
    let no = |reason: String| Error::PermissionDenied {
        action: ACTION.to_owned(),
        resource: ResourceName::any(scope.clone(), "tokens").to_string(),
        reason,
    };
    if let Some((org, project)) = &proven.confined
        && (scope.org(), scope.project()) != (Some(org), Some(project))
    {
        return Err(no(format!(
            "the API key is for project {project} of organization {org}"
        )));
    }
    if principal.org_id.is_some() && principal.org_id.as_ref() != scope.org() {
        return Err(no(format!("{} does not belong to it", principal.name)));
    }
    if !core.live.exists(&scope).await? {
        return Err(no(format!("there is no {scope}")));
    }
    let known = core.live.known(principal.id).await?.ok_or_else(wrong)?;
    let applies = known.rights.grants().iter().any(|grant| {
        let bound = &grant.binding;
        bound.active(SystemTime::now())
            && (bound.scope.contains(&scope) || scope.contains(&bound.scope))
    });
    if !applies {
        return Err(no(format!(
            "{} has no role there: an administrator can give it one with a binding",
            principal.name
        )));
    }
    Ok(scope)
}

pub(super) async fn issue(
    core: &Core,
    from: &Stranger,
    wanted: &Wanted,
    proven: Proven,
) -> Result<Issued, Error> {
    prepare(core, from, wanted, &proven)
        .await?
        .recorded(core)
        .await
}

/// A token whose event is still to be written.
pub(super) async fn prepare(
    core: &Core,
    from: &Stranger,
    wanted: &Wanted,
    proven: &Proven,
) -> Result<Prepared, Error> {
    let scope = match scope_for(core, wanted, proven).await {
        Ok(scope) => scope,
        Err(error) => {
            if let Error::PermissionDenied { reason, .. } = &error {
                let scope = proven.principal.home();
                let event = event(
                    from,
                    Some(&proven.principal),
                    &scope,
                    Outcome::Denied,
                    reason,
                );
                core.ledger.record(event).await?;
            }
            return Err(error);
        }
    };
    let issued_at = now();
    let mut expires_at = issued_at + wanted.ttl;
    if let Some(until) = proven.until {
        expires_at = expires_at.min(until);
    }
    let principal = &proven.principal;
    let impersonator = proven.actor.as_ref().map(|actor| Impersonator {
        id: actor.id,
        name: actor.name.clone(),
    });
    let claims = Claims {
        principal_id: principal.id,
        principal_name: principal.name.clone(),
        kind: principal.kind,
        impersonator: impersonator.clone(),
        org_id: scope.org().cloned(),
        project_id: scope.project().cloned(),
        node: principal.node.clone(),
        token_id: uuid::Uuid::new_v4().to_string(),
        expires_at,
    };
    let token = core.live.keyring()?.sign(&NewToken {
        claims,
        issued_at,
        generation: principal.token_generation,
        api_key: proven.api_key,
        session: proven.session,
        actor: proven
            .actor
            .as_ref()
            .map(|actor| (actor.id, actor.token_generation)),
    });
    let token = token.map_err(Error::internal)?;
    let mut event = event(from, Some(principal), &scope, Outcome::Success, "");
    event.impersonator = impersonator;
    let issued = Issued {
        token,
        expires_at,
        principal_id: principal.id,
        scope,
        going: None,
    };
    Ok(Prepared { issued, event })
}

pub(super) fn event(
    from: &Stranger,
    principal: Option<&Principal>,
    scope: &Scope,
    outcome: Outcome,
    reason: &str,
) -> NewEvent {
    NewEvent {
        org_id: scope.org().cloned(),
        project_id: scope.project().cloned(),
        principal_id: principal.map(|principal| principal.id),
        principal_name: principal
            .map(|principal| principal.name.clone())
            .unwrap_or_default(),
        impersonator: None,
        source: from.source.clone(),
        action: ACTION.to_owned(),
        resource: ResourceName::any(scope.clone(), "tokens").to_string(),
        outcome,
        reason: reason.to_owned(),
        request_id: from.request_id.clone(),
        before_digest: None,
        after_digest: None,
    }
}
