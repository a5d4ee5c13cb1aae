//! Bindings: who has which role where.

use std::time::SystemTime;

use photon_catalog::Effect;
use photon_resource::{BindingId, Error, Page, PageRequest, PrincipalId, ResourceName, Scope};
use photon_service::Mutation;

use super::{Core, bounds, ceiling, expect_revision, now, require_scope};
use crate::model::{Binding, BindingChanges, Principal, Role, home};
use crate::policy::built_in;
use crate::store::{binding as store, principal, role};

/// The full name of a binding: it is where it holds.
pub fn name(binding: &Binding) -> ResourceName {
    ResourceName::new(binding.scope.clone(), "bindings", binding.id)
}

/// The binding was created, changed or deleted.
fn stored(binding: Binding) -> Effect<Binding> {
    Effect::at(name(&binding), store::key(binding.id), binding)
}

/// A role to be given to a principal.
pub struct NewBinding {
    who: Principal,
    what: Role,
    scope: Scope,
    expires_at: Option<SystemTime>,
}

impl NewBinding {
    /// Without an end.
    ///
    /// Errors: `InvalidArgument` if the principal or the role is of another tenant than the scope's.
    pub fn new(who: Principal, what: Role, scope: Scope) -> Result<Self, Error> {
        check_tenancy(&scope, &who, &what)?;
        Ok(Self {
            who,
            what,
            scope,
            expires_at: None,
        })
    }

    /// The same, with this end; `None`: none.
    pub fn until(self, expires_at: Option<SystemTime>) -> Self {
        Self { expires_at, ..self }
    }
}

/// Refuses roles and principals of other tenants than the scope's.
fn check_tenancy(scope: &Scope, who: &Principal, what: &Role) -> Result<(), Error> {
    // An operator can be bound anywhere; a tenant's principal only in its own organization.
    if who.org_id.is_some() && !who.home().contains(scope) {
        return Err(Error::invalid(
            "scope",
            scope,
            format!(
                "'{}' or below, where principal '{}' belongs",
                who.home(),
                who.name
            ),
        ));
    }
    if !home(what.org_id.as_ref()).contains(scope) {
        return Err(Error::invalid(
            "scope",
            scope,
            format!(
                "'{}' or below, where role '{}' belongs",
                home(what.org_id.as_ref()),
                what.name
            ),
        ));
    }
    Ok(())
}

pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewBinding,
    answer: impl Fn(&Binding) -> A,
) -> Result<A, Error> {
    let NewBinding { who, what, .. } = new;
    let binding = Binding {
        id: BindingId::generate(),
        principal_id: who.id,
        role_id: what.id.clone(),
        scope: new.scope,
        created_at: now(),
        expires_at: new.expires_at,
        revision: 1,
    };
    let caller = mutation.caller().clone();
    core.change(
        mutation,
        (core, caller, who, what, binding),
        |(core, caller, who, what, binding), tx| {
            Box::pin(async move {
                // Whoever deletes the principal, changes or deletes the role, or deletes the project or organization
                // touches the same: one of the two comes first.
                tx.touch(&principal::credentials_guard(who.id)).await?;
                principal::principal_get(tx, who.id)
                    .await?
                    .ok_or_else(|| Error::not_found("principal", who.id))?;
                let role = bound_role(tx, &what.id).await?;
                require_scope(tx, &binding.scope).await?;
                let permissions = (role.id.as_str(), role.permissions.as_slice());
                bounds::check_binding(core, tx, who, permissions, &binding.scope).await?;
                let given = (role.name.as_str(), role.permissions.as_slice());
                let (name, end) = (name(binding), binding.expires_at);
                let (scope, action) = (&binding.scope, "iam:bindings:create");
                ceiling::check_permissions(core, caller, action, &name, given, scope, end).await?;
                store::binding_create(tx, binding)?;
                Ok(stored(binding.clone()))
            })
        },
        answer,
    )
    .await
}

/// The role as the transaction sees it, so that what is bound is what was checked.
async fn bound_role(tx: &mut flaredb::Transaction, id: &str) -> Result<Role, Error> {
    if let Some(role) = built_in(id) {
        return Ok(role.clone());
    }
    tx.touch(&role::bindings_guard(id)).await?;
    role::role_get(tx, id)
        .await?
        .ok_or_else(|| Error::not_found("role", id))
}

/// The binding. It may lie beyond the wall: see `Server::reveal`.
pub async fn find(core: &Core, id: &str) -> Result<Binding, Error> {
    let found = store::binding_find(&core.db, id.parse()?).await?;
    found.ok_or_else(|| Error::not_found("binding", id))
}

pub async fn list(
    core: &Core,
    scope: &Scope,
    principal: Option<PrincipalId>,
    page: &PageRequest,
) -> Result<Page<Binding>, Error> {
    store::binding_page(&core.db, scope, principal, page).await
}

/// Changes when a binding ends. To let it last longer is to give the role anew.
pub async fn update<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: BindingId,
    changes: BindingChanges,
    answer: impl Fn(&Binding) -> A,
) -> Result<A, Error> {
    let caller = mutation.caller().clone();
    core.change(
        mutation,
        (core, caller, id, changes),
        |(core, caller, id, changes), tx| {
            Box::pin(async move {
                let before = store::binding_get(tx, *id)
                    .await?
                    .ok_or_else(|| Error::not_found("binding", *id))?;
                expect_revision("binding", *id, changes.expected_revision, before.revision)?;
                let mut after = Binding {
                    expires_at: changes.expires_at.unwrap_or(before.expires_at),
                    ..before.clone()
                };
                if after == before {
                    return Ok(Effect::nothing(after));
                }
                after.revision += 1;
                let longer = match (before.expires_at, after.expires_at) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(before), Some(after)) => after > before,
                };
                if longer {
                    let role = bound_role(tx, &after.role_id).await?;
                    let given = (role.name.as_str(), role.permissions.as_slice());
                    let (scope, end, name) = (&after.scope, after.expires_at, name(&after));
                    let action = "iam:bindings:update";
                    ceiling::check_permissions(core, caller, action, &name, given, scope, end)
                        .await?;
                }
                store::binding_update(tx, &after)?;
                Ok(stored(after))
            })
        },
        answer,
    )
    .await
}

pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: BindingId,
) -> Result<A, Error> {
    core.change(
        mutation,
        id,
        |id, tx| {
            Box::pin(async move {
                let before = store::binding_get(tx, *id)
                    .await?
                    .ok_or_else(|| Error::not_found("binding", *id))?;
                store::binding_delete(tx, &before);
                Ok(stored(before))
            })
        },
        |_| A::default(),
    )
    .await
}
