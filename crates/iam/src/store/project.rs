//! Projects.

use flaredb::{Db, Record, Transaction};
use photon_catalog::quota::forget;
use photon_resource::{Error, OrgId, Page, PageRequest, ProjectId, Scope};
use serde::{Deserialize, Serialize};

use super::{from_ms, page, to_ms, usage};
use crate::model::Project;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectRecord {
    org_id: OrgId,
    id: ProjectId,
    name: String,
    description: String,
    created_ms: u64,
    updated_ms: u64,
    revision: u64,
}

impl Record for ProjectRecord {
    const KIND: &'static str = "project";
    const VERSION: u32 = 1;
}

impl From<&Project> for ProjectRecord {
    fn from(project: &Project) -> Self {
        Self {
            org_id: project.org_id.clone(),
            id: project.id.clone(),
            name: project.name.clone(),
            description: project.description.clone(),
            created_ms: to_ms(project.created_at),
            updated_ms: to_ms(project.updated_at),
            revision: project.revision,
        }
    }
}

impl From<ProjectRecord> for Project {
    fn from(record: ProjectRecord) -> Self {
        Self {
            org_id: record.org_id,
            id: record.id,
            name: record.name,
            description: record.description,
            created_at: from_ms(record.created_ms),
            updated_at: from_ms(record.updated_ms),
            revision: record.revision,
        }
    }
}

pub(crate) const PREFIX: &str = "project/";

/// Where the record is.
pub(crate) fn key(org: &OrgId, id: &ProjectId) -> String {
    format!("{PREFIX}{org}/{id}")
}

/// The project, as the transaction sees it.
pub async fn project_get(
    tx: &mut Transaction,
    org: &OrgId,
    id: &ProjectId,
) -> Result<Option<Project>, Error> {
    let record = tx.get::<ProjectRecord>(&key(org, id)).await?;
    Ok(record.map(Into::into))
}

/// The project, as it is now.
pub async fn project_find(db: &Db, org: &OrgId, id: &ProjectId) -> Result<Option<Project>, Error> {
    let record = db.get::<ProjectRecord>(&key(org, id)).await?;
    Ok(record.map(Into::into))
}

/// Creates.
pub fn project_create(tx: &mut Transaction, project: &Project) -> Result<(), Error> {
    usage::take(tx, &Scope::Org(project.org_id.clone()), usage::PROJECTS);
    project_update(tx, project)
}

/// Replaces.
pub fn project_update(tx: &mut Transaction, project: &Project) -> Result<(), Error> {
    let record = ProjectRecord::from(project);
    Ok(tx.put(&key(&project.org_id, &project.id), &record)?)
}

/// Deletes the project itself, which is there, and its limits.
pub fn project_delete(tx: &mut Transaction, org: &OrgId, id: &ProjectId) {
    usage::give_back(tx, &Scope::Org(org.clone()), usage::PROJECTS);
    forget(tx, &Scope::Project(org.clone(), id.clone()));
    tx.delete(&key(org, id));
}

/// Whether the organization has a project; guard it with the organization's members.
pub async fn project_any(tx: &mut Transaction, org: &OrgId) -> Result<bool, Error> {
    let found = tx
        .scan::<ProjectRecord>(&format!("{PREFIX}{org}/"), 1)
        .await?;
    Ok(!found.is_empty())
}

/// One page of an organization's, by id.
pub async fn project_page(
    db: &Db,
    org: &OrgId,
    request: &PageRequest,
) -> Result<Page<Project>, Error> {
    let page = page::<ProjectRecord>(db, &format!("{PREFIX}{org}/"), request).await?;
    Ok(Page {
        items: page.items.into_iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}
