//! Principals.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, PageRequest, ResourceName};

use super::Server;
use super::access::{Described, Sought};
use crate::app::{org_of, principal as app};
use crate::convert;
use crate::model::{Principal, home};
use crate::policy::kind_text;

/// The principal that is meant, if it is on the caller's side of the wall.
pub(super) async fn visible(
    server: &Server,
    caller: &Caller,
    action: &str,
    (id, org_id): (&str, &str),
) -> Result<Principal, Error> {
    let principal = app::find(&server.core, caller, id, org_id).await?;
    let name = app::name(&principal);
    server
        .wall(caller, action, &name, ("principal", id))
        .await?;
    Ok(principal)
}

/// The principal that is meant, if the caller may do `action` to it.
pub(super) async fn reach(
    server: &Server,
    caller: &Caller,
    action: &str,
    target: (&str, &str),
) -> Result<Principal, Error> {
    reach_for(server, caller, action, target, "principals", describe).await
}

/// The principal that is meant, if the caller may do `action` to what `describe` says of it, which is of this kind.
pub(super) async fn reach_for(
    server: &Server,
    caller: &Caller,
    action: &str,
    (id, org_id): (&str, &str),
    kind: &str,
    describe: impl FnOnce(&Principal) -> Described,
) -> Result<Principal, Error> {
    let sought = Sought {
        action,
        noun: "principal",
        given: id,
        nearest: ResourceName::any(home(org_of(caller, org_id)?.as_ref()), kind),
    };
    let found = app::find(&server.core, caller, id, org_id).await;
    server.reveal(caller, sought, found, describe).await
}

/// As [`reach_for`], but everybody may do it to themselves.
pub(super) async fn reach_other(
    server: &Server,
    caller: &Caller,
    action: &str,
    (id, kind): (&str, &str),
    describe: impl FnOnce(&Principal) -> Described,
) -> Result<Principal, Error> {
    match app::find(&server.core, caller, id, "").await {
        Ok(own) if own.id == caller.claims.principal_id => Ok(own),
        _ => reach_for(server, caller, action, (id, ""), kind, describe).await,
    }
}

/// It itself.
fn describe(principal: &Principal) -> Described {
    let facts = vec![
        ("name", principal.name.clone()),
        ("kind", kind_text(principal.kind).to_owned()),
        ("node", principal.node.clone().unwrap_or_default()),
    ];
    (app::name(principal), facts)
}

/// The kind of the principal that is meant, for conditions; empty if there is none, or it lies beyond the wall.
pub(super) async fn kind_of(
    server: &Server,
    caller: &Caller,
    (id, org_id): (&str, &str),
) -> &'static str {
    match app::find(&server.core, caller, id, org_id).await {
        Ok(principal) if caller.may_see(app::name(&principal).scope()) => kind_text(principal.kind),
        _ => "",
    }
}

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreatePrincipalRequest,
) -> Result<CreatePrincipalResponse, Error> {
    const ACTION: &str = "iam:principals:create";
    let org = org_of(caller, &request.org_id)?;
    let all = app::any(org.as_ref());
    let kind = convert::principal_kind(request.kind).map_or("", kind_text);
    let facts = [
        ("name", request.name.as_str()),
        ("kind", kind),
        ("node", &request.node),
    ];
    server.guard.authorize(caller, ACTION, &all, &facts).await?;
    if !request.password.is_empty() {
        server.require_oneself(caller, ACTION, &all).await?;
    }
    let new = convert::new_principal(org, &request)?;
    // A digest of the request is stored, and one of a password could be guessed from.
    let hidden = CreatePrincipalRequest {
        password: String::new(),
        ..request
    };
    let mutation = server.mutation(caller, ACTION, &hidden.request_id, &hidden)?;
    let answer = |principal: &Principal| CreatePrincipalResponse {
        principal: Some(principal.into()),
    };
    app::create(&server.core, mutation, new, answer).await
}

pub async fn get(
    server: &Server,
    caller: &Caller,
    request: GetPrincipalRequest,
) -> Result<GetPrincipalResponse, Error> {
    let target = (request.id.as_str(), request.org_id.as_str());
    let principal = reach(server, caller, "iam:principals:get", target).await?;
    Ok(GetPrincipalResponse {
        principal: Some((&principal).into()),
    })
}

pub async fn list(
    server: &Server,
    caller: &Caller,
    request: ListPrincipalsRequest,
) -> Result<ListPrincipalsResponse, Error> {
    let org = org_of(caller, &request.org_id)?;
    let kind = convert::principal_kind_or_any(request.kind)?;
    let all = app::any(org.as_ref());
    let facts = [("kind", kind.map_or("", kind_text))];
    server
        .guard
        .authorize(caller, "iam:principals:list", &all, &facts)
        .await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = app::list(&server.core, org.as_ref(), kind, &page).await?;
    let get = "iam:principals:get";
    let shown = server.shown(caller, get, &all, page.items, describe);
    Ok(ListPrincipalsResponse {
        principals: shown.await?.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn update(
    server: &Server,
    caller: &Caller,
    request: UpdatePrincipalRequest,
) -> Result<UpdatePrincipalResponse, Error> {
    const ACTION: &str = "iam:principals:update";
    let target = (request.id.as_str(), "");
    let id = reach(server, caller, ACTION, target).await?.id;
    let changes = convert::principal_changes(&request)?;
    app::check_changes(caller, id, &changes)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |principal: &Principal| UpdatePrincipalResponse {
        principal: Some(principal.into()),
    };
    app::update(&server.core, mutation, id, changes, answer).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeletePrincipalRequest,
) -> Result<DeletePrincipalResponse, Error> {
    const ACTION: &str = "iam:principals:delete";
    match reach(server, caller, ACTION, (&request.id, "")).await {
        Ok(principal) => {
            let id = app::deletable(caller, &principal)?;
            let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
            app::delete(&server.core, mutation, id).await
        }
        Err(absent @ Error::NotFound { .. }) => {
            let earlier = server
                .core
                .repeated(caller, ACTION, &request.request_id, &request);
            earlier.await?.ok_or(absent)
        }
        Err(error) => Err(error),
    }
}

/// One's own with the current password; another's with the right to update it.
pub async fn set_password(
    server: &Server,
    caller: &Caller,
    request: SetPasswordRequest,
) -> Result<SetPasswordResponse, Error> {
    const ACTION: &str = "iam:principals:update";
    let target = (request.principal_id.as_str(), "principals");
    let principal = reach_other(server, caller, ACTION, target, |it| {
        (app::name(it), Vec::new())
    })
    .await?;
    let name = app::name(&principal);
    server.require_oneself(caller, ACTION, &name).await?;
    let password = convert::new_password(&principal, &request)?;
    // As for a new principal.
    let hidden = SetPasswordRequest {
        current_password: String::new(),
        new_password: String::new(),
        ..request
    };
    let mutation = server.mutation(caller, ACTION, &hidden.request_id, &hidden)?;
    app::set_password(&server.core, mutation, &principal, password).await
}
