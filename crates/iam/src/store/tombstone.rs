//! Ids of organizations and projects that were deleted, which are never given again.
//!
//! Other servers keep what a tenant has under these ids, and so do the event logs: whoever got an id anew would get what is left
//! there. A tombstone is one record of some fifty bytes for each deleted id and stays forever; the deletion's own event, which
//! stays as well, is larger.

use std::time::SystemTime;

use flaredb::{Record, Transaction};
use photon_resource::{Error, OrgId, ProjectId};
use serde::{Deserialize, Serialize};

use super::to_ms;

/// That something of this id was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TombstoneRecord {
    deleted_ms: u64,
}

impl Record for TombstoneRecord {
    const KIND: &'static str = "tombstone";
    const VERSION: u32 = 1;
}

/// Whose id it was.
#[derive(Clone, Copy, Debug)]
pub enum Deleted<'a> {
    /// An organization.
    Organization(&'a OrgId),
    /// A project of an organization.
    Project(&'a OrgId, &'a ProjectId),
}

impl Deleted<'_> {
    fn key(self) -> String {
        match self {
            Deleted::Organization(id) => format!("deleted-organization/{id}"),
            Deleted::Project(org, id) => format!("deleted-project/{org}/{id}"),
        }
    }
}

/// Keeps the id from being given again.
pub fn tombstone_put(
    tx: &mut Transaction,
    what: Deleted<'_>,
    when: SystemTime,
) -> Result<(), Error> {
    let deleted_ms = to_ms(when);
    Ok(tx.put(&what.key(), &TombstoneRecord { deleted_ms })?)
}

/// Refuses an id that was used.
///
/// Errors: `Retired`.
pub async fn require_unused(tx: &mut Transaction, what: Deleted<'_>) -> Result<(), Error> {
    match tx.get::<TombstoneRecord>(&what.key()).await? {
        None => Ok(()),
        Some(_) => Err(match what {
            Deleted::Organization(id) => Error::retired("organization", id),
            Deleted::Project(_, id) => Error::retired("project", id),
        }),
    }
}
