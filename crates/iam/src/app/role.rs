//! Roles: built-in ones, which are part of the program, and custom ones.

use std::collections::BTreeSet;

use photon_catalog::Effect;
use photon_resource::{Caller, Error, OrgId, Page, PageRequest, ResourceName, RoleId};
use photon_service::Mutation;

use super::{Core, bounds, ceiling, expect_revision, now, org_of, require_org};
use crate::model::{NewRole, Role, RoleChanges, home, validate_role_name};
use crate::policy::{built_in, built_in_roles};
use crate::store::{binding, role as store};

/// The full name of a role. A built-in one is wherever the caller is: everybody who may read roles there may read
/// it.
pub fn name(caller: &Caller, role: &Role) -> ResourceName {
    let org = match role.built_in {
        true => caller.claims.org_id.as_ref(),
        false => role.org_id.as_ref(),
    };
    ResourceName::new(home(org), "roles", &role.id)
}

/// The role was created, changed or deleted.
fn stored(caller: &Caller, role: Role) -> Effect<Role> {
    Effect::at(name(caller, &role), store::key(&role.id), role)
}

/// The role of this id, or of this name, which is a built-in role's or one in `org_id`. It may lie beyond the wall:
/// see `Server::reveal`.
pub async fn find(
    core: &Core,
    caller: &Caller,
    id_or_name: &str,
    org_id: &str,
) -> Result<Role, Error> {
    if let Some(role) = built_in(id_or_name) {
        return Ok(role.clone());
    }
    let absent = || Error::not_found("role", id_or_name);
    let id = if RoleId::looks_like(id_or_name) {
        id_or_name.to_ascii_lowercase()
    } else {
        validate_role_name(id_or_name)
            .map_err(|_| Error::invalid("role_id", id_or_name, "a role's UUID or name"))?;
        let org = org_of(caller, org_id)?;
        store::role_find_id(&core.db, org.as_ref(), id_or_name)
            .await?
            .ok_or_else(absent)?
    };
    store::role_find(&core.db, &id).await?.ok_or_else(absent)
}

pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewRole,
    answer: impl Fn(&Role) -> A,
) -> Result<A, Error> {
    let created_at = now();
    let role = Role {
        id: RoleId::generate().to_string(),
        org_id: new.org_id,
        name: new.name,
        description: new.description,
        permissions: new.permissions,
        built_in: false,
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    let caller = mutation.caller().clone();
    core.change(
        mutation,
        (caller, role),
        |(caller, role), tx| {
            Box::pin(async move {
                let org = role.org_id.clone();
                if let Some(org) = &org {
                    require_org(tx, org).await?;
                }
                if store::role_named(tx, org.as_ref(), &role.name)
                    .await?
                    .is_some()
                {
                    return Err(Error::already_exists("role", &role.name));
                }
                store::role_create(tx, role)?;
                Ok(stored(caller, role.clone()))
            })
        },
        answer,
    )
    .await
}

/// Built-in roles come first, on the first page, over and above its size.
pub async fn list(
    core: &Core,
    org: Option<&OrgId>,
    page: &PageRequest,
) -> Result<Page<Role>, Error> {
    let mut custom = store::role_page(&core.db, org, page).await?;
    if page.after.is_none() {
        custom.items.splice(0..0, built_in_roles().iter().cloned());
    }
    Ok(custom)
}

/// The role, if it can be changed and deleted.
///
/// Errors: `FailedPrecondition` for a built-in one.
pub fn custom(role: Role) -> Result<Role, Error> {
    if role.built_in {
        return Err(Error::FailedPrecondition(format!(
            "role '{}' is built in: make a custom role instead",
            role.name
        )));
    }
    Ok(role)
}

/// Changes a custom role. Where it is bound already, nobody can widen it beyond what they may do there themselves.
pub async fn update<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    role: &Role,
    changes: RoleChanges,
    answer: impl Fn(&Role) -> A,
) -> Result<A, Error> {
    let caller = mutation.caller().clone();
    let name = name(&caller, role);
    core.change(
        mutation,
        (core, caller, name, role, changes),
        |(core, caller, name, role, changes), tx| {
            Box::pin(async move {
                tx.touch(&store::bindings_guard(&role.id)).await?;
                let before = store::role_get(tx, &role.id)
                    .await?
                    .ok_or_else(|| Error::not_found("role", &role.id))?;
                expect_revision("role", &role.id, changes.expected_revision, before.revision)?;
                let mut after = Role {
                    name: changes.name.clone().unwrap_or_else(|| before.name.clone()),
                    description: changes
                        .description
                        .clone()
                        .unwrap_or_else(|| before.description.clone()),
                    permissions: changes
                        .permissions
                        .clone()
                        .unwrap_or_else(|| before.permissions.clone()),
                    ..before.clone()
                };
                if after == before {
                    return Ok(Effect::nothing(after));
                }
                after.updated_at = now();
                after.revision += 1;
                if after.name != before.name
                    && store::role_named(tx, before.org_id.as_ref(), &after.name)
                        .await?
                        .is_some()
                {
                    return Err(Error::already_exists("role", &after.name));
                }
                if after.permissions != before.permissions {
                    let bindings = binding::binding_of_role(tx, &role.id).await?;
                    let who: BTreeSet<_> = bindings.iter().map(|it| it.principal_id).collect();
                    for who in who {
                        let permissions = &after.permissions;
                        bounds::check_with(core, who, Some(&role.id), permissions).await?;
                    }
                    for bound in bindings {
                        let given = (after.name.as_str(), after.permissions.as_slice());
                        ceiling::check_permissions(
                            core,
                            caller,
                            "iam:roles:update",
                            name,
                            given,
                            &bound.scope,
                            bound.expires_at,
                        )
                        .await?;
                    }
                }
                store::role_update(tx, &before.name, &after)?;
                Ok(stored(caller, after))
            })
        },
        answer,
    )
    .await
}

/// Deletes a custom role that nobody has.
pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    role: &Role,
) -> Result<A, Error> {
    let caller = mutation.caller().clone();
    core.change(
        mutation,
        (caller, role),
        |(caller, role), tx| {
            Box::pin(async move {
                tx.touch(&store::bindings_guard(&role.id)).await?;
                let before = store::role_get(tx, &role.id)
                    .await?
                    .ok_or_else(|| Error::not_found("role", &role.id))?;
                let bound = binding::binding_of_role(tx, &role.id).await?.len();
                if bound > 0 {
                    return Err(Error::in_use(
                        "role",
                        &before.id,
                        format!(
                            "role '{}' is used by {bound} bindings: delete them first",
                            before.name
                        ),
                    ));
                }
                store::role_delete(tx, &before);
                Ok(stored(caller, before))
            })
        },
        |_| A::default(),
    )
    .await
}
