//! API keys and S3 access keys.

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    CreateApiKeyRequest, CreateS3AccessKeyRequest, DeleteApiKeyRequest, DeleteS3AccessKeyRequest,
    ListApiKeysRequest, ListS3AccessKeysRequest,
};
use photon_client::call::Of;

use super::principal::{Users, whose};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{Changing, Desk, Listed};
use crate::output::Column;

const KEY_COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("PRINCIPAL", "principal_id"),
    ("PROJECT", "project_id"),
    ("DESCRIPTION", "description"),
    ("AGE", "created_at"),
    ("EXPIRES", "expires_at"),
];

const S3_COLUMNS: &[Column] = &[
    ("ACCESS KEY ID", "access_key_id"),
    ("PRINCIPAL", "principal_id"),
    ("PROJECT", "project_id"),
    ("DESCRIPTION", "description"),
    ("AGE", "created_at"),
];

/// API keys.
#[derive(Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key: with a token for a project one for that project alone. Its secret is printed once and kept nowhere.
    Create(Changing<NewApiKey>),
    /// List a principal's keys.
    #[command(visible_alias = "ls")]
    List(Listed<Owner>),
    /// Remove a key.
    #[command(visible_alias = "rm")]
    Delete(Changing<OldApiKey>),
}

/// S3 access keys.
#[derive(Subcommand)]
pub enum S3KeyCommand {
    /// Make a key pair. The secret is printed once.
    Create(Changing<NewS3Key>),
    /// List a principal's key pairs.
    #[command(visible_alias = "ls")]
    List(Listed<Owner>),
    /// Remove a key pair.
    #[command(visible_alias = "rm")]
    Delete(Changing<OldS3Key>),
}

/// Whose keys.
#[derive(Args)]
pub struct Owner {
    /// Principal (name or id).
    #[arg(add = names::<Users>())]
    principal: String,
}

/// A key to make.
#[derive(Args)]
pub struct NewApiKey {
    #[command(flatten)]
    new: NewS3Key,
    /// Days until it expires: at most 365. Default: 90.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: Option<u64>,
}

/// A key pair to make.
#[derive(Args)]
pub struct NewS3Key {
    /// Principal (name or id) that it is for.
    #[arg(add = names::<Users>())]
    principal: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

/// A key to remove.
#[derive(Args)]
pub struct OldApiKey {
    /// The key's id.
    id: String,
}

/// A key pair to remove.
#[derive(Args)]
pub struct OldS3Key {
    /// The access key id.
    access_key_id: String,
}

/// `photon api-key`
pub async fn run(command: ApiKeyCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        ApiKeyCommand::Create(Changing { flags, once }) => {
            let request = CreateApiKeyRequest {
                principal_id: whose(desk, &flags.new.principal).await?.0,
                description: flags.new.description,
                ttl_seconds: flags.days.unwrap_or_default() * 86_400,
                ..Default::default()
            };
            let answer = desk.change(&once, request).await?;
            desk.output.message("iam.v1.CreateApiKeyResponse", &answer)
        }
        ApiKeyCommand::List(list) => {
            let request = ListApiKeysRequest {
                principal_id: whose(desk, &list.filter.principal).await?.0,
                ..Default::default()
            };
            desk.print_all(request, KEY_COLUMNS, &list.shape).await
        }
        ApiKeyCommand::Delete(Changing { flags, once }) => {
            let request = DeleteApiKeyRequest::of(&flags.id);
            desk.change(&once, request).await?;
            desk.output.done(&format!("API key {} is gone.", flags.id))
        }
    }
}

/// `photon s3-key`
pub async fn run_s3(command: S3KeyCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        S3KeyCommand::Create(Changing { flags, once }) => {
            let request = CreateS3AccessKeyRequest {
                principal_id: whose(desk, &flags.principal).await?.0,
                description: flags.description,
                ..Default::default()
            };
            let answer = desk.change(&once, request).await?;
            desk.output
                .message("iam.v1.CreateS3AccessKeyResponse", &answer)
        }
        S3KeyCommand::List(list) => {
            let request = ListS3AccessKeysRequest {
                principal_id: whose(desk, &list.filter.principal).await?.0,
                ..Default::default()
            };
            desk.print_all(request, S3_COLUMNS, &list.shape).await
        }
        S3KeyCommand::Delete(Changing { flags, once }) => {
            let request = DeleteS3AccessKeyRequest {
                access_key_id: flags.access_key_id.clone(),
                ..Default::default()
            };
            desk.change(&once, request).await?;
            let key = &flags.access_key_id;
            desk.output.done(&format!("S3 access key {key} is gone."))
        }
    }
}
