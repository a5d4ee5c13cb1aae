//! Organizations.

use photon_api::iam::v1 as api;
use photon_catalog::Effect;
use photon_resource::{
    Caller, Error, OrgId, Page, PageRequest, ResourceName, Scope, validate_description,
};

use super::sweep::Owner;
use super::{Core, expect_revision, now};
use crate::model::{Organization, validate_display_name};
use crate::store::organization as store;

/// The full name of an organization: it is in itself, so that its own administrators reach it.
pub fn name(id: &OrgId) -> ResourceName {
    ResourceName::new(Scope::Org(id.clone()), "organizations", id)
}

pub async fn create(
    core: &Core,
    caller: &Caller,
    request: &api::CreateOrganizationRequest,
) -> Result<api::CreateOrganizationResponse, Error> {
    let id: OrgId = request.id.parse()?;
    let display = if request.name.is_empty() {
        &request.id
    } else {
        &request.name
    };
    validate_display_name(display)?;
    validate_description(&request.description)?;
    let created_at = now();
    let organization = Organization {
        id: id.clone(),
        name: display.clone(),
        description: request.description.clone(),
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    let mutation = core.mutations.start(
        caller,
        "iam:organizations:create",
        &request.request_id,
        request,
    )?;
    core.change(
        mutation,
        organization,
        |organization, tx| {
            Box::pin(async move {
                let id = organization.id.clone();
                if store::organization_get(tx, &id).await?.is_some() {
                    return Err(Error::already_exists("organization", &id));
                }
                store::organization_put(tx, organization)?;
                Ok(Effect::at(name(&id), store::key(&id), organization.clone()))
            })
        },
        |organization| api::CreateOrganizationResponse {
            organization: Some(organization.into()),
        },
    )
    .await
}

pub async fn get(core: &Core, id: &OrgId) -> Result<Organization, Error> {
    store::organization_find(&core.db, id)
        .await?
        .ok_or_else(|| Error::not_found("organization", id))
}

/// All for an operator; for a tenant its own.
pub async fn list(
    core: &Core,
    caller: &Caller,
    page: &PageRequest,
) -> Result<Page<Organization>, Error> {
    match &caller.claims.org_id {
        None => store::organization_page(&core.db, page).await,
        Some(org) => {
            let own = store::organization_find(&core.db, org).await?;
            let rest = page.after_in(store::PREFIX)?.is_some();
            Ok(Page {
                items: own.into_iter().filter(|_| !rest).collect(),
                next_page_token: String::new(),
            })
        }
    }
}

pub async fn update(
    core: &Core,
    caller: &Caller,
    request: &api::UpdateOrganizationRequest,
) -> Result<api::UpdateOrganizationResponse, Error> {
    let id: OrgId = request.id.parse()?;
    if let Some(name) = &request.name {
        validate_display_name(name)?;
    }
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    let mutation = core.mutations.start(
        caller,
        "iam:organizations:update",
        &request.request_id,
        request,
    )?;
    core.change(
        mutation,
        (id, request),
        |(id, request), tx| {
            Box::pin(async move {
                let before = store::organization_get(tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("organization", &id))?;
                expect_revision(
                    "organization",
                    &id,
                    request.expected_revision,
                    before.revision,
                )?;
                let mut after = Organization {
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
                store::organization_put(tx, &after)?;
                Ok(Effect::at(name(id), store::key(id), after))
            })
        },
        |organization| api::UpdateOrganizationResponse {
            organization: Some(organization.into()),
        },
    )
    .await
}

/// Deletes an organization without projects and principals, with its roles and what operators were bound to in it.
pub async fn delete(
    core: &Core,
    caller: &Caller,
    request: &api::DeleteOrganizationRequest,
) -> Result<api::DeleteOrganizationResponse, Error> {
    let id: OrgId = request.id.parse()?;
    let mutation = core.mutations.start(
        caller,
        "iam:organizations:delete",
        &request.request_id,
        request,
    )?;
    let owner = Owner::Organization(id.clone());
    core.sweep(caller, request, &owner).await?;
    core.change(
        mutation,
        (id, owner),
        |(id, owner), tx| {
            Box::pin(async move {
                owner.take_along(tx).await?;
                store::organization_delete(tx, id);
                Ok(Effect::at(name(id), store::key(id), ()))
            })
        },
        |()| api::DeleteOrganizationResponse {},
    )
    .await
}
