//! Records that all components have.

use flaredb::Record;
use photon_resource::{Labels, Meta, OrgId, PrincipalId, ProjectId, Time};
use serde::{Deserialize, Serialize};

/// An index entry: the id of the resource that a key leads to, as the id prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub id: String,
}

impl Reference {
    /// To the resource with this id.
    pub fn to(id: impl std::fmt::Display) -> Self {
        Self { id: id.to_string() }
    }
}

impl Record for Reference {
    const KIND: &'static str = "index entry";
    const VERSION: u32 = 1;
}

/// The stored form of [`Meta`], a part of records.
#[derive(Serialize, Deserialize)]
pub struct MetaRecord {
    org_id: OrgId,
    project_id: ProjectId,
    owner: PrincipalId,
    name: String,
    description: String,
    labels: Labels,
    created_at: Time,
    updated_at: Time,
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
            created_at: meta.created_at,
            updated_at: meta.updated_at,
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
            created_at: record.created_at,
            updated_at: record.updated_at,
            revision: record.revision,
        }
    }
}
