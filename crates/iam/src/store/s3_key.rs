//! S3 access keys, by access key id and by principal.

use flaredb::{Db, Record, Transaction};
use photon_catalog::Reference;
use photon_resource::{Error, OrgId, Page, PageRequest, PrincipalId, ProjectId, Scope};
use serde::{Deserialize, Serialize};

use super::principal::{home_of, principal_find};
use super::{from_ms, page_of, to_ms, usage};
use crate::model::S3AccessKey;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3AccessKeyRecord {
    access_key_id: String,
    principal_id: PrincipalId,
    project_id: ProjectId,
    description: String,
    sealed_secret: Vec<u8>,
    created_ms: u64,
}

impl Record for S3AccessKeyRecord {
    const KIND: &'static str = "S3 access key";
    const VERSION: u32 = 1;
}

impl From<&S3AccessKey> for S3AccessKeyRecord {
    fn from(s3_key: &S3AccessKey) -> Self {
        Self {
            access_key_id: s3_key.access_key_id.clone(),
            principal_id: s3_key.principal_id,
            project_id: s3_key.project_id.clone(),
            description: s3_key.description.clone(),
            sealed_secret: s3_key.sealed_secret.clone(),
            created_ms: to_ms(s3_key.created_at),
        }
    }
}

impl From<S3AccessKeyRecord> for S3AccessKey {
    fn from(record: S3AccessKeyRecord) -> Self {
        Self {
            access_key_id: record.access_key_id,
            principal_id: record.principal_id,
            project_id: record.project_id,
            description: record.description,
            sealed_secret: record.sealed_secret,
            created_at: from_ms(record.created_ms),
        }
    }
}

pub(crate) const PREFIX: &str = "s3-key/";
/// How many are read at a time where all are.
const READ_AT_ONCE: usize = 500;

/// The key of an access key's record; also what its sealed secret is bound to.
pub(crate) fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn of_prefix(principal: PrincipalId) -> String {
    format!("s3-key-of/{principal}/")
}

fn of_key(principal: PrincipalId, id: &str) -> String {
    format!("{}{id}", of_prefix(principal))
}

/// The access key, as the transaction sees it.
pub async fn s3_key_get(tx: &mut Transaction, id: &str) -> Result<Option<S3AccessKey>, Error> {
    Ok(tx.get::<S3AccessKeyRecord>(&key(id)).await?.map(Into::into))
}

/// The access key, as it is now.
pub async fn s3_key_find(db: &Db, id: &str) -> Result<Option<S3AccessKey>, Error> {
    Ok(db.get::<S3AccessKeyRecord>(&key(id)).await?.map(Into::into))
}

/// Where a key of a principal of `home` counts.
fn scope(home: &Scope, project: &ProjectId) -> Scope {
    match home.org() {
        Some(org) => Scope::Project(org.clone(), project.clone()),
        None => Scope::System,
    }
}

/// Creates one of a principal of `home`.
pub fn s3_key_create(
    tx: &mut Transaction,
    s3_key: &S3AccessKey,
    home: &Scope,
) -> Result<(), Error> {
    let id = &s3_key.access_key_id;
    usage::take(tx, &scope(home, &s3_key.project_id), usage::S3_KEYS);
    tx.put(&key(id), &S3AccessKeyRecord::from(s3_key))?;
    Ok(tx.put(&of_key(s3_key.principal_id, id), &Reference::to(id))?)
}

/// Deletes one of a principal of `home`.
pub fn s3_key_delete(tx: &mut Transaction, s3_key: &S3AccessKey, home: &Scope) {
    usage::give_back(tx, &scope(home, &s3_key.project_id), usage::S3_KEYS);
    tx.delete(&key(&s3_key.access_key_id));
    tx.delete(&of_key(s3_key.principal_id, &s3_key.access_key_id));
}

/// How many a principal has, counted up to `limit`; guard it with the principal's credentials.
pub async fn s3_key_count(
    tx: &Transaction,
    principal: PrincipalId,
    limit: usize,
) -> Result<usize, Error> {
    let prefix = of_prefix(principal);
    let page = tx.db().page::<Reference>(&prefix, None, limit).await?;
    Ok(page.items.len())
}

/// Deletes at most `limit` of a principal's, and says how many; guard it with the principal's credentials.
pub async fn s3_key_delete_some(
    tx: &mut Transaction,
    principal: PrincipalId,
    limit: usize,
) -> Result<usize, Error> {
    let home = home_of(tx, principal).await?;
    let prefix = of_prefix(principal);
    let found = tx.db().page::<Reference>(&prefix, None, limit).await?.items;
    for (index, pointer) in &found {
        match s3_key_find(tx.db(), &pointer.id).await? {
            Some(s3_key) => s3_key_delete(tx, &s3_key, &home),
            None => tx.delete(index),
        }
    }
    Ok(found.len())
}

/// Deletes at most `limit` of those for a project, and says how many; guard it with the organization's members. All there are
/// are read for it: there is no list of a project's.
pub async fn s3_key_delete_some_of_project(
    tx: &mut Transaction,
    org: &OrgId,
    project: &ProjectId,
    limit: usize,
) -> Result<usize, Error> {
    let (mut deleted, mut after) = (0, None);
    loop {
        let page = tx
            .db()
            .page::<S3AccessKeyRecord>(PREFIX, after.as_deref(), READ_AT_ONCE)
            .await?;
        after = page.items.last().map(|(key, _)| key.clone());
        for (_, record) in page.items {
            if record.project_id != *project {
                continue;
            }
            // Of the tenant's own: no other can have a key for the project.
            let owner = principal_find(tx.db(), record.principal_id).await?;
            if owner.and_then(|owner| owner.org_id).as_ref() != Some(org) {
                continue;
            }
            if deleted == limit {
                return Ok(deleted);
            }
            s3_key_delete(tx, &record.into(), &Scope::Org(org.clone()));
            deleted += 1;
        }
        if !page.more {
            return Ok(deleted);
        }
    }
}

/// One page of a principal's, by access key id.
pub async fn s3_key_page(
    db: &Db,
    principal: PrincipalId,
    request: &PageRequest,
) -> Result<Page<S3AccessKey>, Error> {
    let read = |record: S3AccessKeyRecord| Ok(Some(record.into()));
    page_of(db, &of_prefix(principal), request, key, read).await
}
