//! API keys and S3 access keys.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, OrgId, PageRequest, ProjectId, ResourceName, Scope};

use super::Server;
use super::access::{Described, Sought};
use super::principal::reach_for;
use crate::app::{api_key, principal, s3_key};
use crate::convert;
use crate::model::{ApiKey, Principal, S3AccessKey};

fn owned_by(owner: &Principal) -> Vec<(&'static str, String)> {
    vec![("owner", owner.id.to_string())]
}

/// All API keys of a principal that the caller's token can be about.
fn keys_of(caller: &Caller) -> impl Fn(&Principal) -> Described {
    move |owner| (api_key::all(caller, owner), owned_by(owner))
}

/// The key that was found under the id `given`, with whose it is, if the caller may do `action` to it.
async fn api_key_revealed(
    server: &Server,
    caller: &Caller,
    action: &str,
    given: &str,
    found: Result<(ApiKey, Principal), Error>,
) -> Result<(ApiKey, Principal), Error> {
    let sought = Sought {
        action,
        noun: "API key",
        given,
        nearest: ResourceName::any(caller.claims.scope(), "apiKeys"),
    };
    let describe =
        |(key, owner): &(ApiKey, Principal)| (api_key::name(owner, key), owned_by(owner));
    server.reveal(caller, sought, found, describe).await
}

pub async fn api_key_create(
    server: &Server,
    caller: &Caller,
    request: CreateApiKeyRequest,
) -> Result<CreateApiKeyResponse, Error> {
    const ACTION: &str = "iam:apiKeys:create";
    let target = (request.principal_id.as_str(), "");
    let owner = reach_for(server, caller, ACTION, target, "apiKeys", keys_of(caller)).await?;
    let all = api_key::all(caller, &owner);
    server.require_oneself(caller, ACTION, &all).await?;
    let new = convert::new_api_key(caller, owner, &request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |api_key: &ApiKey, secret| CreateApiKeyResponse {
        api_key: Some(api_key.into()),
        secret,
    };
    api_key::create(&server.core, mutation, new, answer).await
}

pub async fn api_key_get(
    server: &Server,
    caller: &Caller,
    request: GetApiKeyRequest,
) -> Result<GetApiKeyResponse, Error> {
    let found = api_key::find(&server.core, &request.id).await;
    let (key, _) = api_key_revealed(server, caller, "iam:apiKeys:get", &request.id, found).await?;
    Ok(GetApiKeyResponse {
        api_key: Some((&key).into()),
    })
}

pub async fn api_key_list(
    server: &Server,
    caller: &Caller,
    request: ListApiKeysRequest,
) -> Result<ListApiKeysResponse, Error> {
    const ACTION: &str = "iam:apiKeys:list";
    let target = (request.principal_id.as_str(), "");
    let owner = reach_for(server, caller, ACTION, target, "apiKeys", keys_of(caller)).await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = api_key::list(&server.core, caller, &owner, &page).await?;
    Ok(ListApiKeysResponse {
        api_keys: page.items.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn api_key_delete(
    server: &Server,
    caller: &Caller,
    request: DeleteApiKeyRequest,
) -> Result<DeleteApiKeyResponse, Error> {
    const ACTION: &str = "iam:apiKeys:delete";
    let found = api_key::find(&server.core, &request.id).await;
    if let Err(Error::NotFound { .. }) = found {
        let earlier = server
            .core
            .repeated(caller, ACTION, &request.request_id, &request);
        if let Some(earlier) = earlier.await? {
            return Ok(earlier);
        }
    }
    let (key, owner) = api_key_revealed(server, caller, ACTION, &request.id, found).await?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    api_key::delete(&server.core, mutation, &owner, key.id).await
}

pub async fn s3_key_create(
    server: &Server,
    caller: &Caller,
    request: CreateS3AccessKeyRequest,
) -> Result<CreateS3AccessKeyResponse, Error> {
    const ACTION: &str = "iam:s3Keys:create";
    let project: ProjectId = request.project_id.parse()?;
    let in_project = |org: Option<&OrgId>| {
        let scope = match org {
            Some(org) => Scope::Project(org.clone(), project.clone()),
            None => Scope::System,
        };
        ResourceName::any(scope, "s3Keys")
    };
    let sought = Sought {
        action: ACTION,
        noun: "principal",
        given: &request.principal_id,
        nearest: in_project(caller.claims.org_id.as_ref()),
    };
    let found = principal::find(&server.core, caller, &request.principal_id, "").await;
    let describe = |owner: &Principal| (in_project(owner.org_id.as_ref()), owned_by(owner));
    let owner = server.reveal(caller, sought, found, describe).await?;
    let all = in_project(owner.org_id.as_ref());
    server.require_oneself(caller, ACTION, &all).await?;
    let new = convert::new_s3_key(owner, project, &request)?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    let answer = |s3_key: &S3AccessKey, secret_access_key| CreateS3AccessKeyResponse {
        key: Some(s3_key.into()),
        secret_access_key,
    };
    s3_key::create(&server.core, mutation, new, answer).await
}

pub async fn s3_key_list(
    server: &Server,
    caller: &Caller,
    request: ListS3AccessKeysRequest,
) -> Result<ListS3AccessKeysResponse, Error> {
    const ACTION: &str = "iam:s3Keys:list";
    let target = (request.principal_id.as_str(), "");
    // They can be of several projects, so that it takes the right in the whole organization; but for one's own, of which a
    // token for a project shows those for the project.
    let scope = |owner: &Principal| match caller.claims.scope() {
        project @ Scope::Project(..) if owner.id == caller.claims.principal_id => project,
        _ => owner.home(),
    };
    let describe = |it: &Principal| (ResourceName::any(scope(it), "s3Keys"), owned_by(it));
    let owner = reach_for(server, caller, ACTION, target, "s3Keys", describe).await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let project = caller.claims.project_id.as_ref();
    let page = s3_key::list(&server.core, &owner, project, &page).await?;
    Ok(ListS3AccessKeysResponse {
        keys: page.items.iter().map(Into::into).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn s3_key_delete(
    server: &Server,
    caller: &Caller,
    request: DeleteS3AccessKeyRequest,
) -> Result<DeleteS3AccessKeyResponse, Error> {
    const ACTION: &str = "iam:s3Keys:delete";
    let id = &request.access_key_id;
    let found = s3_key::find(&server.core, id).await;
    if let Err(Error::NotFound { .. }) = found {
        let earlier = server
            .core
            .repeated(caller, ACTION, &request.request_id, &request);
        if let Some(earlier) = earlier.await? {
            return Ok(earlier);
        }
    }
    let sought = Sought {
        action: ACTION,
        noun: "S3 access key",
        given: id,
        nearest: ResourceName::any(caller.claims.scope(), "s3Keys"),
    };
    let describe = |(key, org): &(S3AccessKey, OrgId)| {
        let name = s3_key::name(org, &key.project_id, &key.access_key_id);
        (name, vec![("owner", key.principal_id.to_string())])
    };
    let (_, org) = server.reveal(caller, sought, found, describe).await?;
    let mutation = server.mutation(caller, ACTION, &request.request_id, &request)?;
    s3_key::delete(&server.core, mutation, &org, id).await
}
