//! Bindings.

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    CreateBindingRequest, DeleteBindingRequest, GetBindingRequest, ListBindingsRequest,
};
use photon_client::call::Of;

use super::principal::whose;
use crate::error::Failure;
use crate::noun::{Changing, Desk};
use crate::output::Column;
use crate::session::Session;

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
    Create(Changing<New>),
    /// Show one.
    Get(ById),
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
    Delete(Changing<ById>),
}

/// A binding to make.
#[derive(Args)]
pub struct New {
    /// Principal (name or id).
    principal: String,
    /// Role (name or id).
    role: String,
    /// `system`, `org/ORG` or `org/ORG/project/PROJECT`.
    #[arg(long)]
    scope: Option<String>,
}

/// Which binding: it has no name.
#[derive(Args)]
pub struct ById {
    /// Its id.
    id: String,
}

fn scope_in_use(session: &Session) -> Result<String, Failure> {
    match (session.org.as_str(), session.project.as_str()) {
        ("", _) => Err(Failure::Local(
            "where shall the role count? Give --scope org/ORG/project/PROJECT, or --org and --project".into(),
        )),
        (org, "") => Ok(format!("org/{org}")),
        (org, project) => Ok(format!("org/{org}/project/{project}")),
    }
}

/// `photon binding`
pub async fn run(command: BindingCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        BindingCommand::Create(Changing { flags, once }) => {
            let scope = match flags.scope {
                Some(scope) => scope,
                None => scope_in_use(desk.session)?,
            };
            let request = CreateBindingRequest {
                // By what they were given: who may give roles here need not see all of both.
                principal_id: flags.principal,
                role_id: flags.role,
                scope,
                ..Default::default()
            };
            desk.output.one(&desk.make(&once, request).await?)
        }
        BindingCommand::Get(one) => {
            let found = desk.find::<GetBindingRequest>("binding", &one.id).await?;
            desk.output.one(&found)
        }
        BindingCommand::List { principal, scope } => {
            let principal_id = match principal {
                Some(name) => whose(desk, &name).await?.0,
                None => String::new(),
            };
            let request = ListBindingsRequest {
                principal_id,
                scope,
                ..Default::default()
            };
            desk.print_all(request, COLUMNS).await
        }
        BindingCommand::Delete(Changing { flags, once }) => {
            let request = DeleteBindingRequest::of(&flags.id);
            desk.change(&once, request).await?;
            desk.output.done(&format!("Binding {} is gone.", flags.id))
        }
    }
}
