//! API keys.

use std::time::Duration;

use photon_api::iam::v1 as api;
use photon_catalog::Effect;
use photon_resource::{
    ApiKeyId, Caller, Error, Page, PageRequest, PrincipalKind, ResourceName, validate_description,
};

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

pub async fn create(
    core: &Core,
    caller: &Caller,
    owner: &Principal,
    request: &api::CreateApiKeyRequest,
) -> Result<api::CreateApiKeyResponse, Error> {
    const ACTION: &str = "iam:apiKeys:create";
    validate_description(&request.description)?;
    if request.ttl_seconds > LONGEST_TTL {
        return Err(Error::invalid(
            "ttl_seconds",
            request.ttl_seconds,
            format!("at most {LONGEST_TTL}, or 0 for a key that never expires"),
        ));
    }
    if owner.kind == PrincipalKind::User && owner.id != caller.claims.principal_id {
        return Err(Error::FailedPrecondition(format!(
            "'{}' is a user: only the user can make API keys for itself",
            owner.name
        )));
    }
    let id = ApiKeyId::generate();
    let secret = ApiSecret::generate(id)
        .ok_or_else(|| Error::internal("the system gives no random numbers"))?;
    let created_at = now();
    let ttl = Duration::from_secs(request.ttl_seconds);
    let api_key = ApiKey {
        id,
        principal_id: owner.id,
        description: request.description.clone(),
        secret_sha256: secret.sha256(),
        created_at,
        expires_at: (!ttl.is_zero()).then(|| created_at + ttl),
    };
    let name = name(owner, id);
    let mutation = core
        .mutations
        .start(caller, ACTION, &request.request_id, request)?;
    core.change_secret(
        mutation,
        (core, caller, owner, api_key, name),
        |(core, caller, owner, api_key, name), tx| {
            Box::pin(async move {
                ceiling::check_principal(core, caller, ACTION, name, owner.id).await?;
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
            let replayed = api::CreateApiKeyResponse {
                api_key: Some(api_key.into()),
                secret: String::new(),
            };
            let response = api::CreateApiKeyResponse {
                secret: secret.reveal(),
                ..replayed.clone()
            };
            (response, replayed)
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
pub async fn delete(
    core: &Core,
    caller: &Caller,
    owner: &Principal,
    id: ApiKeyId,
    request: &api::DeleteApiKeyRequest,
) -> Result<api::DeleteApiKeyResponse, Error> {
    let mutation =
        core.mutations
            .start(caller, "iam:apiKeys:delete", &request.request_id, request)?;
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
        |()| api::DeleteApiKeyResponse {},
    )
    .await
}
