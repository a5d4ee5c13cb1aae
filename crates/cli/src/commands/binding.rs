//! Bindings.

use clap::Subcommand;
use photon_api::iam::v1::{
    CreateBindingRequest, DeleteBindingRequest, GetBindingRequest, ListBindingsRequest,
};

use super::{all_pages, present, principal, role};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "iam.v1.Binding";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("PRINCIPAL", "principal_id"),
    ("ROLE", "role_id"),
    ("SCOPE", "scope"),
    ("EXPIRES", "expires_at"),
];

/// Bindings.
#[derive(Subcommand)]
pub enum BindingCommand {
    /// Give a principal a role. Scope: --scope, else --project, else --org.
    Create {
        /// Principal (name or id).
        principal: String,
        /// Role (name or id).
        role: String,
        /// `system`, `org/ORG` or `org/ORG/project/PROJECT`.
        #[arg(long)]
        scope: Option<String>,
    },
    /// Show one.
    Get {
        /// Its id.
        id: String,
    },
    /// List bindings.
    List {
        /// Only of this principal (name or id).
        #[arg(long)]
        principal: Option<String>,
        /// Only at or below this scope.
        #[arg(long, default_value = "")]
        scope: String,
    },
    /// Remove one; it stops counting at once.
    Delete {
        /// Its id.
        id: String,
    },
}

fn scope_in_use(session: &Session) -> Result<String, Failure> {
    match (session.org().as_str(), session.project().as_str()) {
        ("", _) => Err(Failure::Local(
            "where shall the role count? Give --scope org/ORG/project/PROJECT, or --org and --project".into(),
        )),
        (org, "") => Ok(format!("org/{org}")),
        (org, project) => Ok(format!("org/{org}/project/{project}")),
    }
}

/// `photon binding`
pub async fn run(
    command: BindingCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    match command {
        BindingCommand::Create {
            principal,
            role,
            scope,
        } => {
            let scope = match scope {
                Some(scope) => scope,
                None => scope_in_use(session)?,
            };
            let request = CreateBindingRequest {
                principal_id: principal::find(session, &principal).await?.id,
                role_id: role::find(session, &role).await?.id,
                scope,
                ..Default::default()
            };
            let answer = admin.create_binding(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.binding, "binding")?)
        }
        BindingCommand::Get { id } => {
            let answer = admin
                .get_binding(GetBindingRequest { id })
                .await?
                .into_inner();
            output.one(MESSAGE, &present(answer.binding, "binding")?)
        }
        BindingCommand::List { principal, scope } => {
            let principal_id = match principal {
                Some(name) => principal::find(session, &name).await?.id,
                None => String::new(),
            };
            let request = ListBindingsRequest {
                principal_id,
                scope,
                ..Default::default()
            };
            let all = all_pages!(admin, list_bindings, bindings, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        BindingCommand::Delete { id } => {
            let request = DeleteBindingRequest {
                id: id.clone(),
                ..Default::default()
            };
            admin.delete_binding(request).await?;
            output.done(&format!("Binding {id} is gone."));
            Ok(())
        }
    }
}
