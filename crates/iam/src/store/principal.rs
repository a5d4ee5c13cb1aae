//! Principals, by id and by name.

use flaredb::{Db, Record, Transaction};
use photon_catalog::Reference;
use photon_resource::{Error, OrgId, Page, PageRequest, PrincipalId, PrincipalKind, Scope};
use serde::{Deserialize, Serialize};

use super::{from_ms, owner_segment, page_of, to_ms, usage};
use crate::model::Principal;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrincipalRecord {
    id: PrincipalId,
    org_id: Option<OrgId>,
    name: String,
    kind: PrincipalKind,
    description: String,
    disabled: bool,
    node: Option<String>,
    password_hash: Option<String>,
    token_generation: u64,
    created_ms: u64,
    updated_ms: u64,
    revision: u64,
}

impl Record for PrincipalRecord {
    const KIND: &'static str = "principal";
    const VERSION: u32 = 1;
}

impl From<&Principal> for PrincipalRecord {
    fn from(principal: &Principal) -> Self {
        Self {
            id: principal.id,
            org_id: principal.org_id.clone(),
            name: principal.name.clone(),
            kind: principal.kind,
            description: principal.description.clone(),
            disabled: principal.disabled,
            node: principal.node.clone(),
            password_hash: principal.password_hash.clone(),
            token_generation: principal.token_generation,
            created_ms: to_ms(principal.created_at),
            updated_ms: to_ms(principal.updated_at),
            revision: principal.revision,
        }
    }
}

impl From<PrincipalRecord> for Principal {
    fn from(record: PrincipalRecord) -> Self {
        Self {
            id: record.id,
            org_id: record.org_id,
            name: record.name,
            kind: record.kind,
            description: record.description,
            disabled: record.disabled,
            node: record.node,
            password_hash: record.password_hash,
            token_generation: record.token_generation,
            created_at: from_ms(record.created_ms),
            updated_at: from_ms(record.updated_ms),
            revision: record.revision,
        }
    }
}

pub(crate) const PREFIX: &str = "principal/";
/// Of the names, by organization.
pub(crate) const NAMES: &str = "principal-name/";

/// Where the record is.
pub(crate) fn key(id: PrincipalId) -> String {
    format!("{PREFIX}{id}")
}

fn names_prefix(org: Option<&OrgId>) -> String {
    format!("{NAMES}{}/", owner_segment(org))
}

fn name_key(org: Option<&OrgId>, name: &str) -> String {
    format!("{}{name}", names_prefix(org))
}

/// Everybody who gives a principal a credential or a binding, or deletes all of them, touches this first.
pub(crate) fn credentials_guard(id: PrincipalId) -> String {
    format!("credentials/{id}")
}

/// The principal, as the transaction sees it.
pub async fn principal_get(
    tx: &mut Transaction,
    id: PrincipalId,
) -> Result<Option<Principal>, Error> {
    let record = tx.get::<PrincipalRecord>(&key(id)).await?;
    Ok(record.map(Into::into))
}

/// The principal, as it is now.
pub async fn principal_find(db: &Db, id: PrincipalId) -> Result<Option<Principal>, Error> {
    let record = db.get::<PrincipalRecord>(&key(id)).await?;
    Ok(record.map(Into::into))
}

/// The principal of this name, as it is now.
pub async fn principal_find_by_name(
    db: &Db,
    org: Option<&OrgId>,
    name: &str,
) -> Result<Option<Principal>, Error> {
    match db.get::<Reference>(&name_key(org, name)).await? {
        Some(pointer) => principal_find(db, pointer.id.parse().map_err(Error::internal)?).await,
        None => Ok(None),
    }
}

/// Where a principal belongs that has keys: [`Scope::System`] too if it is gone.
pub(super) async fn home_of(tx: &Transaction, id: PrincipalId) -> Result<Scope, Error> {
    let found = principal_find(tx.db(), id).await?;
    Ok(found.map_or(Scope::System, |found| found.home()))
}

/// The id of the principal of this name, as the transaction sees it.
pub async fn principal_named(
    tx: &mut Transaction,
    org: Option<&OrgId>,
    name: &str,
) -> Result<Option<PrincipalId>, Error> {
    let pointer = tx.get::<Reference>(&name_key(org, name)).await?;
    pointer
        .map(|pointer| pointer.id.parse().map_err(Error::internal))
        .transpose()
}

/// Creates; that the name is free has been checked with [`principal_named`].
pub fn principal_create(tx: &mut Transaction, principal: &Principal) -> Result<(), Error> {
    usage::take(tx, &principal.home(), usage::PRINCIPALS);
    put_with_name(tx, principal)
}

fn put_with_name(tx: &mut Transaction, principal: &Principal) -> Result<(), Error> {
    let pointer = Reference::to(principal.id);
    tx.put(
        &name_key(principal.org_id.as_ref(), &principal.name),
        &pointer,
    )?;
    principal_update(tx, principal)
}

/// Replaces a principal whose name is unchanged.
pub fn principal_update(tx: &mut Transaction, principal: &Principal) -> Result<(), Error> {
    Ok(tx.put(&key(principal.id), &PrincipalRecord::from(principal))?)
}

/// Replaces a principal that was called `before`.
pub fn principal_rename(
    tx: &mut Transaction,
    before: &str,
    principal: &Principal,
) -> Result<(), Error> {
    tx.delete(&name_key(principal.org_id.as_ref(), before));
    put_with_name(tx, principal)
}

/// Deletes the principal itself.
pub fn principal_delete(tx: &mut Transaction, principal: &Principal) {
    usage::give_back(tx, &principal.home(), usage::PRINCIPALS);
    tx.delete(&key(principal.id));
    tx.delete(&name_key(principal.org_id.as_ref(), &principal.name));
    tx.delete(&credentials_guard(principal.id));
}

/// Whether the organization has a principal; guard it with the organization's members.
pub async fn principal_any(tx: &mut Transaction, org: &OrgId) -> Result<bool, Error> {
    Ok(!tx
        .scan::<Reference>(&names_prefix(Some(org)), 1)
        .await?
        .is_empty())
}

/// One page of those of an organization, or of the system, by name.
pub async fn principal_page(
    db: &Db,
    org: Option<&OrgId>,
    request: &PageRequest,
) -> Result<Page<Principal>, Error> {
    let key = |id: &str| format!("{PREFIX}{id}");
    let read = |record: PrincipalRecord| Ok(Some(record.into()));
    page_of(db, &names_prefix(org), request, key, read).await
}
