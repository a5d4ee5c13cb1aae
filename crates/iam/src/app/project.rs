//! Projects.

use photon_catalog::Effect;
use photon_resource::{Caller, Error, OrgId, Page, PageRequest, ProjectId, ResourceName, Scope};
use photon_service::Mutation;

use super::sweep::Owner;
use super::{Core, custodian, expect_revision, now, require_org, tenant_of};
use crate::model::{NewProject, Project, ProjectChanges};
use crate::store::project as store;
use crate::store::tombstone::{self, Deleted};

/// The full name of a project: it is in itself, so that its own administrators reach it.
pub fn name(org: &OrgId, id: &ProjectId) -> ResourceName {
    ResourceName::new(Scope::Project(org.clone(), id.clone()), "projects", id)
}

/// Of which project a request speaks.
pub fn target(caller: &Caller, org_id: &str, id: &str) -> Result<(OrgId, ProjectId), Error> {
    Ok((tenant_of(caller, org_id)?, id.parse()?))
}

pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewProject,
    answer: impl Fn(&Project) -> A,
) -> Result<A, Error> {
    let created_at = now();
    let project = Project {
        org_id: new.org_id,
        id: new.id,
        name: new.name,
        description: new.description,
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    core.change(
        mutation,
        project,
        |project, tx| {
            Box::pin(async move {
                let (org, id) = (&project.org_id, &project.id);
                require_org(tx, org).await?;
                if store::project_get(tx, org, id).await?.is_some() {
                    return Err(Error::already_exists("project", id));
                }
                tombstone::require_unused(tx, Deleted::Project(org, id)).await?;
                store::project_create(tx, project)?;
                Ok(Effect::at(
                    name(org, id),
                    store::key(org, id),
                    project.clone(),
                ))
            })
        },
        answer,
    )
    .await
}

pub async fn get(core: &Core, org: &OrgId, id: &ProjectId) -> Result<Project, Error> {
    store::project_find(&core.db, org, id)
        .await?
        .ok_or_else(|| Error::not_found("project", id))
}

pub async fn list(core: &Core, org: &OrgId, page: &PageRequest) -> Result<Page<Project>, Error> {
    store::project_page(&core.db, org, page).await
}

pub async fn update<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    (org, id): (OrgId, ProjectId),
    changes: ProjectChanges,
    answer: impl Fn(&Project) -> A,
) -> Result<A, Error> {
    core.change(
        mutation,
        (org, id, changes),
        |(org, id, changes), tx| {
            Box::pin(async move {
                let before = store::project_get(tx, org, id)
                    .await?
                    .ok_or_else(|| Error::not_found("project", &id))?;
                expect_revision("project", &id, changes.expected_revision, before.revision)?;
                let mut after = Project {
                    name: changes.name.clone().unwrap_or_else(|| before.name.clone()),
                    description: changes
                        .description
                        .clone()
                        .unwrap_or_else(|| before.description.clone()),
                    ..before.clone()
                };
                if after == before {
                    return Ok(Effect::nothing(after));
                }
                after.updated_at = now();
                after.revision += 1;
                store::project_update(tx, &after)?;
                Ok(Effect::at(name(org, id), store::key(org, id), after))
            })
        },
        answer,
    )
    .await
}

/// Deletes a project in which nothing is, with the bindings in it and the S3 keys for it. Its id is not given again.
///
/// Errors: `NotFound`; `InUse` saying what other servers hold in it, `Unavailable` if one of them can't be asked.
pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    (org, id): (OrgId, ProjectId),
) -> Result<A, Error> {
    // What is not there was perhaps deleted by this very call, made before: that is for the change to say.
    if store::project_find(&core.db, &org, &id).await?.is_some() {
        custodian::require_empty_project(core, &org, &id).await?;
    }
    let owner = Owner::Project(org.clone(), id.clone());
    core.sweep(mutation.caller(), &owner).await?;
    core.change(
        mutation,
        (org, id, owner),
        |(org, id, owner), tx| {
            Box::pin(async move {
                owner.take_along(tx).await?;
                store::project_delete(tx, org, id);
                tombstone::tombstone_put(tx, Deleted::Project(org, id), now())?;
                Ok(Effect::at(name(org, id), store::key(org, id), ()))
            })
        },
        |()| A::default(),
    )
    .await
}
