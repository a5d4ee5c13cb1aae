//! May the bearer of a token do this? The liveness of the token, the tenancy wall, and the policy, in this order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use photon_resource::{
    Action, Authorizer, BindingId, Caller, Claims, Decision, Described, Error, Extent,
    ResourceName, Scope, TokenVerifier,
};

use super::Core;
use crate::live::{EXPIRED, Known};
use crate::model::Permission;
use crate::policy::{Outside, Question, Rights, Wall, beyond};
use crate::token::Verified;

/// What was decided, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub allowed: bool,
    pub reason: String,
    pub bindings: Vec<BindingId>,
    /// The wall refused: the resource must look absent.
    pub outside_tenant: bool,
    /// Of all resources of a type: which it is allowed on.
    pub extent: Extent,
    /// It is refused alone because there is no such organization or project.
    pub absent: bool,
}

const SESSION_ENDED: &str = "the session that the token was issued in has ended";

/// Verifies a token and that nothing that it depends on was revoked: itself, its principal, the API key that it was
/// issued for, the session that it is of, whoever impersonates.
///
/// Errors: `Unauthenticated`, `Unavailable`.
pub async fn bearer(core: &Core, token: &str) -> Result<(Arc<Verified>, Arc<Known>), Error> {
    tied(core, core.live.verified(token)?).await
}

/// As [`bearer`], of a call that was begun while the token was good, and goes on: one that has ended since counts as long as the
/// session lasts that it is of.
///
/// Errors: as `bearer`.
async fn bearer_ongoing(core: &Core, token: &str) -> Result<(Arc<Verified>, Arc<Known>), Error> {
    let expired = match core.live.verified(token) {
        Err(Error::Unauthenticated(reason)) if reason == EXPIRED => refused(EXPIRED),
        verified => return tied(core, verified?).await,
    };
    let verified = core.live.verified_ended(token)?;
    let Some(session) = verified.session else {
        return Err(expired);
    };
    let (verified, known) = tied(core, verified).await?;
    match known.sessions.get(&session) {
        Some(end) if SystemTime::now() < *end => Ok((verified, known)),
        _ => Err(refused(SESSION_ENDED)),
    }
}

/// That nothing was revoked that a token depends on.
async fn tied(core: &Core, verified: Arc<Verified>) -> Result<(Arc<Verified>, Arc<Known>), Error> {
    let known = alive(core, verified.claims.principal_id, verified.generation).await?;
    if let Some(key) = verified.api_key
        && !known.api_keys.contains(&key)
    {
        return Err(refused(
            "the API key that the token was issued for has been deleted",
        ));
    }
    if let Some(session) = verified.session
        && !known.sessions.contains_key(&session)
    {
        return Err(refused(SESSION_ENDED));
    }
    if let Some((actor, generation)) = verified.actor {
        alive(core, actor, generation).await?;
    }
    Ok((verified, known))
}

async fn alive(
    core: &Core,
    id: photon_resource::PrincipalId,
    generation: u64,
) -> Result<Arc<Known>, Error> {
    let known = core.live.known(id).await?;
    let known = known.ok_or_else(|| refused("the token's principal has been deleted"))?;
    if known.principal.disabled {
        return Err(refused("the token's principal is disabled"));
    }
    if generation < known.principal.token_generation {
        return Err(refused("the token has been revoked"));
    }
    Ok(known)
}

fn refused(reason: &str) -> Error {
    Error::Unauthenticated(reason.to_owned())
}

/// Decides one action on one resource for the bearer of `token`. An error is never a permission.
pub async fn decide(
    core: &Core,
    token: &str,
    action: &Action,
    resource: &ResourceName,
    attributes: &BTreeMap<String, String>,
) -> Result<Outcome, Error> {
    let bearer = bearer(core, token).await?;
    decide_for(core, bearer, action, resource, attributes).await
}

async fn decide_for(
    core: &Core,
    (verified, known): (Arc<Verified>, Arc<Known>),
    action: &Action,
    resource: &ResourceName,
    attributes: &BTreeMap<String, String>,
) -> Result<Outcome, Error> {
    let claims = &verified.claims;
    let scope = resource.scope();
    let no = |reason: String| Outcome {
        reason,
        ..Outcome::default()
    };
    match Wall::of(claims).check(scope) {
        Ok(()) => {}
        Err(Outside::Tenant) => {
            return Ok(Outcome {
                outside_tenant: true,
                ..no("it is outside of the tenant that the token is for".to_owned())
            });
        }
        Err(Outside::Project(project)) => {
            return Ok(no(match scope.project() {
                Some(other) => format!("the token is for project {project}, not {other}"),
                None => format!(
                    "the token is for project {project}, and this takes one for the whole organization"
                ),
            }));
        }
    }
    let question = Question {
        action,
        resource,
        attributes,
        now: SystemTime::now(),
    };
    let answer = known.rights.decide(&question);
    // Only who might create, set or list there learns that there is no such place. What is left of an organization that is
    // gone, such as its events, stays to be read.
    let verb = action.as_str().rsplit(':').next();
    let there = match (verb, scope) {
        (Some("create" | "set"), _) | (Some("list"), Scope::Project(..)) => {
            core.live.exists(scope).await?
        }
        _ => true,
    };
    if answer.allowed && !there {
        return Ok(Outcome {
            absent: true,
            ..no(format!("there is no {scope}"))
        });
    }
    let extent = match resource.id() {
        "*" => extent(&known.rights, &question, answer.allowed),
        _ => Extent::None,
    };
    Ok(Outcome {
        allowed: answer.allowed,
        reason: answer.reason,
        bindings: answer.bindings,
        outside_tenant: false,
        extent,
        absent: false,
    })
}

/// Which of all resources of a type it is allowed on.
fn extent(rights: &Rights, question: &Question<'_>, allowed: bool) -> Extent {
    let (scope, now) = (question.resource.scope(), question.now);
    let wanted = each_of(question.action, question.resource);
    let each = wanted
        .is_some_and(|wanted| beyond(rights.grants(), &wanted, scope, Some(now), now).is_none());
    if each {
        Extent::Each
    } else if allowed || rights.allows_on_a_condition(question) {
        Extent::Some
    } else {
        Extent::None
    }
}

/// The permissions that make up one for all resources of a type in a scope and below it.
fn each_of(action: &Action, all: &ResourceName) -> Option<Vec<Permission>> {
    let kind = all.kind();
    let resources = match all.scope() {
        scope @ Scope::Project(..) => vec![format!("{scope}/{kind}/*")],
        scope @ Scope::Org(_) => vec![
            format!("{scope}/{kind}/*"),
            format!("{scope}/project/*/{kind}/*"),
        ],
        Scope::System => vec![
            format!("system/{kind}/*"),
            format!("org/*/{kind}/*"),
            format!("org/*/project/*/{kind}/*"),
        ],
    };
    let permission = |resource: String| {
        Some(Permission {
            action: action.as_str().parse().ok()?,
            resource: resource.parse().ok()?,
            condition: None,
        })
    };
    resources.into_iter().map(permission).collect()
}

/// As [`decide`], on each of several resources in their order. `ongoing`: calls that were begun while the token was good, and
/// go on.
pub async fn decide_each(
    core: &Core,
    token: &str,
    action: &Action,
    resources: &[Described],
    ongoing: bool,
) -> Result<Vec<bool>, Error> {
    let mut allowed = Vec::with_capacity(resources.len());
    for it in resources {
        let bearer = match ongoing {
            false => bearer(core, token).await?,
            true => bearer_ongoing(core, token).await?,
        };
        let decided = decide_for(core, bearer, action, &it.name, &it.attributes).await?;
        allowed.push(decided.allowed);
        // Other calls are decided meanwhile.
        tokio::task::yield_now().await;
    }
    Ok(allowed)
}

/// Whether the caller's roles permit this on a condition: see [`Rights::allows_on_a_condition`]. What is refused is then
/// not told from what is absent.
///
/// [`Rights::allows_on_a_condition`]: crate::policy::Rights::allows_on_a_condition
pub async fn allowed_on_a_condition(
    core: &Core,
    caller: &Caller,
    action: &str,
    resource: &ResourceName,
) -> Result<bool, Error> {
    let known = core.live.known(caller.claims.principal_id).await?;
    let action: Action = action.parse().map_err(Error::internal)?;
    Ok(known.is_some_and(|known| {
        known.rights.allows_on_a_condition(&Question {
            action: &action,
            resource,
            attributes: &BTreeMap::new(),
            now: SystemTime::now(),
        })
    }))
}

/// IAM's own guard verifies and decides in process, by the same functions that answer other servers.
#[async_trait]
impl TokenVerifier for Core {
    async fn verify(&self, token: &str) -> Result<Claims, Error> {
        Ok(bearer(self, token).await?.0.claims.clone())
    }
}

#[async_trait]
impl Authorizer for Core {
    async fn authorize(
        &self,
        caller: &Caller,
        action: &Action,
        resource: &ResourceName,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Decision, Error> {
        let outcome = decide(self, &caller.token, action, resource, attributes).await?;
        Ok(Decision {
            allowed: outcome.allowed,
            reason: outcome.reason,
            extent: outcome.extent,
            absent: outcome.absent,
        })
    }

    async fn authorize_each(
        &self,
        caller: &Caller,
        action: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        decide_each(self, &caller.token, action, resources, false).await
    }

    async fn authorize_ongoing(
        &self,
        caller: &Caller,
        action: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        decide_each(self, &caller.token, action, resources, true).await
    }
}
