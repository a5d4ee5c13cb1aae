//! Projects.

use photon_api::iam::v1 as api;
use photon_catalog::Effect;
use photon_resource::{
    Caller, Error, OrgId, Page, PageRequest, ProjectId, ResourceName, Scope, validate_description,
};

use super::sweep::Owner;
use super::{Core, expect_revision, now, require_org, tenant_of};
use crate::model::{Project, validate_display_name};
use crate::store::project as store;

/// The full name of a project: it is in itself, so that its own administrators reach it.
pub fn name(org: &OrgId, id: &ProjectId) -> ResourceName {
    ResourceName::new(Scope::Project(org.clone(), id.clone()), "projects", id)
}

/// Of which project a request speaks.
pub fn target(caller: &Caller, org_id: &str, id: &str) -> Result<(OrgId, ProjectId), Error> {
    Ok((tenant_of(caller, org_id)?, id.parse()?))
}

pub async fn create(
    core: &Core,
    caller: &Caller,
    request: &api::CreateProjectRequest,
) -> Result<api::CreateProjectResponse, Error> {
    let (org, id) = target(caller, &request.org_id, &request.id)?;
    let display = if request.name.is_empty() {
        &request.id
    } else {
        &request.name
    };
    validate_display_name(display)?;
    validate_description(&request.description)?;
    let created_at = now();
    let project = Project {
        org_id: org.clone(),
        id: id.clone(),
        name: display.clone(),
        description: request.description.clone(),
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    let mutation =
        core.mutations
            .start(caller, "iam:projects:create", &request.request_id, request)?;
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
                store::project_put(tx, project)?;
                Ok(Effect::at(
                    name(org, id),
                    store::key(org, id),
                    project.clone(),
                ))
            })
        },
        |project| api::CreateProjectResponse {
            project: Some(project.into()),
        },
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

pub async fn update(
    core: &Core,
    caller: &Caller,
    request: &api::UpdateProjectRequest,
) -> Result<api::UpdateProjectResponse, Error> {
    let (org, id) = target(caller, &request.org_id, &request.id)?;
    if let Some(name) = &request.name {
        validate_display_name(name)?;
    }
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    let mutation =
        core.mutations
            .start(caller, "iam:projects:update", &request.request_id, request)?;
    core.change(
        mutation,
        (org, id, request),
        |(org, id, request), tx| {
            Box::pin(async move {
                let before = store::project_get(tx, org, id)
                    .await?
                    .ok_or_else(|| Error::not_found("project", &id))?;
                expect_revision("project", &id, request.expected_revision, before.revision)?;
                let mut after = Project {
                    name: request.name.clone().unwrap_or_else(|| before.name.clone()),
                    description: request
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
                store::project_put(tx, &after)?;
                Ok(Effect::at(name(org, id), store::key(org, id), after))
            })
        },
        |project| api::UpdateProjectResponse {
            project: Some(project.into()),
        },
    )
    .await
}

/// Deletes a project and the bindings in it. What other services hold in the project is theirs to delete; nobody
/// can add to it any more.
pub async fn delete(
    core: &Core,
    caller: &Caller,
    request: &api::DeleteProjectRequest,
) -> Result<api::DeleteProjectResponse, Error> {
    let (org, id) = target(caller, &request.org_id, &request.id)?;
    let mutation =
        core.mutations
            .start(caller, "iam:projects:delete", &request.request_id, request)?;
    let owner = Owner::Project(org.clone(), id.clone());
    core.sweep(caller, request, &owner).await?;
    core.change(
        mutation,
        (org, id, owner),
        |(org, id, owner), tx| {
            Box::pin(async move {
                owner.take_along(tx).await?;
                store::project_delete(tx, org, id);
                Ok(Effect::at(name(org, id), store::key(org, id), ()))
            })
        },
        |()| api::DeleteProjectResponse {},
    )
    .await
}
