//! Custom roles, by id and by name. (Built-in ones are part of the program.)

use flaredb::{Db, Record, Transaction};
use photon_catalog::Reference;
use photon_resource::{Error, OrgId, Page, PageRequest};
use serde::{Deserialize, Serialize};

use super::{from_ms, owner_segment, page_of, to_ms, usage};
use crate::model::{Permission, Role, home};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleRecord {
    id: String,
    org_id: Option<OrgId>,
    name: String,
    description: String,
    permissions: Vec<PermissionRecord>,
    created_ms: u64,
    updated_ms: u64,
    revision: u64,
}

/// A field that this program does not know could restrict a permission: such a record is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionRecord {
    action: String,
    resource: String,
    condition: Option<String>,
}

impl Record for RoleRecord {
    const KIND: &'static str = "role";
    const VERSION: u32 = 1;
}

impl From<&Role> for RoleRecord {
    fn from(role: &Role) -> Self {
        let permission = |permission: &Permission| PermissionRecord {
            action: permission.action.to_string(),
            resource: permission.resource.to_string(),
            condition: permission.condition.as_ref().map(ToString::to_string),
        };
        Self {
            id: role.id.clone(),
            org_id: role.org_id.clone(),
            name: role.name.clone(),
            description: role.description.clone(),
            permissions: role.permissions.iter().map(permission).collect(),
            created_ms: to_ms(role.created_at),
            updated_ms: to_ms(role.updated_at),
            revision: role.revision,
        }
    }
}

impl TryFrom<PermissionRecord> for Permission {
    type Error = Error;

    fn try_from(record: PermissionRecord) -> Result<Self, Error> {
        Ok(Self {
            action: record.action.parse().map_err(Error::internal)?,
            resource: record.resource.parse().map_err(Error::internal)?,
            condition: record
                .condition
                .map(|condition| condition.parse().map_err(Error::internal))
                .transpose()?,
        })
    }
}

impl TryFrom<RoleRecord> for Role {
    type Error = Error;

    /// Errors: a pattern or condition can't be read any more, so that nobody may rely on any of it.
    fn try_from(record: RoleRecord) -> Result<Self, Error> {
        let permissions = record.permissions.into_iter().map(TryInto::try_into);
        Ok(Self {
            id: record.id,
            org_id: record.org_id,
            name: record.name,
            description: record.description,
            permissions: permissions.collect::<Result<_, Error>>()?,
            built_in: false,
            created_at: from_ms(record.created_ms),
            updated_at: from_ms(record.updated_ms),
            revision: record.revision,
        })
    }
}

pub(crate) const PREFIX: &str = "role/";
/// Of the names, by organization.
pub(crate) const NAMES: &str = "role-name/";

/// Where the record is.
pub(crate) fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn names_prefix(org: Option<&OrgId>) -> String {
    format!("{NAMES}{}/", owner_segment(org))
}

fn name_key(org: Option<&OrgId>, name: &str) -> String {
    format!("{}{name}", names_prefix(org))
}

/// Everybody who binds a role, or changes or deletes it, touches this first.
pub(crate) fn bindings_guard(id: &str) -> String {
    format!("role-bindings/{id}")
}

/// The role, as the transaction sees it.
pub async fn role_get(tx: &mut Transaction, id: &str) -> Result<Option<Role>, Error> {
    let record = tx.get::<RoleRecord>(&key(id)).await?;
    record.map(TryInto::try_into).transpose()
}

/// The role, as it is now.
pub async fn role_find(db: &Db, id: &str) -> Result<Option<Role>, Error> {
    let record = db.get::<RoleRecord>(&key(id)).await?;
    record.map(TryInto::try_into).transpose()
}

/// The role as it is now, apart from whether it can be understood: the outer error is the store's, the inner one says
/// that the record is damaged, or of a later version.
pub async fn role_read(db: &Db, id: &str) -> Result<Option<Result<Role, Error>>, Error> {
    let key = key(id);
    let (item, _) = db.get_raw(&key).await?;
    Ok(item.map(|item| flaredb::decode::<RoleRecord>(&key, &item.value)?.try_into()))
}

/// The id of the role of this name, as it is now.
pub async fn role_find_id(
    db: &Db,
    org: Option<&OrgId>,
    name: &str,
) -> Result<Option<String>, Error> {
    let pointer = db.get::<Reference>(&name_key(org, name)).await?;
    Ok(pointer.map(|pointer| pointer.id))
}

/// The id of the role of this name, as the transaction sees it.
pub async fn role_named(
    tx: &mut Transaction,
    org: Option<&OrgId>,
    name: &str,
) -> Result<Option<String>, Error> {
    let pointer = tx.get::<Reference>(&name_key(org, name)).await?;
    Ok(pointer.map(|pointer| pointer.id))
}

/// Creates; that the name is free has been checked with [`role_named`].
pub fn role_create(tx: &mut Transaction, role: &Role) -> Result<(), Error> {
    usage::take(tx, &home(role.org_id.as_ref()), usage::ROLES);
    put_with_name(tx, role)
}

fn put_with_name(tx: &mut Transaction, role: &Role) -> Result<(), Error> {
    let pointer = Reference::to(&role.id);
    tx.put(&name_key(role.org_id.as_ref(), &role.name), &pointer)?;
    Ok(tx.put(&key(&role.id), &RoleRecord::from(role))?)
}

/// Replaces a role that was called `before`.
pub fn role_update(tx: &mut Transaction, before: &str, role: &Role) -> Result<(), Error> {
    if before != role.name {
        tx.delete(&name_key(role.org_id.as_ref(), before));
    }
    put_with_name(tx, role)
}

/// Deletes the role itself.
pub fn role_delete(tx: &mut Transaction, role: &Role) {
    usage::give_back(tx, &home(role.org_id.as_ref()), usage::ROLES);
    tx.delete(&key(&role.id));
    tx.delete(&name_key(role.org_id.as_ref(), &role.name));
    tx.delete(&bindings_guard(&role.id));
}

/// Deletes at most `limit` roles of an organization, and says how many; guard it with the organization's members.
pub async fn role_delete_some(
    tx: &mut Transaction,
    org: &OrgId,
    limit: usize,
) -> Result<usize, Error> {
    let prefix = names_prefix(Some(org));
    let found = tx.db().page::<Reference>(&prefix, None, limit).await?.items;
    for (index, pointer) in &found {
        usage::give_back(tx, &home(Some(org)), usage::ROLES);
        tx.delete(index);
        tx.delete(&key(&pointer.id));
        tx.delete(&bindings_guard(&pointer.id));
    }
    Ok(found.len())
}

/// One page of the custom roles of an organization, or of the system, by name.
pub async fn role_page(
    db: &Db,
    org: Option<&OrgId>,
    request: &PageRequest,
) -> Result<Page<Role>, Error> {
    let read = |record: RoleRecord| record.try_into().map(Some);
    page_of(db, &names_prefix(org), request, key, read).await
}
