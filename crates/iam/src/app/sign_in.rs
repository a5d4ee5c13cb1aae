//! Signing in: a credential becomes a token.

use std::time::{Duration, Instant, SystemTime};

use chainfire::{NewEvent, Outcome};
use photon_api::iam::v1 as api;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_resource::{
    ApiKeyId, Caller, Claims, Error, OrgId, PrincipalId, ProjectId, ResourceName, Scope,
};

use super::{Core, ceiling, now};
use crate::credential::{ApiSecret, Attempt};
use crate::model::{Principal, validate_principal_name};
use crate::store::{api_key, principal as store};
use crate::token::NewToken;

const ACTION: &str = "iam:tokens:create";

/// Where a call without a token comes from.
pub struct Stranger {
    pub source: String,
    pub request_id: String,
}

/// Whose credential was right, and what it ties the token to.
struct Proven {
    principal: Principal,
    api_key: Option<ApiKeyId>,
    actor: Option<(PrincipalId, u64)>,
    /// No token outlives what it was issued for.
    until: Option<SystemTime>,
}

/// Exchanges a password or API key for a token.
pub async fn with_credential(
    core: &Core,
    from: &Stranger,
    request: &api::IssueTokenRequest,
    credential: &Credential,
) -> Result<api::IssueTokenResponse, Error> {
    let wanted = Wanted::parse(core, request)?;
    let proven = match credential {
        Credential::Password(password) => by_password(core, from, request, password).await?,
        Credential::ApiKey(secret) => by_api_key(core, from, request, secret).await?,
    };
    issue(core, from, &wanted, proven).await
}

/// Exchanges the right to impersonate for a token. The guard has let the caller do that.
pub async fn by_impersonation(
    core: &Core,
    caller: &Caller,
    principal: Principal,
    request: &api::IssueTokenRequest,
) -> Result<api::IssueTokenResponse, Error> {
    let wanted = Wanted::parse(core, request)?;
    let name = super::principal::name(&principal);
    let action = "iam:principals:impersonate";
    ceiling::check_principal(core, caller, action, &name, principal.id).await?;
    let actor = core
        .live
        .known(caller.claims.principal_id)
        .await?
        .ok_or_else(|| Error::Unauthenticated("the token's principal has been deleted".into()))?;
    let from = Stranger {
        source: caller.source.clone(),
        request_id: caller.request_id.clone(),
    };
    if principal.disabled {
        return Err(Error::FailedPrecondition(format!(
            "'{}' is disabled: enable it first",
            principal.name
        )));
    }
    let proven = Proven {
        principal,
        api_key: None,
        actor: Some((actor.principal.id, actor.principal.token_generation)),
        until: Some(caller.claims.expires_at),
    };
    issue(core, &from, &wanted, proven).await
}

/// What the token shall be for.
struct Wanted {
    org: Option<OrgId>,
    project: Option<ProjectId>,
    ttl: Duration,
}

impl Wanted {
    fn parse(core: &Core, request: &api::IssueTokenRequest) -> Result<Self, Error> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let ttl = match request.ttl_seconds {
            0 => core.tokens.default_ttl(),
            seconds => Duration::from_secs(seconds.into()),
        };
        let longest = core.tokens.max_ttl();
        if ttl > longest {
            return Err(Error::invalid(
                "ttl_seconds",
                request.ttl_seconds,
                format!("at most {}", longest.as_secs()),
            ));
        }
        Ok(Self {
            org: some(&request.org_id).map(|org| org.parse()).transpose()?,
            project: some(&request.project_id)
                .map(|project| project.parse())
                .transpose()?,
            ttl,
        })
    }
}

/// The same for an unknown principal, a wrong credential, and a principal that can't sign in this way.
fn wrong() -> Error {
    Error::Unauthenticated("the principal or its credential is not right".into())
}

/// How long to wait, for people and for programs that look for the number of seconds.
pub(super) fn slowed(wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Error::ResourceExhausted(format!(
        "too many failed attempts: try again in {seconds} s"
    ))
}

/// The principal that is named, without telling whether there is one.
async fn named(core: &Core, request: &api::IssueTokenRequest) -> Result<Option<Principal>, Error> {
    let id = request.principal_id.as_str();
    if PrincipalId::looks_like(id) {
        return store::principal_find(&core.db, id.parse()?).await;
    }
    validate_principal_name(id)
        .map_err(|_| Error::invalid("principal_id", id, "the principal's UUID or name"))?;
    let org: Option<OrgId> = match request.org_id.as_str() {
        "" => None,
        org => Some(org.parse()?),
    };
    let found = store::principal_find_by_name(&core.db, org.as_ref(), id).await?;
    match (found, org) {
        // An operator who signs in to an organization is not found there.
        (None, Some(_)) => store::principal_find_by_name(&core.db, None, id).await,
        (found, _) => Ok(found),
    }
}

/// Under which name failures are counted: the id of who is meant, or what was given.
fn counted(found: Option<&Principal>, request: &api::IssueTokenRequest) -> String {
    match found {
        Some(principal) => principal.id.to_string(),
        None => format!("{}/{}", request.org_id, request.principal_id),
    }
}

async fn by_password(
    core: &Core,
    from: &Stranger,
    request: &api::IssueTokenRequest,
    password: &str,
) -> Result<Proven, Error> {
    let found = named(core, request).await?;
    let counted = counted(found.as_ref(), request);
    let admitted = core
        .password_attempts
        .admit(&counted, &from.source, Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let hash = found
        .as_ref()
        .and_then(|principal| principal.password_hash.as_deref());
    let right = settle_withdrawn(core.passwords.verify(password, hash).await, attempt)?;
    let (right, attempt) = right;
    let Some(principal) = found.filter(|principal| right && !principal.disabled) else {
        attempt.failed(Instant::now());
        record_failure(core, from, request).await;
        return Err(wrong());
    };
    attempt.succeeded();
    Ok(Proven {
        principal,
        api_key: None,
        actor: None,
        until: None,
    })
}

/// An attempt whose outcome is not known, because we could not find it out, does not count.
fn settle_withdrawn<T>(
    outcome: Result<T, Error>,
    attempt: Attempt<'_>,
) -> Result<(T, Attempt<'_>), Error> {
    match outcome {
        Ok(outcome) => Ok((outcome, attempt)),
        Err(error) => {
            attempt.withdrawn();
            Err(error)
        }
    }
}

async fn by_api_key(
    core: &Core,
    from: &Stranger,
    request: &api::IssueTokenRequest,
    secret: &str,
) -> Result<Proven, Error> {
    let secret: ApiSecret = secret.trim().parse()?;
    // The address says nothing here: a secret of 256 bits can't be guessed, and a program on this host that has an
    // old key must not keep the others out.
    let counted = secret.key_id().to_string();
    let admitted = core.key_attempts.admit(&counted, "", Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let found = key_owner(core, request, &secret).await;
    let (found, attempt) = settle_withdrawn(found, attempt)?;
    let Some((principal, until)) = found else {
        attempt.failed(Instant::now());
        record_failure(core, from, request).await;
        return Err(wrong());
    };
    attempt.succeeded();
    Ok(Proven {
        principal,
        api_key: Some(secret.key_id()),
        actor: None,
        until,
    })
}

/// Whose API key it is and until when, if the secret is right and the principal the one that is named (if any is).
async fn key_owner(
    core: &Core,
    request: &api::IssueTokenRequest,
    secret: &ApiSecret,
) -> Result<Option<(Principal, Option<SystemTime>)>, Error> {
    let Some(key) = api_key::api_key_find(&core.db, secret.key_id()).await? else {
        return Ok(None);
    };
    let valid = secret.matches(&key.secret_sha256)
        && key.expires_at.is_none_or(|end| SystemTime::now() < end);
    let owner = store::principal_find(&core.db, key.principal_id).await?;
    let named = match request.principal_id.as_str() {
        "" => owner.as_ref().map(|owner| owner.id),
        _ => named(core, request).await?.map(|principal| principal.id),
    };
    let right = |owner: &Principal| valid && !owner.disabled && named == Some(owner.id);
    Ok(owner.filter(right).map(|owner| (owner, key.expires_at)))
}

/// Checks the password of a user who is signed in, slowed like signing in.
pub(super) async fn check_password(
    core: &Core,
    principal: &Principal,
    password: &str,
    source: &str,
) -> Result<(), Error> {
    let counted = principal.id.to_string();
    let admitted = core
        .password_attempts
        .admit(&counted, source, Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let verified = core
        .passwords
        .verify(password, principal.password_hash.as_deref())
        .await;
    let (right, attempt) = settle_withdrawn(verified, attempt)?;
    if !right {
        attempt.failed(Instant::now());
        return Err(Error::invalid(
            "current_password",
            "(hidden)",
            "your current password",
        ));
    }
    attempt.succeeded();
    Ok(())
}

/// The scope of the token: there must be such a thing, the principal must be let into its organization, and have
/// a binding at it, above it or below it.
async fn scope_for(core: &Core, wanted: &Wanted, proven: &Proven) -> Result<Scope, Error> {
    let principal = &proven.principal;
    let org = wanted.org.clone().or_else(|| principal.org_id.clone());
    let scope = match (org, &wanted.project) {
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

async fn issue(
    core: &Core,
    from: &Stranger,
    wanted: &Wanted,
    proven: Proven,
) -> Result<api::IssueTokenResponse, Error> {
    let scope = match scope_for(core, wanted, &proven).await {
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
    let text = |part: Option<String>| part.unwrap_or_default();
    let claims = Claims {
        principal_id: principal.id,
        principal_name: principal.name.clone(),
        kind: principal.kind,
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
        actor: proven.actor,
    });
    let token = token.map_err(Error::internal)?;
    let reason = match proven.actor {
        Some((actor, _)) => format!("impersonated by {actor}"),
        None => String::new(),
    };
    // Before the token is handed out: there is none that the log does not know of.
    core.ledger
        .record(event(
            from,
            Some(principal),
            &scope,
            Outcome::Success,
            &reason,
        ))
        .await?;
    Ok(api::IssueTokenResponse {
        token,
        expires_at: Some(expires_at.into()),
        principal_id: principal.id.to_string(),
        org_id: text(scope.org().map(ToString::to_string)),
        project_id: text(scope.project().map(ToString::to_string)),
    })
}

fn event(
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

/// Records a wrong credential. Only attempts that were let through come here, so that a flood of them is slowed
/// before it fills the disk. The name that was tried is in no event: people type passwords there.
async fn record_failure(core: &Core, from: &Stranger, request: &api::IssueTokenRequest) {
    let principal = match named(core, request).await {
        Ok(principal) => principal,
        Err(_) => None,
    };
    let scope = principal.as_ref().map_or(Scope::System, Principal::home);
    let mut event = event(
        from,
        principal.as_ref(),
        &scope,
        Outcome::Denied,
        "the principal or its credential is not right",
    );
    // It is not known who that was.
    event.principal_id = None;
    if let Err(error) = core.ledger.record(event).await {
        tracing::error!(%error, "a failed sign-in could not be recorded");
    }
}
