//! Bindings.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, PageRequest, ResourceName, Scope};

use super::Server;
use crate::app::{binding as app, principal, role};
use crate::model::Binding;

/// The binding that is meant, if the caller may do `action` to it.
async fn reach(server: &Server, caller: &Caller, action: &str, id: &str) -> Result<Binding, Error> {
    let binding = app::find(&server.core, caller, id).await?;
    let owner = binding.principal_id.to_string();
    let attributes = [("owner", owner.as_str())];
    server
        .guard
        .authorize(caller, action, &app::name(&binding), &attributes)
        .await?;
    Ok(binding)
}

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreateBindingRequest,
) -> Result<CreateBindingResponse, Error> {
    let scope: Scope = request.scope.parse()?;
    let all = ResourceName::any(scope.clone(), "bindings");
    server
        .guard
        .authorize(caller, "iam:bindings:create", &all, &[])
        .await?;
    let org = scope.org().map(ToString::to_string).unwrap_or_default();
    let who = principal::find(&server.core, caller, &request.principal_id, &org).await?;
    let what = role::find(&server.core, caller, &request.role_id, &org).await?;
    app::create(&server.core, caller, (&who, &what, &scope), &request).await
}

pub async fn get(
    server: &Server,
    caller: &Caller,
    request: GetBindingRequest,
) -> Result<GetBindingResponse, Error> {
    let binding = reach(server, caller, "iam:bindings:get", &request.id).await?;
    Ok(GetBindingResponse {
        binding: Some((&binding).into()),
    })
}

pub async fn list(
    server: &Server,
    caller: &Caller,
    request: ListBindingsRequest,
) -> Result<ListBindingsResponse, Error> {
    let scope = match request.scope.as_str() {
        "" => caller.claims.scope(),
        scope => scope.parse()?,
    };
    let all = ResourceName::any(scope.clone(), "bindings");
    server
        .guard
        .authorize(caller, "iam:bindings:list", &all, &[])
        .await?;
    let who = match request.principal_id.as_str() {
        "" => None,
        id => {
            let org = scope.org().map(ToString::to_string).unwrap_or_default();
            Some(principal::find(&server.core, caller, id, &org).await?.id)
        }
    };
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = app::list(&server.core, &scope, who, &page).await?;
    Ok(ListBindingsResponse {
        bindings: page.items.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn update(
    server: &Server,
    caller: &Caller,
    request: UpdateBindingRequest,
) -> Result<UpdateBindingResponse, Error> {
    let binding = reach(server, caller, "iam:bindings:update", &request.id).await?;
    app::update(&server.core, caller, binding.id, &request).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeleteBindingRequest,
) -> Result<DeleteBindingResponse, Error> {
    let binding = reach(server, caller, "iam:bindings:delete", &request.id).await?;
    app::delete(&server.core, caller, binding.id, &request).await
}
