//! Organizations.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, OrgId, PageRequest, ResourceName, Scope};

use super::Server;
use crate::app::organization as app;
use crate::model::home;

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreateOrganizationRequest,
) -> Result<CreateOrganizationResponse, Error> {
    let all = ResourceName::any(Scope::System, "organizations");
    server
        .guard
        .authorize(caller, "iam:organizations:create", &all, &[])
        .await?;
    app::create(&server.core, caller, &request).await
}

pub async fn get(
    server: &Server,
    caller: &Caller,
    request: GetOrganizationRequest,
) -> Result<GetOrganizationResponse, Error> {
    let id: OrgId = request.id.parse()?;
    server
        .guard
        .authorize(caller, "iam:organizations:get", &app::name(&id), &[])
        .await?;
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
    let name = app::name(&request.id.parse()?);
    server
        .guard
        .authorize(caller, "iam:organizations:update", &name, &[])
        .await?;
    app::update(&server.core, caller, &request).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeleteOrganizationRequest,
) -> Result<DeleteOrganizationResponse, Error> {
    let name = app::name(&request.id.parse()?);
    server
        .guard
        .authorize(caller, "iam:organizations:delete", &name, &[])
        .await?;
    app::delete(&server.core, caller, &request).await
}
