//! Projects.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, OrgId, PageRequest, ProjectId, ResourceName, Scope};

use super::Server;
use crate::app::{project as app, tenant_of};
use crate::convert;
use crate::model::Project;

/// The project that is meant, if the caller may do `action` to it.
async fn reach(
    server: &Server,
    caller: &Caller,
    action: &str,
    (org_id, id): (&str, &str),
) -> Result<(OrgId, ProjectId), Error> {
    let (org, project) = app::target(caller, org_id, id)?;
    let name = app::name(&org, &project);
    server.wall(caller, action, &name, ("project", id)).await?;
    server.guard.authorize(caller, action, &name, &[]).await?;
    Ok((org, project))
}

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreateProjectRequest,
) -> Result<CreateProjectResponse, Error> {
    const ACTION: &str = "iam:projects:create";
    let org = tenant_of(caller, &request.org_id)?;
    let all = ResourceName::any(Scope::Org(org.clone()), "projects");
    server.guard.authorize(caller, ACTION, &all, &[]).await?;
    let new = convert::new_project(org, &request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |project: &Project| CreateProjectResponse {
        project: Some(project.into()),
    };
    app::create(&server.core, mutation, new, answer).await
}

pub async fn get(
    server: &Server,
    caller: &Caller,
    request: GetProjectRequest,
) -> Result<GetProjectResponse, Error> {
    let target = (request.org_id.as_str(), request.id.as_str());
    let (org, id) = reach(server, caller, "iam:projects:get", target).await?;
    let project = app::get(&server.core, &org, &id).await?;
    Ok(GetProjectResponse {
        project: Some((&project).into()),
    })
}

pub async fn list(
    server: &Server,
    caller: &Caller,
    request: ListProjectsRequest,
) -> Result<ListProjectsResponse, Error> {
    let org = tenant_of(caller, &request.org_id)?;
    let all = ResourceName::any(Scope::Org(org.clone()), "projects");
    server
        .guard
        .authorize(caller, "iam:projects:list", &all, &[])
        .await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = app::list(&server.core, &org, &page).await?;
    let describe = |it: &Project| (app::name(&it.org_id, &it.id), Vec::new());
    let shown = server.shown(caller, "iam:projects:get", &all, page.items, describe);
    Ok(ListProjectsResponse {
        projects: shown.await?.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn update(
    server: &Server,
    caller: &Caller,
    request: UpdateProjectRequest,
) -> Result<UpdateProjectResponse, Error> {
    const ACTION: &str = "iam:projects:update";
    let target = (request.org_id.as_str(), request.id.as_str());
    let target = reach(server, caller, ACTION, target).await?;
    let changes = convert::project_changes(&request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |project: &Project| UpdateProjectResponse {
        project: Some(project.into()),
    };
    app::update(&server.core, mutation, target, changes, answer).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeleteProjectRequest,
) -> Result<DeleteProjectResponse, Error> {
    const ACTION: &str = "iam:projects:delete";
    let target = (request.org_id.as_str(), request.id.as_str());
    let target = reach(server, caller, ACTION, target).await?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    app::delete(&server.core, mutation, target).await
}
