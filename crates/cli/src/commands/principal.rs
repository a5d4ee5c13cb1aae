//! Users and service accounts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    CreatePrincipalRequest, DeletePrincipalRequest, GetPrincipalRequest, ListPrincipalsRequest,
    Principal, PrincipalKind, SetPasswordRequest, UpdatePrincipalRequest,
};

use super::{all_pages, confirm, present, read_secret};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "iam.v1.Principal";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ORG", "org_id"),
    ("KIND", "kind"),
    ("DISABLED", "disabled"),
    ("DESCRIPTION", "description"),
];

/// People who sign in with a password.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Make a user.
    Create {
        #[command(flatten)]
        new: NewPrincipal,
        /// File with the first password (at least 12 characters); `-` is standard input. Without it the user
        /// has none until `photon user set-password`.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Set a password: yours (the current one is asked for) or, with the right to, another user's.
    SetPassword {
        /// Name or id.
        name: String,
        /// File with the new password; `-` is standard input. Without it you are asked.
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// File with the current password, when it is your own that you change.
        #[arg(long)]
        current_password_file: Option<PathBuf>,
    },
    #[command(flatten)]
    Principal(PrincipalCommand),
}

/// Programs that sign in with an API key.
#[derive(Subcommand)]
pub enum ServiceAccountCommand {
    /// Make a service account.
    Create {
        #[command(flatten)]
        new: NewPrincipal,
    },
    #[command(flatten)]
    Principal(PrincipalCommand),
}

/// A principal to make.
#[derive(Args)]
pub struct NewPrincipal {
    /// Its name, unique in the organization.
    name: String,
    /// What or who it is.
    #[arg(long, default_value = "")]
    description: String,
}

/// What users and service accounts have in common.
#[derive(Subcommand)]
pub enum PrincipalCommand {
    /// Show one.
    Get {
        /// Name or id.
        name: String,
    },
    /// List the organization's.
    List,
    /// Change name or description.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
    },
    /// No more tokens for it; those it has stop working at once.
    Disable {
        /// Name or id.
        name: String,
    },
    /// Undo `disable`.
    Enable {
        /// Name or id.
        name: String,
    },
    /// Remove it with its credentials and bindings.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The principal of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<Principal, Failure> {
    let request = GetPrincipalRequest {
        id: name.to_owned(),
        org_id: session.org(),
    };
    let answer = session
        .admin()
        .await?
        .get_principal(request)
        .await?
        .into_inner();
    present(answer.principal, "principal")
}

async fn create(
    session: &Session,
    output: &Output,
    new: NewPrincipal,
    kind: PrincipalKind,
    password: String,
) -> Result<(), Failure> {
    let request = CreatePrincipalRequest {
        org_id: session.org(),
        name: new.name,
        kind: kind.into(),
        description: new.description,
        password,
        ..Default::default()
    };
    let answer = session
        .admin()
        .await?
        .create_principal(request)
        .await?
        .into_inner();
    output.one(MESSAGE, &present(answer.principal, "principal")?)
}

/// `photon user`
pub async fn run_user(
    command: UserCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        UserCommand::Create { new, password_file } => {
            let password = match &password_file {
                Some(path) => read_secret(Some(path), "")?,
                None => String::new(),
            };
            create(session, output, new, PrincipalKind::User, password).await
        }
        UserCommand::SetPassword {
            name,
            password_file,
            current_password_file,
        } => {
            let principal = find(session, &name).await?;
            let current_password = match &current_password_file {
                Some(path) => read_secret(Some(path), "")?,
                None if session.context.principal.as_deref() == Some(principal.name.as_str()) => {
                    read_secret(None, "Current password: ")?
                }
                None => String::new(),
            };
            let new_password = read_secret(
                password_file.as_deref(),
                &format!("New password of {name}: "),
            )?;
            let request = SetPasswordRequest {
                principal_id: principal.id,
                current_password,
                new_password,
                ..Default::default()
            };
            session.admin().await?.set_password(request).await?;
            output.done(&format!("The password of {name} is set."));
            Ok(())
        }
        UserCommand::Principal(command) => run(command, PrincipalKind::User, session, output).await,
    }
}

/// `photon service-account`
pub async fn run_service_account(
    command: ServiceAccountCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let kind = PrincipalKind::ServiceAccount;
    match command {
        ServiceAccountCommand::Create { new } => {
            create(session, output, new, kind, String::new()).await
        }
        ServiceAccountCommand::Principal(command) => run(command, kind, session, output).await,
    }
}

async fn run(
    command: PrincipalCommand,
    kind: PrincipalKind,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let update = async |name: &str, change: UpdatePrincipalRequest| {
        let id = find(session, name).await?.id;
        let request = UpdatePrincipalRequest { id, ..change };
        let answer = session
            .admin()
            .await?
            .update_principal(request)
            .await?
            .into_inner();
        output.one(MESSAGE, &present(answer.principal, "principal")?)
    };
    match command {
        PrincipalCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        PrincipalCommand::List => {
            let request = ListPrincipalsRequest {
                org_id: session.org(),
                kind: kind.into(),
                ..Default::default()
            };
            let mut admin = session.admin().await?;
            let all = all_pages!(admin, list_principals, principals, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        PrincipalCommand::Update {
            name,
            rename,
            description,
        } => {
            let change = UpdatePrincipalRequest {
                name: rename,
                description,
                ..Default::default()
            };
            update(&name, change).await
        }
        PrincipalCommand::Disable { name } => {
            let change = UpdatePrincipalRequest {
                disabled: Some(true),
                ..Default::default()
            };
            update(&name, change).await
        }
        PrincipalCommand::Enable { name } => {
            let change = UpdatePrincipalRequest {
                disabled: Some(false),
                ..Default::default()
            };
            update(&name, change).await
        }
        PrincipalCommand::Delete { name, yes } => {
            let principal = find(session, &name).await?;
            confirm(
                yes,
                &format!(
                    "Remove {} ({}) with its credentials and bindings?",
                    principal.name, principal.id
                ),
            )?;
            let request = DeletePrincipalRequest {
                id: principal.id,
                ..Default::default()
            };
            session.admin().await?.delete_principal(request).await?;
            output.done(&format!("{name} is gone."));
            Ok(())
        }
    }
}
