//! Principals and their passwords.

use flaredb::Transaction;
use photon_catalog::Effect;
use photon_resource::{
    Caller, Error, OrgId, Page, PageRequest, PrincipalId, PrincipalKind, ResourceName,
};
use photon_service::Mutation;

use super::sweep::Owner;
use super::{Core, ceiling, expect_revision, now, org_of, require_org, session};
use crate::credential::validate_password;
use crate::model::{NewPrincipal, Principal, PrincipalChanges, home, validate_principal_name};
use crate::store::principal as store;

/// The full name of a principal.
pub fn name(principal: &Principal) -> ResourceName {
    ResourceName::new(principal.home(), "principals", principal.id)
}

/// The principal of this id, or of this name in `org_id`. It may lie beyond the wall: see `Server::reveal`.
pub async fn find(
    core: &Core,
    caller: &Caller,
    id_or_name: &str,
    org_id: &str,
) -> Result<Principal, Error> {
    let found = if PrincipalId::looks_like(id_or_name) {
        store::principal_find(&core.db, id_or_name.parse()?).await?
    } else {
        validate_principal_name(id_or_name).map_err(|_| {
            Error::invalid("principal_id", id_or_name, "a principal's UUID or name")
        })?;
        let org = org_of(caller, org_id)?;
        store::principal_find_by_name(&core.db, org.as_ref(), id_or_name).await?
    };
    found.ok_or_else(|| Error::not_found("principal", id_or_name))
}

/// The principal, for a change of it.
async fn get(tx: &mut Transaction, id: PrincipalId) -> Result<Principal, Error> {
    store::principal_get(tx, id)
        .await?
        .ok_or_else(|| Error::not_found("principal", id))
}

/// The principal was created, changed or deleted. (The digests in its event are of its record, in which a password is
/// a salted hash.)
fn stored(principal: Principal) -> Effect<Principal> {
    Effect::at(name(&principal), store::key(principal.id), principal)
}

pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewPrincipal,
    answer: impl Fn(&Principal) -> A,
) -> Result<A, Error> {
    let password_hash = match new.password.as_str() {
        "" => None,
        password => {
            let source = &mutation.caller().source;
            Some(core.passwords.hash(password, source).await?)
        }
    };
    let created_at = now();
    let principal = Principal {
        id: PrincipalId::generate(),
        org_id: new.org_id,
        name: new.name,
        kind: new.kind,
        description: new.description,
        disabled: false,
        node: (new.kind == PrincipalKind::Node).then_some(new.node),
        password_hash,
        token_generation: 0,
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    core.change(
        mutation,
        principal,
        |principal, tx| {
            Box::pin(async move {
                let org = principal.org_id.clone();
                if let Some(org) = &org {
                    require_org(tx, org).await?;
                }
                if store::principal_named(tx, org.as_ref(), &principal.name)
                    .await?
                    .is_some()
                {
                    return Err(Error::already_exists("principal", &principal.name));
                }
                store::principal_create(tx, principal)?;
                Ok(stored(principal.clone()))
            })
        },
        answer,
    )
    .await
}

/// One page of an organization's, or of the system's, and of one kind if one is given. A page can hold fewer than
/// were asked for and still have a next one.
pub async fn list(
    core: &Core,
    org: Option<&OrgId>,
    kind: Option<PrincipalKind>,
    page: &PageRequest,
) -> Result<Page<Principal>, Error> {
    let mut page = store::principal_page(&core.db, org, page).await?;
    if let Some(kind) = kind {
        page.items.retain(|principal| principal.kind == kind);
    }
    Ok(page)
}

pub async fn update<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: PrincipalId,
    changes: PrincipalChanges,
    answer: impl Fn(&Principal) -> A,
) -> Result<A, Error> {
    core.change(
        mutation,
        (id, changes),
        |(id, changes), tx| {
            Box::pin(async move {
                let before = get(tx, *id).await?;
                expect_revision("principal", *id, changes.expected_revision, before.revision)?;
                let mut after = Principal {
                    name: changes.name.clone().unwrap_or_else(|| before.name.clone()),
                    description: changes
                        .description
                        .clone()
                        .unwrap_or_else(|| before.description.clone()),
                    disabled: changes.disabled.unwrap_or(before.disabled),
                    ..before.clone()
                };
                if after == before {
                    return Ok(Effect::nothing(after));
                }
                after.updated_at = now();
                after.revision += 1;
                if after.disabled && !before.disabled {
                    session::end_with_owner(tx, *id).await?;
                }
                if before.name == after.name {
                    store::principal_update(tx, &after)?;
                } else {
                    let org = before.org_id.as_ref();
                    let taken = store::principal_named(tx, org, &after.name).await?;
                    if taken.is_some() {
                        return Err(Error::already_exists("principal", &after.name));
                    }
                    store::principal_rename(tx, &before.name, &after)?;
                }
                Ok(stored(after))
            })
        },
        answer,
    )
    .await
}

/// Errors: `FailedPrecondition` for whoever would disable itself.
pub fn check_changes(
    caller: &Caller,
    id: PrincipalId,
    changes: &PrincipalChanges,
) -> Result<(), Error> {
    if changes.disabled == Some(true) && id == caller.claims.principal_id {
        return Err(Error::FailedPrecondition(
            "you can't disable yourself: let somebody else do it".into(),
        ));
    }
    Ok(())
}

/// The id of a principal that the caller can delete: any but its own.
///
/// Errors: `FailedPrecondition`.
pub fn deletable(caller: &Caller, principal: &Principal) -> Result<PrincipalId, Error> {
    if principal.id == caller.claims.principal_id {
        return Err(Error::FailedPrecondition(
            "you can't delete yourself: let somebody else do it".into(),
        ));
    }
    Ok(principal.id)
}

/// Deletes a principal with its credentials and bindings.
pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: PrincipalId,
) -> Result<A, Error> {
    let owner = Owner::Principal(id);
    core.sweep(mutation.caller(), &owner).await?;
    core.change(
        mutation,
        (id, owner),
        |(id, owner), tx| {
            Box::pin(async move {
                owner.take_along(tx).await?;
                let before = get(tx, *id).await?;
                store::principal_delete(tx, &before);
                Ok(stored(before))
            })
        },
        |_| A::default(),
    )
    .await
}

/// A password for a user.
pub struct NewPassword {
    /// The one that it replaces; who sets another user's need not know it.
    current: String,
    new: String,
}

impl NewPassword {
    /// Errors: `FailedPrecondition` if `principal` is no user, `InvalidArgument` for a password that won't do.
    pub fn new(principal: &Principal, current: String, new: String) -> Result<Self, Error> {
        if principal.kind != PrincipalKind::User {
            return Err(Error::FailedPrecondition(format!(
                "'{}' is not a user: programs sign in with an API key",
                principal.name
            )));
        }
        validate_password("new_password", &new)?;
        Ok(Self { current, new })
    }
}

/// Sets a user's password, ends its sessions and makes the tokens that it has useless: whoever changes a password may do so because
/// somebody else knows it.
pub async fn set_password<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    principal: &Principal,
    password: NewPassword,
) -> Result<A, Error> {
    let id = principal.id;
    // Before the current password is asked for: it is not the current one any more when the call is repeated.
    if let Some(done) = mutation.replay(&mut core.db.begin()).await? {
        return Ok(done);
    }
    let caller = mutation.caller();
    if id == caller.claims.principal_id {
        super::sign_in::check_password(core, principal, &password.current, &caller.source).await?;
    } else {
        let action = "iam:principals:update";
        ceiling::check_principal(core, caller, action, &name(principal), id).await?;
    }
    let password_hash = core.passwords.hash(&password.new, &caller.source).await?;
    core.change(
        mutation,
        (id, password_hash),
        |(id, password_hash), tx| {
            Box::pin(async move {
                let before = get(tx, *id).await?;
                session::end_with_owner(tx, *id).await?;
                let after = Principal {
                    password_hash: Some(password_hash.clone()),
                    token_generation: before.token_generation + 1,
                    updated_at: now(),
                    revision: before.revision + 1,
                    ..before
                };
                store::principal_update(tx, &after)?;
                Ok(stored(after))
            })
        },
        |_| A::default(),
    )
    .await
}

/// Whether a list of an organization's principals is of the system's; for messages and names.
pub fn any(org: Option<&OrgId>) -> ResourceName {
    ResourceName::any(home(org), "principals")
}
