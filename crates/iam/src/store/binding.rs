//! Bindings, by id, by principal, by role and by scope.

use flaredb::{Db, Record, Transaction};
use photon_catalog::Reference;
use photon_resource::{BindingId, Error, Page, PageRequest, PrincipalId, Scope};
use serde::{Deserialize, Serialize};

use super::{from_ms, owner_segment, page_of, to_ms, usage};
use crate::model::Binding;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindingRecord {
    id: BindingId,
    principal_id: PrincipalId,
    role_id: String,
    scope: String,
    created_ms: u64,
    expires_ms: Option<u64>,
    revision: u64,
}

impl Record for BindingRecord {
    const KIND: &'static str = "binding";
    const VERSION: u32 = 1;
}

impl From<&Binding> for BindingRecord {
    fn from(binding: &Binding) -> Self {
        Self {
            id: binding.id,
            principal_id: binding.principal_id,
            role_id: binding.role_id.clone(),
            scope: binding.scope.to_string(),
            created_ms: to_ms(binding.created_at),
            expires_ms: binding.expires_at.map(to_ms),
            revision: binding.revision,
        }
    }
}

impl TryFrom<BindingRecord> for Binding {
    type Error = Error;

    fn try_from(record: BindingRecord) -> Result<Self, Error> {
        Ok(Self {
            id: record.id,
            principal_id: record.principal_id,
            role_id: record.role_id,
            scope: record.scope.parse().map_err(Error::internal)?,
            created_at: from_ms(record.created_ms),
            expires_at: record.expires_ms.map(from_ms),
            revision: record.revision,
        })
    }
}

pub(crate) const OF_PREFIX: &str = "binding-of/";
/// Of those of each organization, or of the system, and project.
pub(crate) const IN_PREFIX: &str = "binding-in/";

/// Where the record is.
pub(crate) fn key(id: BindingId) -> String {
    format!("binding/{id}")
}

fn of_prefix(principal: PrincipalId) -> String {
    format!("{OF_PREFIX}{principal}/")
}

fn role_prefix(role: &str) -> String {
    format!("binding-role/{role}/")
}

/// What is at or below a scope.
fn below_prefix(scope: &Scope) -> String {
    match scope {
        Scope::System => IN_PREFIX.to_owned(),
        Scope::Org(org) => format!("{IN_PREFIX}{org}/"),
        Scope::Project(org, project) => format!("{IN_PREFIX}{org}/{project}/"),
    }
}

fn in_key(binding: &Binding) -> String {
    let project = binding
        .scope
        .project()
        .map_or("-", |project| project.as_str());
    let owner = owner_segment(binding.scope.org());
    format!("{IN_PREFIX}{owner}/{project}/{}", binding.id)
}

/// The keys of the index entries of a binding; only the first is under the principal.
fn indexes(binding: &Binding) -> [String; 3] {
    let id = binding.id;
    [
        format!("{}{id}", of_prefix(binding.principal_id)),
        format!("{}{id}", role_prefix(&binding.role_id)),
        in_key(binding),
    ]
}

/// The binding, as the transaction sees it.
pub async fn binding_get(tx: &mut Transaction, id: BindingId) -> Result<Option<Binding>, Error> {
    let record = tx.get::<BindingRecord>(&key(id)).await?;
    record.map(TryInto::try_into).transpose()
}

/// The binding, as it is now.
pub async fn binding_find(db: &Db, id: BindingId) -> Result<Option<Binding>, Error> {
    let record = db.get::<BindingRecord>(&key(id)).await?;
    record.map(TryInto::try_into).transpose()
}

/// Creates.
pub fn binding_create(tx: &mut Transaction, binding: &Binding) -> Result<(), Error> {
    usage::take(tx, &binding.scope, usage::BINDINGS);
    binding_update(tx, binding)
}

/// Replaces. The index entries are written anew each time, so that whoever watches them learns of every change.
pub fn binding_update(tx: &mut Transaction, binding: &Binding) -> Result<(), Error> {
    let pointer = Reference::to(binding.id);
    for index in indexes(binding) {
        tx.put(&index, &pointer)?;
    }
    Ok(tx.put(&key(binding.id), &BindingRecord::from(binding))?)
}

/// Deletes.
pub fn binding_delete(tx: &mut Transaction, binding: &Binding) {
    usage::give_back(tx, &binding.scope, usage::BINDINGS);
    tx.delete(&key(binding.id));
    for index in indexes(binding) {
        tx.delete(&index);
    }
}

/// All bindings of a principal, as they are now.
pub async fn binding_list_of(db: &Db, principal: PrincipalId) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    for (_, pointer) in db.scan::<Reference>(&of_prefix(principal)).await? {
        bindings.extend(binding_find(db, pointer.id.parse().map_err(Error::internal)?).await?);
    }
    Ok(bindings)
}

/// At most `limit` of what an index leads to. What the transaction depends on is its guard: there may be any number.
async fn scan(tx: &Transaction, prefix: &str, limit: usize) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    for (_, pointer) in tx.db().page::<Reference>(prefix, None, limit).await?.items {
        let id = pointer.id.parse().map_err(Error::internal)?;
        bindings.extend(binding_find(tx.db(), id).await?);
    }
    Ok(bindings)
}

/// At most `limit` bindings of a principal; guard it with the principal's credentials.
pub async fn binding_of(
    tx: &Transaction,
    principal: PrincipalId,
    limit: usize,
) -> Result<Vec<Binding>, Error> {
    scan(tx, &of_prefix(principal), limit).await
}

/// All bindings of a role; guard it with the role's bindings.
pub async fn binding_of_role(tx: &Transaction, role: &str) -> Result<Vec<Binding>, Error> {
    scan(tx, &role_prefix(role), usize::MAX).await
}

/// At most `limit` bindings at or below a scope; guard it with the organization's members.
pub async fn binding_below(
    tx: &Transaction,
    scope: &Scope,
    limit: usize,
) -> Result<Vec<Binding>, Error> {
    scan(tx, &below_prefix(scope), limit).await
}

/// One page of the bindings at or below `scope`, and of `principal` if one is given. A page can hold fewer than
/// were asked for and still have a next one.
pub async fn binding_page(
    db: &Db,
    scope: &Scope,
    principal: Option<PrincipalId>,
    request: &PageRequest,
) -> Result<Page<Binding>, Error> {
    let prefix = match principal {
        Some(principal) => of_prefix(principal),
        None => below_prefix(scope),
    };
    let key = |id: &str| format!("binding/{id}");
    let read = |record: BindingRecord| {
        let binding: Binding = record.try_into()?;
        Ok(Some(binding).filter(|binding| scope.contains(&binding.scope)))
    };
    page_of(db, &prefix, request, key, read).await
}
