use photon_api::iam::v1 as api;
use photon_resource::{Caller, Error, ProjectId};

use crate::app::api_key::NewApiKey;
use crate::app::s3_key::NewS3Key;
use crate::model::{ApiKey, Principal, S3AccessKey};

/// Empty: to nothing.
fn confined(to: Option<String>) -> String {
    to.unwrap_or_default()
}

impl From<&ApiKey> for api::ApiKey {
    fn from(api_key: &ApiKey) -> Self {
        Self {
            id: api_key.id.to_string(),
            principal_id: api_key.principal_id.to_string(),
            description: api_key.description.clone(),
            created_at: Some(api_key.created_at.into()),
            expires_at: api_key.expires_at.map(Into::into),
            org_id: confined(api_key.confined.as_ref().map(|(org, _)| org.to_string())),
            project_id: confined(api_key.confined.as_ref().map(|(_, it)| it.to_string())),
        }
    }
}

impl From<&S3AccessKey> for api::S3AccessKey {
    fn from(s3_key: &S3AccessKey) -> Self {
        Self {
            access_key_id: s3_key.access_key_id.clone(),
            principal_id: s3_key.principal_id.to_string(),
            project_id: s3_key.project_id.to_string(),
            description: s3_key.description.clone(),
            created_at: Some(s3_key.created_at.into()),
        }
    }
}

/// Errors: `InvalidArgument`, `FailedPrecondition`.
pub fn new_api_key(
    caller: &Caller,
    owner: Principal,
    request: &api::CreateApiKeyRequest,
) -> Result<NewApiKey, Error> {
    NewApiKey::new(
        caller,
        owner,
        request.description.clone(),
        request.ttl_seconds,
    )
}

/// Errors: `InvalidArgument`, `FailedPrecondition`.
pub fn new_s3_key(
    owner: Principal,
    project: ProjectId,
    request: &api::CreateS3AccessKeyRequest,
) -> Result<NewS3Key, Error> {
    NewS3Key::new(owner, project, request.description.clone())
}
