//! API keys, by id and by principal.

use flaredb::{Db, Record, Transaction};
use photon_catalog::Reference;
use photon_resource::{ApiKeyId, Error, OrgId, Page, PageRequest, PrincipalId, ProjectId, Scope};
use serde::{Deserialize, Serialize};

use super::principal::home_of;
use super::{from_ms, page_of, to_ms, usage};
use crate::model::ApiKey;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyRecord {
    id: ApiKeyId,
    principal_id: PrincipalId,
    description: String,
    secret_sha256: [u8; 32],
    created_ms: u64,
    expires_ms: Option<u64>,
    /// With the project, that it is confined to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org_id: Option<OrgId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project_id: Option<ProjectId>,
}

impl Record for ApiKeyRecord {
    const KIND: &'static str = "API key";
    const VERSION: u32 = 1;
}

impl From<&ApiKey> for ApiKeyRecord {
    fn from(api_key: &ApiKey) -> Self {
        Self {
            id: api_key.id,
            principal_id: api_key.principal_id,
            description: api_key.description.clone(),
            secret_sha256: api_key.secret_sha256,
            created_ms: to_ms(api_key.created_at),
            expires_ms: api_key.expires_at.map(to_ms),
            org_id: api_key.confined.as_ref().map(|(org, _)| org.clone()),
            project_id: api_key
                .confined
                .as_ref()
                .map(|(_, project)| project.clone()),
        }
    }
}

impl From<ApiKeyRecord> for ApiKey {
    fn from(record: ApiKeyRecord) -> Self {
        Self {
            id: record.id,
            principal_id: record.principal_id,
            description: record.description,
            secret_sha256: record.secret_sha256,
            created_at: from_ms(record.created_ms),
            expires_at: record.expires_ms.map(from_ms),
            confined: record.org_id.zip(record.project_id),
        }
    }
}

pub(crate) const PREFIX: &str = "api-key/";

/// Where the record is.
pub(crate) fn key(id: ApiKeyId) -> String {
    format!("{PREFIX}{id}")
}

pub(crate) const OF_PREFIX: &str = "api-key-of/";

fn of_prefix(principal: PrincipalId) -> String {
    format!("{OF_PREFIX}{principal}/")
}

fn of_key(principal: PrincipalId, id: ApiKeyId) -> String {
    format!("{}{id}", of_prefix(principal))
}

/// The key, as the transaction sees it.
pub async fn api_key_get(tx: &mut Transaction, id: ApiKeyId) -> Result<Option<ApiKey>, Error> {
    Ok(tx.get::<ApiKeyRecord>(&key(id)).await?.map(Into::into))
}

/// The key, as it is now.
pub async fn api_key_find(db: &Db, id: ApiKeyId) -> Result<Option<ApiKey>, Error> {
    Ok(db.get::<ApiKeyRecord>(&key(id)).await?.map(Into::into))
}

/// Creates one of a principal of `home`.
pub fn api_key_create(tx: &mut Transaction, api_key: &ApiKey, home: &Scope) -> Result<(), Error> {
    usage::take(tx, &api_key.scope(home), usage::API_KEYS);
    tx.put(&key(api_key.id), &ApiKeyRecord::from(api_key))?;
    let pointer = Reference::to(api_key.id);
    Ok(tx.put(&of_key(api_key.principal_id, api_key.id), &pointer)?)
}

/// Deletes one of a principal of `home`.
pub fn api_key_delete(tx: &mut Transaction, api_key: &ApiKey, home: &Scope) {
    usage::give_back(tx, &api_key.scope(home), usage::API_KEYS);
    tx.delete(&key(api_key.id));
    tx.delete(&of_key(api_key.principal_id, api_key.id));
}

/// The ids of a principal's keys.
pub async fn api_key_ids(db: &Db, principal: PrincipalId) -> Result<Vec<ApiKeyId>, Error> {
    let found = db.scan::<Reference>(&of_prefix(principal)).await?;
    found
        .into_iter()
        .map(|(_, pointer)| pointer.id.parse().map_err(Error::internal))
        .collect()
}

/// How many a principal has, counted up to `limit`; guard it with the principal's credentials.
pub async fn api_key_count(
    tx: &Transaction,
    principal: PrincipalId,
    limit: usize,
) -> Result<usize, Error> {
    let prefix = of_prefix(principal);
    let page = tx.db().page::<Reference>(&prefix, None, limit).await?;
    Ok(page.items.len())
}

/// Deletes at most `limit` of a principal's, and says how many; guard it with the principal's credentials.
pub async fn api_key_delete_some(
    tx: &mut Transaction,
    principal: PrincipalId,
    limit: usize,
) -> Result<usize, Error> {
    let home = home_of(tx, principal).await?;
    let prefix = of_prefix(principal);
    let found = tx.db().page::<Reference>(&prefix, None, limit).await?.items;
    for (index, pointer) in &found {
        match api_key_find(tx.db(), pointer.id.parse().map_err(Error::internal)?).await? {
            Some(api_key) => api_key_delete(tx, &api_key, &home),
            None => tx.delete(index),
        }
    }
    Ok(found.len())
}

/// One page of a principal's, by id.
pub async fn api_key_page(
    db: &Db,
    principal: PrincipalId,
    request: &PageRequest,
) -> Result<Page<ApiKey>, Error> {
    let key = |id: &str| format!("{PREFIX}{id}");
    let read = |record: ApiKeyRecord| Ok(Some(record.into()));
    page_of(db, &of_prefix(principal), request, key, read).await
}
