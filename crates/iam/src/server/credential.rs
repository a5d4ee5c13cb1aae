//! API keys and S3 access keys.

use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, PageRequest, ResourceName, Scope};

use super::Server;
use super::principal::visible;
use crate::app::{api_key, s3_key};

pub async fn api_key_create(
    server: &Server,
    caller: &Caller,
    request: CreateApiKeyRequest,
) -> Result<CreateApiKeyResponse, Error> {
    let owner = visible(
        server,
        caller,
        "iam:apiKeys:create",
        (&request.principal_id, ""),
    )
    .await?;
    let owner_id = owner.id.to_string();
    let all = api_key::name(&owner, "*");
    server
        .guard
        .authorize(caller, "iam:apiKeys:create", &all, &[("owner", &owner_id)])
        .await?;
    api_key::create(&server.core, caller, &owner, &request).await
}

pub async fn api_key_get(
    server: &Server,
    caller: &Caller,
    request: GetApiKeyRequest,
) -> Result<GetApiKeyResponse, Error> {
    let (key, owner) = api_key::find(&server.core, &request.id).await?;
    let owner_id = owner.id.to_string();
    let name = api_key::name(&owner, key.id);
    server
        .wall(caller, "iam:apiKeys:get", &name, ("API key", &request.id))
        .await?;
    server
        .guard
        .authorize(caller, "iam:apiKeys:get", &name, &[("owner", &owner_id)])
        .await?;
    Ok(GetApiKeyResponse {
        api_key: Some((&key).into()),
    })
}

pub async fn api_key_list(
    server: &Server,
    caller: &Caller,
    request: ListApiKeysRequest,
) -> Result<ListApiKeysResponse, Error> {
    let owner = visible(
        server,
        caller,
        "iam:apiKeys:list",
        (&request.principal_id, ""),
    )
    .await?;
    let owner_id = owner.id.to_string();
    let all = api_key::name(&owner, "*");
    server
        .guard
        .authorize(caller, "iam:apiKeys:list", &all, &[("owner", &owner_id)])
        .await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = api_key::list(&server.core, &owner, &page).await?;
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
    let (key, owner) = match api_key::find(&server.core, &request.id).await {
        Err(absent @ Error::NotFound { .. }) => {
            let earlier = server
                .core
                .repeated(caller, ACTION, &request.request_id, &request);
            return earlier.await?.ok_or(absent);
        }
        found => found?,
    };
    let owner_id = owner.id.to_string();
    let name = api_key::name(&owner, key.id);
    server
        .wall(caller, ACTION, &name, ("API key", &request.id))
        .await?;
    server
        .guard
        .authorize(caller, ACTION, &name, &[("owner", &owner_id)])
        .await?;
    api_key::delete(&server.core, caller, &owner, key.id, &request).await
}

pub async fn s3_key_create(
    server: &Server,
    caller: &Caller,
    request: CreateS3AccessKeyRequest,
) -> Result<CreateS3AccessKeyResponse, Error> {
    let owner = visible(
        server,
        caller,
        "iam:s3Keys:create",
        (&request.principal_id, ""),
    )
    .await?;
    let owner_id = owner.id.to_string();
    let project = request.project_id.parse()?;
    let scope = match &owner.org_id {
        Some(org) => Scope::Project(org.clone(), project),
        None => Scope::System,
    };
    let all = ResourceName::any(scope, "s3Keys");
    server
        .guard
        .authorize(caller, "iam:s3Keys:create", &all, &[("owner", &owner_id)])
        .await?;
    s3_key::create(&server.core, caller, &owner, &request).await
}

pub async fn s3_key_list(
    server: &Server,
    caller: &Caller,
    request: ListS3AccessKeysRequest,
) -> Result<ListS3AccessKeysResponse, Error> {
    let owner = visible(
        server,
        caller,
        "iam:s3Keys:list",
        (&request.principal_id, ""),
    )
    .await?;
    let owner_id = owner.id.to_string();
    // They can be of several projects, so that it takes the right in the whole organization.
    let all = ResourceName::any(owner.home(), "s3Keys");
    server
        .guard
        .authorize(caller, "iam:s3Keys:list", &all, &[("owner", &owner_id)])
        .await?;
    let page = PageRequest::parse(request.page_size, &request.page_token)?;
    let page = s3_key::list(&server.core, &owner, &page).await?;
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
    let (key, org) = match s3_key::find(&server.core, id).await {
        Err(absent @ Error::NotFound { .. }) => {
            let earlier = server
                .core
                .repeated(caller, ACTION, &request.request_id, &request);
            return earlier.await?.ok_or(absent);
        }
        found => found?,
    };
    let owner_id = key.principal_id.to_string();
    let name = s3_key::name(&org, &key.project_id, &key.access_key_id);
    server
        .wall(caller, ACTION, &name, ("S3 access key", id))
        .await?;
    server
        .guard
        .authorize(caller, ACTION, &name, &[("owner", &owner_id)])
        .await?;
    s3_key::delete(&server.core, caller, &org, &request).await
}
