//! Organizations.

use flaredb::{Db, Record, Transaction};
use photon_catalog::quota::forget;
use photon_resource::{Error, OrgId, Page, PageRequest, Scope};
use serde::{Deserialize, Serialize};

use super::{from_ms, page, to_ms};
use crate::model::Organization;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationRecord {
    id: OrgId,
    name: String,
    description: String,
    created_ms: u64,
    updated_ms: u64,
    revision: u64,
}

impl Record for OrganizationRecord {
    const KIND: &'static str = "organization";
    const VERSION: u32 = 1;
}

impl From<&Organization> for OrganizationRecord {
    fn from(organization: &Organization) -> Self {
        Self {
            id: organization.id.clone(),
            name: organization.name.clone(),
            description: organization.description.clone(),
            created_ms: to_ms(organization.created_at),
            updated_ms: to_ms(organization.updated_at),
            revision: organization.revision,
        }
    }
}

impl From<OrganizationRecord> for Organization {
    fn from(record: OrganizationRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            description: record.description,
            created_at: from_ms(record.created_ms),
            updated_at: from_ms(record.updated_ms),
            revision: record.revision,
        }
    }
}

pub(crate) const PREFIX: &str = "organization/";

/// Where the record is.
pub(crate) fn key(id: &OrgId) -> String {
    format!("{PREFIX}{id}")
}

/// Everybody who adds to an organization, or asks whether it is empty, touches this first.
pub(crate) fn members_guard(id: &OrgId) -> String {
    format!("members/{id}")
}

/// The organization, as the transaction sees it.
pub async fn organization_get(
    tx: &mut Transaction,
    id: &OrgId,
) -> Result<Option<Organization>, Error> {
    let record = tx.get::<OrganizationRecord>(&key(id)).await?;
    Ok(record.map(Into::into))
}

/// The organization, as it is now.
pub async fn organization_find(db: &Db, id: &OrgId) -> Result<Option<Organization>, Error> {
    let record = db.get::<OrganizationRecord>(&key(id)).await?;
    Ok(record.map(Into::into))
}

/// Creates or replaces.
pub fn organization_put(tx: &mut Transaction, organization: &Organization) -> Result<(), Error> {
    let record = OrganizationRecord::from(organization);
    Ok(tx.put(&key(&organization.id), &record)?)
}

/// Deletes the organization itself, and its limits.
pub fn organization_delete(tx: &mut Transaction, id: &OrgId) {
    forget(tx, &Scope::Org(id.clone()));
    tx.delete(&key(id));
    tx.delete(&members_guard(id));
}

/// One page, by id.
pub async fn organization_page(
    db: &Db,
    request: &PageRequest,
) -> Result<Page<Organization>, Error> {
    let page = page::<OrganizationRecord>(db, PREFIX, request).await?;
    Ok(Page {
        items: page.items.into_iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}
