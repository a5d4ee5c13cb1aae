//! Roles.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, PageRequest, ResourceName};

use super::Server;
use super::access::Sought;
use crate::app::{org_of, role as app};
use crate::convert;
use crate::model::{Role, home};

/// The role that is meant, if it is on the caller's side of the wall.
pub(super) async fn visible(
    server: &Server,
    caller: &Caller,
    action: &str,
    (id, org_id): (&str, &str),
) -> Result<Role, Error> {
    let role = app::find(&server.core, caller, id, org_id).await?;
    server
        .wall(caller, action, &app::name(caller, &role), ("role", id))
        .await?;
    Ok(role)
}

/// The id of the role that is meant, for conditions; empty if there is none, or it lies beyond the wall.
pub(super) async fn id_of(server: &Server, caller: &Caller, (id, org_id): (&str, &str)) -> String {
    match app::find(&server.core, caller, id, org_id).await {
        Ok(role) if caller.may_see(app::name(caller, &role).scope()) => role.id,
        _ => String::new(),
    }
}

/// The role that is meant, if the caller may do `action` to it.
async fn reach(
    server: &Server,
    caller: &Caller,
    action: &str,
    target: (&str, &str),
) -> Result<Role, Error> {
    let (id, org_id) = target;
    let sought = Sought {
        action,
        noun: "role",
        given: id,
        nearest: ResourceName::any(home(org_of(caller, org_id)?.as_ref()), "roles"),
    };
    let found = app::find(&server.core, caller, id, org_id).await;
    let describe = |role: &Role| (app::name(caller, role), vec![("name", role.name.clone())]);
    server.reveal(caller, sought, found, describe).await
}

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreateRoleRequest,
) -> Result<CreateRoleResponse, Error> {
    const ACTION: &str = "iam:roles:create";
    let org = org_of(caller, &request.org_id)?;
    let all = ResourceName::any(home(org.as_ref()), "roles");
    server.guard.authorize(caller, ACTION, &all, &[]).await?;
    let new = convert::new_role(org, &request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |role: &Role| CreateRoleResponse {
        role: Some(role.into()),
    };
    app::create(&server.core, mutation, new, answer).await
}

pub async fn get(
    server: &Server,
    caller: &Caller,
    request: GetRoleRequest,
) -> Result<GetRoleResponse, Error> {
    let target = (request.id.as_str(), request.org_id.as_str());
    let role = reach(server, caller, "iam:roles:get", target).await?;
    Ok(GetRoleResponse {
        role: Some((&role).into()),
    })
}

pub async fn list(
    server: &Server,
    caller: &Caller,
    request: ListRolesRequest,
) -> Result<ListRolesResponse, Error> {
    let org = org_of(caller, &request.org_id)?;
    let all = ResourceName::any(home(org.as_ref()), "roles");
    server
        .guard
        .authorize(caller, "iam:roles:list", &all, &[])
        .await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = app::list(&server.core, org.as_ref(), &page).await?;
    let describe = |it: &Role| (app::name(caller, it), vec![("name", it.name.clone())]);
    let shown = server.shown(caller, "iam:roles:get", &all, page.items, describe);
    Ok(ListRolesResponse {
        roles: shown.await?.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn update(
    server: &Server,
    caller: &Caller,
    request: UpdateRoleRequest,
) -> Result<UpdateRoleResponse, Error> {
    const ACTION: &str = "iam:roles:update";
    let role = app::custom(reach(server, caller, ACTION, (&request.id, "")).await?)?;
    let changes = convert::role_changes(&request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |role: &Role| UpdateRoleResponse {
        role: Some(role.into()),
    };
    app::update(&server.core, mutation, &role, changes, answer).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeleteRoleRequest,
) -> Result<DeleteRoleResponse, Error> {
    const ACTION: &str = "iam:roles:delete";
    match reach(server, caller, ACTION, (&request.id, "")).await {
        Ok(role) => {
            let role = app::custom(role)?;
            let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
            app::delete(&server.core, mutation, &role).await
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
