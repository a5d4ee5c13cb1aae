//! API keys.

use std::time::Duration;

use photon_catalog::Effect;
use photon_resource::{
    ApiKeyId, Caller, Error, OrgId, Page, PageRequest, PrincipalKind, ProjectId, ResourceName,
    Scope, validate_description,
};
use photon_service::Mutation;

use super::{Core, bounds, ceiling, now, session};
use crate::credential::ApiSecret;
use crate::model::{ApiKey, Principal};
use crate::store::{api_key as store, principal};

const DAY: u64 = 24 * 3600;
/// How long a key lives whose request does not say (decision 0030).
const USUAL_TTL: u64 = 90 * DAY;
/// How long one may live.
const LONGEST_TTL: u64 = 365 * DAY;

/// The full name of a principal's key: one for a project is in the project, others are where their principal belongs.
pub fn name(owner: &Principal, key: &ApiKey) -> ResourceName {
    ResourceName::new(key.scope(&owner.home()), "apiKeys", key.id)
}

/// All of a principal's keys that the caller's token can be about: with one for a project its own for the project; others are
/// of the organization, as their principals are.
pub fn all(caller: &Caller, owner: &Principal) -> ResourceName {
    let scope = match confined(caller) {
        Some((org, project)) if owner.id == caller.claims.principal_id => {
            Scope::Project(org, project)
        }
        _ => owner.home(),
    };
    ResourceName::any(scope, "apiKeys")
}

/// What a token for a project confines the keys to that are made with it: else they would be worth more than it.
fn confined(caller: &Caller) -> Option<(OrgId, ProjectId)> {
    let claims = &caller.claims;
    claims.org_id.clone().zip(claims.project_id.clone())
}

/// A key to be made.
pub struct NewApiKey {
    owner: Principal,
    description: String,
    ttl: Duration,
    confined: Option<(OrgId, ProjectId)>,
}

impl NewApiKey {
    /// A key for `owner`, which `caller` asks for.
    ///
    /// Errors: `InvalidArgument`; `FailedPrecondition` for another user's.
    pub fn new(
        caller: &Caller,
        owner: Principal,
        description: String,
        ttl_seconds: u64,
    ) -> Result<Self, Error> {
        validate_description(&description)?;
        if ttl_seconds > LONGEST_TTL {
            return Err(Error::invalid(
                "ttl_seconds",
                ttl_seconds,
                format!("at most {LONGEST_TTL} (a year), or 0 for {USUAL_TTL} (90 days)"),
            ));
        }
        if owner.kind == PrincipalKind::User && owner.id != caller.claims.principal_id {
            return Err(Error::FailedPrecondition(format!(
                "'{}' is a user: only the user can make API keys for itself",
                owner.name
            )));
        }
        Ok(Self {
            owner,
            description,
            ttl: Duration::from_secs(match ttl_seconds {
                0 => USUAL_TTL,
                seconds => seconds,
            }),
            confined: confined(caller),
        })
    }
}

/// `answer` gets the secret, or, for repeated calls, nothing: it is not stored.
pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewApiKey,
    answer: impl Fn(&ApiKey, String) -> A,
) -> Result<A, Error> {
    let owner = new.owner;
    let id = ApiKeyId::generate();
    let secret = ApiSecret::generate(id)
        .ok_or_else(|| Error::internal("the system gives no random numbers"))?;
    let created_at = now();
    let api_key = ApiKey {
        id,
        principal_id: owner.id,
        description: new.description,
        secret_sha256: secret.sha256(),
        created_at,
        expires_at: Some(created_at + new.ttl),
        confined: new.confined,
    };
    let name = name(&owner, &api_key);
    let caller = mutation.caller().clone();
    core.change_secret(
        mutation,
        (core, caller, owner, api_key, name),
        |(core, caller, owner, api_key, name), tx| {
            Box::pin(async move {
                let action = "iam:apiKeys:create";
                ceiling::check_principal(core, caller, action, name, owner.id).await?;
                tx.touch(&principal::credentials_guard(owner.id)).await?;
                principal::principal_get(tx, owner.id)
                    .await?
                    .ok_or_else(|| Error::not_found("principal", owner.id))?;
                bounds::check_api_key(tx, owner).await?;
                store::api_key_create(tx, api_key, &owner.home())?;
                let key = store::key(api_key.id);
                Ok(Effect::at(name.clone(), key, api_key.clone()))
            })
        },
        |api_key| {
            (
                answer(api_key, secret.reveal()),
                answer(api_key, String::new()),
            )
        },
    )
    .await
}

/// The key and whose it is. It may lie beyond the wall: see `Server::reveal`.
pub async fn find(core: &Core, id: &str) -> Result<(ApiKey, Principal), Error> {
    let absent = || Error::not_found("API key", id);
    let api_key = store::api_key_find(&core.db, id.parse()?)
        .await?
        .ok_or_else(absent)?;
    let owner = principal::principal_find(&core.db, api_key.principal_id).await?;
    Ok((api_key, owner.ok_or_else(absent)?))
}

/// A page of a principal's, which has fewer if the caller's token is for a project: those for that project.
pub async fn list(
    core: &Core,
    caller: &Caller,
    owner: &Principal,
    page: &PageRequest,
) -> Result<Page<ApiKey>, Error> {
    let mut page = store::api_key_page(&core.db, owner.id, page).await?;
    if let Some(confined) = confined(caller) {
        page.items
            .retain(|key| key.confined.as_ref() == Some(&confined));
    }
    Ok(page)
}

/// Deletes a key: it is good for nothing from now on, and neither are the tokens and sessions that it was used for.
pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    owner: &Principal,
    id: ApiKeyId,
) -> Result<A, Error> {
    core.change(
        mutation,
        (owner, id),
        |(owner, id), tx| {
            Box::pin(async move {
                let before = store::api_key_get(tx, *id)
                    .await?
                    .ok_or_else(|| Error::not_found("API key", *id))?;
                session::end_with_key(tx, before.principal_id, *id).await?;
                store::api_key_delete(tx, &before, &owner.home());
                Ok(Effect::at(name(owner, &before), store::key(*id), ()))
            })
        },
        |()| A::default(),
    )
    .await
}
