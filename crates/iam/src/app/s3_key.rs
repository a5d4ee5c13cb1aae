//! S3 access keys.

use photon_catalog::Effect;
use photon_resource::{
    Error, OrgId, Page, PageRequest, ProjectId, ResourceName, Scope, validate_description,
};
use photon_service::Mutation;

use super::{Core, bounds, ceiling, now, require_scope};
use crate::credential::new_s3_pair;
use crate::model::{Principal, S3AccessKey};
use crate::store::{principal, s3_key as store};

/// The full name of a key: it belongs to the project whose buckets it opens.
pub fn name(org: &OrgId, project: &ProjectId, id: impl std::fmt::Display) -> ResourceName {
    ResourceName::new(Scope::Project(org.clone(), project.clone()), "s3Keys", id)
}

/// A key to be made.
pub struct NewS3Key {
    owner: Principal,
    org: OrgId,
    project: ProjectId,
    description: String,
}

impl NewS3Key {
    /// A key of `owner` for the buckets of `project`.
    ///
    /// Errors: `InvalidArgument`; `FailedPrecondition` for an owner of the system, which has no buckets.
    pub fn new(owner: Principal, project: ProjectId, description: String) -> Result<Self, Error> {
        validate_description(&description)?;
        let org = owner.org_id.clone().ok_or_else(|| {
            Error::FailedPrecondition(format!(
                "'{}' belongs to the system, which has no buckets: use a principal of the organization",
                owner.name
            ))
        })?;
        Ok(Self {
            owner,
            org,
            project,
            description,
        })
    }
}

/// `answer` gets the secret, or, for repeated calls, nothing: it is not stored in the clear.
pub async fn create<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    new: NewS3Key,
    answer: impl Fn(&S3AccessKey, String) -> A,
) -> Result<A, Error> {
    let owner = new.owner;
    let (id, secret) =
        new_s3_pair().ok_or_else(|| Error::internal("the system gives no random numbers"))?;
    let sealed = core
        .live
        .server_key()
        .seal(&store::key(&id), secret.as_bytes());
    let name = name(&new.org, &new.project, &id);
    let s3_key = S3AccessKey {
        access_key_id: id,
        principal_id: owner.id,
        project_id: new.project,
        description: new.description,
        sealed_secret: sealed.map_err(Error::internal)?,
        created_at: now(),
    };
    let caller = mutation.caller().clone();
    core.change_secret(
        mutation,
        (core, caller, owner, s3_key, name),
        |(core, caller, owner, s3_key, name), tx| {
            Box::pin(async move {
                let action = "iam:s3Keys:create";
                ceiling::check_principal(core, caller, action, name, owner.id).await?;
                tx.touch(&principal::credentials_guard(owner.id)).await?;
                principal::principal_get(tx, owner.id)
                    .await?
                    .ok_or_else(|| Error::not_found("principal", owner.id))?;
                require_scope(tx, name.scope()).await?;
                bounds::check_s3_key(tx, owner).await?;
                store::s3_key_create(tx, s3_key, &owner.home())?;
                let key = store::key(&s3_key.access_key_id);
                Ok(Effect::at(name.clone(), key, s3_key.clone()))
            })
        },
        |s3_key| {
            (
                answer(s3_key, secret.clone()),
                answer(s3_key, String::new()),
            )
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

/// A page of a principal's, which has fewer if only those for one `project` are wanted.
pub async fn list(
    core: &Core,
    owner: &Principal,
    project: Option<&ProjectId>,
    page: &PageRequest,
) -> Result<Page<S3AccessKey>, Error> {
    let mut page = store::s3_key_page(&core.db, owner.id, page).await?;
    if let Some(project) = project {
        page.items.retain(|key| key.project_id == *project);
    }
    Ok(page)
}

pub async fn delete<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    org: &OrgId,
    id: &str,
) -> Result<A, Error> {
    core.change(
        mutation,
        (org, id),
        |(org, id), tx| {
            Box::pin(async move {
                let before = store::s3_key_get(tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("S3 access key", &id))?;
                store::s3_key_delete(tx, &before, &Scope::Org(org.clone()));
                Ok(Effect::at(
                    name(org, &before.project_id, &id),
                    store::key(id),
                    (),
                ))
            })
        },
        |()| A::default(),
    )
    .await
}
