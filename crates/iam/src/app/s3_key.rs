//! S3 access keys.

use photon_api::iam::v1 as api;
use photon_catalog::Effect;
use photon_resource::{
    Caller, Error, OrgId, Page, PageRequest, ProjectId, ResourceName, Scope, validate_description,
};

use super::{Core, ceiling, now, require_scope};
use crate::credential::new_s3_pair;
use crate::model::{Principal, S3AccessKey};
use crate::store::{principal, s3_key as store};

/// The full name of a key: it belongs to the project whose buckets it opens.
pub fn name(org: &OrgId, project: &ProjectId, id: impl std::fmt::Display) -> ResourceName {
    ResourceName::new(Scope::Project(org.clone(), project.clone()), "s3Keys", id)
}

/// The organization of whoever an S3 key is for: the system has no buckets.
pub fn owners_org(owner: &Principal) -> Result<OrgId, Error> {
    owner.org_id.clone().ok_or_else(|| {
        Error::FailedPrecondition(format!(
            "'{}' belongs to the system, which has no buckets: use a principal of the organization",
            owner.name
        ))
    })
}

pub async fn create(
    core: &Core,
    caller: &Caller,
    owner: &Principal,
    request: &api::CreateS3AccessKeyRequest,
) -> Result<api::CreateS3AccessKeyResponse, Error> {
    const ACTION: &str = "iam:s3Keys:create";
    validate_description(&request.description)?;
    let org = owners_org(owner)?;
    let project: ProjectId = request.project_id.parse()?;
    let (id, secret) =
        new_s3_pair().ok_or_else(|| Error::internal("the system gives no random numbers"))?;
    let sealed = core
        .live
        .server_key()
        .seal(&store::key(&id), secret.as_bytes());
    let s3_key = S3AccessKey {
        access_key_id: id.clone(),
        principal_id: owner.id,
        project_id: project.clone(),
        description: request.description.clone(),
        sealed_secret: sealed.map_err(Error::internal)?,
        created_at: now(),
    };
    let name = name(&org, &project, &id);
    let mutation = core
        .mutations
        .start(caller, ACTION, &request.request_id, request)?;
    core.change_secret(
        mutation,
        (core, caller, owner, s3_key, name),
        |(core, caller, owner, s3_key, name), tx| {
            Box::pin(async move {
                ceiling::check_principal(core, caller, ACTION, name, owner.id).await?;
                tx.touch(&principal::credentials_guard(owner.id)).await?;
                principal::principal_get(tx, owner.id)
                    .await?
                    .ok_or_else(|| Error::not_found("principal", owner.id))?;
                require_scope(tx, name.scope()).await?;
                store::s3_key_create(tx, s3_key)?;
                let key = store::key(&s3_key.access_key_id);
                Ok(Effect::at(name.clone(), key, s3_key.clone()))
            })
        },
        |s3_key| {
            let replayed = api::CreateS3AccessKeyResponse {
                key: Some(s3_key.into()),
                secret_access_key: String::new(),
            };
            let response = api::CreateS3AccessKeyResponse {
                secret_access_key: secret.clone(),
                ..replayed.clone()
            };
            (response, replayed)
        },
    )
    .await
}

/// The key and its organization. It may lie beyond the wall: see `Server::reveal`.
pub async fn find(core: &Core, id: &str) -> Result<(S3AccessKey, OrgId), Error> {
    let absent = || Error::not_found("S3 access key", id);
    // What has not this form can't be a key of the store either.
    if id.len() != 20 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Error::invalid(
            "access_key_id",
            id,
            "PHOTON and 14 letters or digits",
        ));
    }
    let s3_key = store::s3_key_find(&core.db, id).await?.ok_or_else(absent)?;
    let owner = principal::principal_find(&core.db, s3_key.principal_id).await?;
    let org = owner.and_then(|owner| owner.org_id).ok_or_else(absent)?;
    Ok((s3_key, org))
}

pub async fn list(
    core: &Core,
    owner: &Principal,
    page: &PageRequest,
) -> Result<Page<S3AccessKey>, Error> {
    store::s3_key_page(&core.db, owner.id, page).await
}

pub async fn delete(
    core: &Core,
    caller: &Caller,
    org: &OrgId,
    request: &api::DeleteS3AccessKeyRequest,
) -> Result<api::DeleteS3AccessKeyResponse, Error> {
    let id = &request.access_key_id;
    let mutation =
        core.mutations
            .start(caller, "iam:s3Keys:delete", &request.request_id, request)?;
    core.change(
        mutation,
        (org, id),
        |(org, id), tx| {
            Box::pin(async move {
                let before = store::s3_key_get(tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("S3 access key", &id))?;
                store::s3_key_delete(tx, &before);
                Ok(Effect::at(
                    name(org, &before.project_id, &id),
                    store::key(id),
                    (),
                ))
            })
        },
        |()| api::DeleteS3AccessKeyResponse {},
    )
    .await
}
