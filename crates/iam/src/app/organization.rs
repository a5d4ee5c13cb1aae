//! Organizations.

use photon_catalog::Effect;
use photon_resource::{Caller, Error, OrgId, Page, PageRequest, ResourceName, Scope};
use photon_service::Mutation;

use super::sweep::Owner;
use super::{Core, custodian, expect_revision, now};
use crate::model::{NewOrganization, Organization, OrganizationChanges};
use crate::store::organization as store;
use crate::store::tombstone::{self, Deleted};

/// The full name of an organization: it is in itself, so that its own administrators reach it.
pub fn name(id: &OrgId) -> ResourceName {
    ResourceName::new(Scope::Org(id.clone()), "organizations", id)
}

pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewOrganization,
    answer: impl Fn(&Organization) -> A,
) -> Result<A, Error> {
    let created_at = now();
    let organization = Organization {
        id: new.id,
        name: new.name,
        description: new.description,
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    core.change(
        mutation,
        organization,
        |organization, tx| {
            Box::pin(async move {
                let id = organization.id.clone();
                if store::organization_get(tx, &id).await?.is_some() {
                    return Err(Error::already_exists("organization", &id));
                }
                tombstone::require_unused(tx, Deleted::Organization(&id)).await?;
                store::organization_put(tx, organization)?;
                Ok(Effect::at(name(&id), store::key(&id), organization.clone()))
            })
        },
        answer,
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

pub async fn update<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: OrgId,
    changes: OrganizationChanges,
    answer: impl Fn(&Organization) -> A,
) -> Result<A, Error> {
    core.change(
        mutation,
        (id, changes),
        |(id, changes), tx| {
            Box::pin(async move {
                let before = store::organization_get(tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("organization", &id))?;
                expect_revision(
                    "organization",
                    &id,
                    changes.expected_revision,
                    before.revision,
                )?;
                let mut after = Organization {
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
                store::organization_put(tx, &after)?;
                Ok(Effect::at(name(id), store::key(id), after))
            })
        },
        answer,
    )
    .await
}

/// Deletes an organization without projects and principals, with its roles and what operators were bound to in it.
/// Its id is not given again.
///
/// Errors: `NotFound`, `FailedPrecondition`; `InUse` saying what other servers hold of it (of projects that were deleted when
/// nobody asked them), `Unavailable` if one of them can't be asked.
pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: OrgId,
) -> Result<A, Error> {
    let owner = Owner::Organization(id.clone());
    // Why it can't be deleted is for the change to say, which this very call may have made before.
    if owner.check(&mut core.db.begin()).await.is_ok() {
        custodian::require_empty_organization(core, &id).await?;
    }
    core.sweep(mutation.caller(), &owner).await?;
    core.change(
        mutation,
        (id, owner),
        |(id, owner), tx| {
            Box::pin(async move {
                owner.take_along(tx).await?;
                store::organization_delete(tx, id);
                tombstone::tombstone_put(tx, Deleted::Organization(id), now())?;
                Ok(Effect::at(name(id), store::key(id), ()))
            })
        },
        |()| A::default(),
    )
    .await
}
