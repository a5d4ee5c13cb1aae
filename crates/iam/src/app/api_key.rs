//! API keys.

use std::time::Duration;

use photon_catalog::Effect;
use photon_resource::{
    ApiKeyId, Caller, Error, Page, PageRequest, PrincipalKind, ResourceName, validate_description,
};
use photon_service::Mutation;

use super::{Core, ceiling, now};
use crate::credential::ApiSecret;
use crate::model::{ApiKey, Principal};
use crate::store::{api_key as store, principal};

/// A hundred years: longer is a mistake, and would leave what clocks can show.
const LONGEST_TTL: u64 = 100 * 365 * 24 * 3600;

/// The full name of a principal's key.
pub fn name(owner: &Principal, id: impl std::fmt::Display) -> ResourceName {
    ResourceName::new(owner.home(), "apiKeys", id)
}

/// A key to be made.
pub struct NewApiKey {
    owner: Principal,
    description: String,
    /// Zero: it never expires.
    ttl: Duration,
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
                format!("at most {LONGEST_TTL}, or 0 for a key that never expires"),
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
            ttl: Duration::from_secs(ttl_seconds),
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
        expires_at: (!new.ttl.is_zero()).then(|| created_at + new.ttl),
    };
    let name = name(&owner, id);
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
                store::api_key_create(tx, api_key)?;
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

pub async fn list(
    core: &Core,
    owner: &Principal,
    page: &PageRequest,
) -> Result<Page<ApiKey>, Error> {
    store::api_key_page(&core.db, owner.id, page).await
}

/// Deletes a key: it is good for nothing from now on, and neither are the tokens that were issued for it.
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
                store::api_key_delete(tx, &before);
                Ok(Effect::at(name(owner, *id), store::key(*id), ()))
            })
        },
        |()| A::default(),
    )
    .await
}
