//! Principals and their passwords.

use flaredb::Transaction;
use photon_api::iam::v1 as api;
use photon_catalog::Effect;
use photon_resource::{
    Caller, Error, OrgId, Page, PageRequest, PrincipalId, PrincipalKind, ResourceName,
    validate_description,
};

use super::sweep::Owner;
use super::{Core, ceiling, expect_revision, now, org_of, require_org};
use crate::convert;
use crate::credential::validate_password;
use crate::model::{Principal, home, validate_principal_name};
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

/// What is created, apart from the name.
fn validate_create(request: &api::CreatePrincipalRequest) -> Result<PrincipalKind, Error> {
    validate_principal_name(&request.name)?;
    validate_description(&request.description)?;
    let kind = convert::principal_kind(request.kind)?;
    if kind == PrincipalKind::Node {
        photon_resource::validate_resource_name("node", &request.node)?;
    } else if !request.node.is_empty() {
        return Err(Error::invalid(
            "node",
            &request.node,
            "none, because the kind is not NODE",
        ));
    }
    if kind == PrincipalKind::User {
        if !request.password.is_empty() {
            validate_password("password", &request.password)?;
        }
    } else if !request.password.is_empty() {
        return Err(Error::invalid(
            "password",
            "(hidden)",
            "none, because the kind is not USER: programs sign in with an API key",
        ));
    }
    Ok(kind)
}

pub async fn create(
    core: &Core,
    caller: &Caller,
    request: &api::CreatePrincipalRequest,
) -> Result<api::CreatePrincipalResponse, Error> {
    let org = org_of(caller, &request.org_id)?;
    let kind = validate_create(request)?;
    if let (Some(_), PrincipalKind::Node | PrincipalKind::Service) = (&org, kind) {
        return Err(Error::invalid(
            "kind",
            convert::principal_kind_name(kind),
            "USER or SERVICE_ACCOUNT in an organization: hosts and servers belong to the system",
        ));
    }
    let password_hash = match request.password.as_str() {
        "" => None,
        password => Some(core.passwords.hash(password).await?),
    };
    let created_at = now();
    let principal = Principal {
        id: PrincipalId::generate(),
        org_id: org.clone(),
        name: request.name.clone(),
        kind,
        description: request.description.clone(),
        disabled: false,
        node: (kind == PrincipalKind::Node).then(|| request.node.clone()),
        password_hash,
        token_generation: 0,
        created_at,
        updated_at: created_at,
        revision: 1,
    };
    let mutation = core.mutations.start(
        caller,
        "iam:principals:create",
        &request.request_id,
        // A digest of the request is stored, and one of a password could be guessed from.
        &api::CreatePrincipalRequest {
            password: String::new(),
            ..request.clone()
        },
    )?;
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
        |principal| api::CreatePrincipalResponse {
            principal: Some(principal.into()),
        },
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

pub async fn update(
    core: &Core,
    caller: &Caller,
    id: PrincipalId,
    request: &api::UpdatePrincipalRequest,
) -> Result<api::UpdatePrincipalResponse, Error> {
    if let Some(name) = &request.name {
        validate_principal_name(name)?;
    }
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    if request.disabled == Some(true) && id == caller.claims.principal_id {
        return Err(Error::FailedPrecondition(
            "you can't disable yourself: let somebody else do it".into(),
        ));
    }
    let mutation = core.mutations.start(
        caller,
        "iam:principals:update",
        &request.request_id,
        request,
    )?;
    core.change(
        mutation,
        (id, request),
        |(id, request), tx| {
            Box::pin(async move {
                let before = get(tx, *id).await?;
                expect_revision("principal", *id, request.expected_revision, before.revision)?;
                let mut after = Principal {
                    name: request.name.clone().unwrap_or_else(|| before.name.clone()),
                    description: request
                        .description
                        .clone()
                        .unwrap_or_else(|| before.description.clone()),
                    disabled: request.disabled.unwrap_or(before.disabled),
                    ..before.clone()
                };
                if after == before {
                    return Ok(Effect::nothing(after));
                }
                after.updated_at = now();
                after.revision += 1;
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
        |principal| api::UpdatePrincipalResponse {
            principal: Some(principal.into()),
        },
    )
    .await
}

/// Deletes a principal with its credentials and bindings.
pub async fn delete(
    core: &Core,
    caller: &Caller,
    id: PrincipalId,
    request: &api::DeletePrincipalRequest,
) -> Result<api::DeletePrincipalResponse, Error> {
    if id == caller.claims.principal_id {
        return Err(Error::FailedPrecondition(
            "you can't delete yourself: let somebody else do it".into(),
        ));
    }
    let mutation = core.mutations.start(
        caller,
        "iam:principals:delete",
        &request.request_id,
        request,
    )?;
    let owner = Owner::Principal(id);
    core.sweep(caller, request, &owner).await?;
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
        |_| api::DeletePrincipalResponse {},
    )
    .await
}

/// Sets a user's password and makes the tokens that it has useless: whoever changes a password may do so because
/// somebody else knows it.
pub async fn set_password(
    core: &Core,
    caller: &Caller,
    principal: &Principal,
    request: &api::SetPasswordRequest,
) -> Result<api::SetPasswordResponse, Error> {
    if principal.kind != PrincipalKind::User {
        return Err(Error::FailedPrecondition(format!(
            "'{}' is not a user: programs sign in with an API key",
            principal.name
        )));
    }
    validate_password("new_password", &request.new_password)?;
    let (id, action) = (principal.id, "iam:principals:update");
    let hidden = api::SetPasswordRequest {
        current_password: String::new(),
        new_password: String::new(),
        ..request.clone()
    };
    let mutation = core
        .mutations
        .start(caller, action, &request.request_id, &hidden)?;
    // Before the current password is asked for: it is not the current one any more when the call is repeated.
    if let Some(done) = mutation.replay(&mut core.db.begin()).await? {
        return Ok(done);
    }
    if id == caller.claims.principal_id {
        super::sign_in::check_password(core, principal, &request.current_password, &caller.source)
            .await?;
    } else {
        ceiling::check_principal(core, caller, action, &name(principal), id).await?;
    }
    let password_hash = core.passwords.hash(&request.new_password).await?;
    core.change(
        mutation,
        (id, password_hash),
        |(id, password_hash), tx| {
            Box::pin(async move {
                let before = get(tx, *id).await?;
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
        |_| api::SetPasswordResponse {},
    )
    .await
}

/// Whether a list of an organization's principals is of the system's; for messages and names.
pub fn any(org: Option<&OrgId>) -> ResourceName {
    ResourceName::any(home(org), "principals")
}
