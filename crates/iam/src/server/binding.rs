//! Bindings.

use std::collections::HashMap;

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, PageRequest, ResourceName, Scope};

use super::access::{Described, Sought};
use super::{Server, principal, role};
use crate::app::binding as app;
use crate::convert;
use crate::model::Binding;

/// A binding, and what conditions can read of it.
async fn described(server: &Server, caller: &Caller, binding: &Binding) -> Described {
    let owner = binding.principal_id.to_string();
    let kind = principal::kind_of(server, caller, (&owner, "")).await;
    let facts = vec![
        ("owner", owner),
        ("kind", kind.to_owned()),
        ("role", binding.role_id.clone()),
    ];
    (app::name(binding), facts)
}

/// The binding that is meant, if the caller may do `action` to it.
async fn reach(server: &Server, caller: &Caller, action: &str, id: &str) -> Result<Binding, Error> {
    let found = app::find(&server.core, id).await;
    let told = match &found {
        Ok(binding) => Some(described(server, caller, binding).await),
        Err(_) => None,
    };
    // It is asked for of what was found.
    let describe = |binding: &Binding| told.unwrap_or_else(|| (app::name(binding), Vec::new()));
    let sought = Sought {
        action,
        noun: "binding",
        given: id,
        nearest: ResourceName::any(caller.claims.scope(), "bindings"),
    };
    server.reveal(caller, sought, found, describe).await
}

pub async fn create(
    server: &Server,
    caller: &Caller,
    request: CreateBindingRequest,
) -> Result<CreateBindingResponse, Error> {
    const ACTION: &str = "iam:bindings:create";
    let scope: Scope = request.scope.parse()?;
    let all = ResourceName::any(scope.clone(), "bindings");
    let org = scope.org().map(ToString::to_string).unwrap_or_default();
    let role = role::id_of(server, caller, (&request.role_id, &org)).await;
    let facts = [
        (
            "kind",
            principal::kind_of(server, caller, (&request.principal_id, &org)).await,
        ),
        ("role", role.as_str()),
    ];
    server.guard.authorize(caller, ACTION, &all, &facts).await?;
    let who = principal::visible(server, caller, ACTION, (&request.principal_id, &org)).await?;
    let what = role::visible(server, caller, ACTION, (&request.role_id, &org)).await?;
    let new = convert::new_binding(who, what, scope, &request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |binding: &Binding| CreateBindingResponse {
        binding: Some(binding.into()),
    };
    app::create(&server.core, mutation, new, answer).await
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
    let org = scope.org().map(ToString::to_string).unwrap_or_default();
    let kind = match request.principal_id.as_str() {
        "" => "",
        id => principal::kind_of(server, caller, (id, &org)).await,
    };
    server
        .guard
        .authorize(caller, "iam:bindings:list", &all, &[("kind", kind)])
        .await?;
    let who = match request.principal_id.as_str() {
        "" => None,
        id => Some(
            principal::visible(server, caller, "iam:bindings:list", (id, &org))
                .await?
                .id,
        ),
    };
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = app::list(&server.core, &scope, who, &page).await?;
    const GET: &str = "iam:bindings:get";
    let mut told = HashMap::new();
    if server.on_a_condition(caller, GET, &all).await? {
        for it in &page.items {
            told.insert(it.id, described(server, caller, it).await);
        }
    }
    let describe = |it: &Binding| match told.get(&it.id) {
        Some((name, facts)) => (name.clone(), facts.clone()),
        None => (app::name(it), Vec::new()),
    };
    let shown = server.shown(caller, GET, &all, page.items, describe);
    Ok(ListBindingsResponse {
        bindings: shown.await?.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn update(
    server: &Server,
    caller: &Caller,
    request: UpdateBindingRequest,
) -> Result<UpdateBindingResponse, Error> {
    const ACTION: &str = "iam:bindings:update";
    let id = reach(server, caller, ACTION, &request.id).await?.id;
    let changes = convert::binding_changes(&request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |binding: &Binding| UpdateBindingResponse {
        binding: Some(binding.into()),
    };
    app::update(&server.core, mutation, id, changes, answer).await
}

pub async fn delete(
    server: &Server,
    caller: &Caller,
    request: DeleteBindingRequest,
) -> Result<DeleteBindingResponse, Error> {
    const ACTION: &str = "iam:bindings:delete";
    match reach(server, caller, ACTION, &request.id).await {
        Ok(binding) => {
            let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
            app::delete(&server.core, mutation, binding.id).await
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
