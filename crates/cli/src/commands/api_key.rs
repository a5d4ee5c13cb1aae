//! API keys and S3 access keys.

use clap::Subcommand;
use photon_api::iam::v1::{
    CreateApiKeyRequest, CreateS3AccessKeyRequest, DeleteApiKeyRequest, DeleteS3AccessKeyRequest,
    ListApiKeysRequest, ListS3AccessKeysRequest,
};

use super::{all_pages, principal};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const KEY_COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("PRINCIPAL", "principal_id"),
    ("DESCRIPTION", "description"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
];

const S3_COLUMNS: &[Column] = &[
    ("ACCESS KEY ID", "access_key_id"),
    ("PRINCIPAL", "principal_id"),
    ("PROJECT", "project_id"),
    ("DESCRIPTION", "description"),
    ("CREATED", "created_at"),
];

/// API keys.
#[derive(Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key. Its secret is printed once and kept nowhere.
    Create {
        /// Principal (name or id) that it is for.
        principal: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// Days until it expires. 0: never.
        #[arg(long, default_value_t = 0)]
        days: u64,
    },
    /// List a principal's keys.
    List {
        /// Principal (name or id).
        principal: String,
    },
    /// Remove a key.
    Delete {
        /// The key's id.
        id: String,
    },
}

/// S3 access keys.
#[derive(Subcommand)]
pub enum S3KeyCommand {
    /// Make a key pair. The secret is printed once.
    Create {
        /// Principal (name or id) that it is for.
        principal: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List a principal's key pairs.
    List {
        /// Principal (name or id).
        principal: String,
    },
    /// Remove a key pair.
    Delete {
        /// The access key id.
        access_key_id: String,
    },
}

/// `photon api-key`
pub async fn run(
    command: ApiKeyCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    match command {
        ApiKeyCommand::Create {
            principal,
            description,
            days,
        } => {
            let request = CreateApiKeyRequest {
                principal_id: principal::find(session, &principal).await?.id,
                description,
                ttl_seconds: days.saturating_mul(86_400),
                ..Default::default()
            };
            let answer = admin.create_api_key(request).await?.into_inner();
            output.one("iam.v1.CreateApiKeyResponse", &answer)
        }
        ApiKeyCommand::List { principal } => {
            let principal_id = principal::find(session, &principal).await?.id;
            let request = ListApiKeysRequest {
                principal_id,
                ..Default::default()
            };
            let all = all_pages!(admin, list_api_keys, api_keys, request);
            output.many("iam.v1.ApiKey", &all, KEY_COLUMNS)
        }
        ApiKeyCommand::Delete { id } => {
            let request = DeleteApiKeyRequest {
                id: id.clone(),
                ..Default::default()
            };
            admin.delete_api_key(request).await?;
            output.done(&format!("API key {id} is gone."));
            Ok(())
        }
    }
}

/// `photon s3-key`
pub async fn run_s3(
    command: S3KeyCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    match command {
        S3KeyCommand::Create {
            principal,
            description,
        } => {
            let request = CreateS3AccessKeyRequest {
                principal_id: principal::find(session, &principal).await?.id,
                project_id: session.project(),
                description,
                ..Default::default()
            };
            let answer = admin.create_s3_access_key(request).await?.into_inner();
            output.one("iam.v1.CreateS3AccessKeyResponse", &answer)
        }
        S3KeyCommand::List { principal } => {
            let principal_id = principal::find(session, &principal).await?.id;
            let request = ListS3AccessKeysRequest {
                principal_id,
                ..Default::default()
            };
            let all = all_pages!(admin, list_s3_access_keys, keys, request);
            output.many("iam.v1.S3AccessKey", &all, S3_COLUMNS)
        }
        S3KeyCommand::Delete { access_key_id } => {
            let request = DeleteS3AccessKeyRequest {
                access_key_id: access_key_id.clone(),
                ..Default::default()
            };
            admin.delete_s3_access_key(request).await?;
            output.done(&format!("S3 access key {access_key_id} is gone."));
            Ok(())
        }
    }
}
