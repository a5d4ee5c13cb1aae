//! Organizations.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, OrgId, PageRequest, ResourceName, Scope};

use super::Server;
use crate::app::organization as app;
use crate::convert;
use crate::model::{Organization, home};

/// The organization that is meant, if the caller may do `action` to it.
async fn reach(server: &Server, caller: &Caller, action: &str, id: &str) -> Result<OrgId, Error> {
    let org: OrgId = id.parse()?;
    let name = app::name(&org);
    server
        .wall(caller, action, &name, ("organization", id))
        .await?;
    server.guard.authorize(caller, action, &name, &[]).await?;
    Ok(org)
}

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreateOrganizationRequest,
) -> Result<CreateOrganizationResponse, Error> {
    const ACTION: &str = "iam:organizations:create";
    let all = ResourceName::any(Scope::System, "organizations");
    server.guard.authorize(caller, ACTION, &all, &[]).await?;
    let new = convert::new_organization(&request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |organization: &Organization| CreateOrganizationResponse {
        organization: Some(organization.into()),
    };
    app::create(&server.core, mutation, new, answer).await
}

pub async fn get(
    server: &Server,
    caller: &Caller,
    request: GetOrganizationRequest,
) -> Result<GetOrganizationResponse, Error> {
    let id = reach(server, caller, "iam:organizations:get", &request.id).await?;
    let organization = app::get(&server.core, &id).await?;
    Ok(GetOrganizationResponse {
        organization: Some((&organization).into()),
    })
}

pub async fn list(
    server: &Server,
    caller: &Caller,
    request: ListOrganizationsRequest,
) -> Result<ListOrganizationsResponse, Error> {
    let all = ResourceName::any(home(caller.claims.org_id.as_ref()), "organizations");
    server
        .guard
        .authorize(caller, "iam:organizations:list", &all, &[])
        .await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = app::list(&server.core, caller, &page).await?;
    Ok(ListOrganizationsResponse {
        organizations: page.items.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn update(
    server: &Server,
    caller: &Caller,
    request: UpdateOrganizationRequest,
) -> Result<UpdateOrganizationResponse, Error> {
    const ACTION: &str = "iam:organizations:update";
    let id = reach(server, caller, ACTION, &request.id).await?;
    let changes = convert::organization_changes(&request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |organization: &Organization| UpdateOrganizationResponse {
        organization: Some(organization.into()),
    };
    app::update(&server.core, mutation, id, changes, answer).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeleteOrganizationRequest,
) -> Result<DeleteOrganizationResponse, Error> {
    const ACTION: &str = "iam:organizations:delete";
    let id = reach(server, caller, ACTION, &request.id).await?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    app::delete(&server.core, mutation, id).await
}
