//! The stored form of what all resources have.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use photon_resource::{OrgId, PrincipalId, ProjectId};
use serde::{Deserialize, Serialize};

use crate::model::{Labels, Meta};

#[derive(Serialize, Deserialize)]
pub(super) struct MetaRecord {
    org_id: OrgId,
    project_id: ProjectId,
    owner: PrincipalId,
    name: String,
    description: String,
    labels: Labels,
    /// Microseconds since 1970.
    created_at: u64,
    updated_at: u64,
    revision: u64,
}

impl From<&Meta> for MetaRecord {
    fn from(meta: &Meta) -> Self {
        Self {
            org_id: meta.org_id.clone(),
            project_id: meta.project_id.clone(),
            owner: meta.owner,
            name: meta.name.clone(),
            description: meta.description.clone(),
            labels: meta.labels.clone(),
            created_at: to_micros(meta.created_at),
            updated_at: to_micros(meta.updated_at),
            revision: meta.revision,
        }
    }
}

impl From<MetaRecord> for Meta {
    fn from(record: MetaRecord) -> Self {
        Self {
            org_id: record.org_id,
            project_id: record.project_id,
            owner: record.owner,
            name: record.name,
            description: record.description,
            labels: record.labels,
            created_at: from_micros(record.created_at),
            updated_at: from_micros(record.updated_at),
            revision: record.revision,
        }
    }
}

fn to_micros(time: SystemTime) -> u64 {
    // A clock before 1970 is a broken one; the year 584,000 is far.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn from_micros(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}
