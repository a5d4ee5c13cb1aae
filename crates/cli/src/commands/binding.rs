//! Bindings.

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    Binding, CreateBindingRequest, DeleteBindingRequest, GetBindingRequest, ListBindingsRequest,
    ListPrincipalsRequest, ListRolesRequest,
};
use photon_client::call::Of;

use super::principal::{Users, whose};
use super::role::Roles;
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{Changing, Desk, name_ids};
use crate::output::{Column, Shape, to_rows};
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
    #[command(visible_alias = "show")]
    Get(ById),
    /// List bindings.
    #[command(visible_alias = "ls")]
    List {
        /// Only of this principal (name or id).
        #[arg(long, add = names::<Users>())]
        principal: Option<String>,
        /// Only at or below this scope.
        #[arg(long, default_value = "", hide_default_value = true)]
        scope: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// Remove one; it stops counting at once.
    #[command(visible_alias = "rm")]
    Delete(Changing<ById>),
}

/// A binding to make.
#[derive(Args)]
pub struct New {
    /// Principal (name or id).
    #[arg(add = names::<Users>())]
    principal: String,
    /// Role (name or id).
    #[arg(add = names::<Roles>())]
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
        BindingCommand::List {
            principal,
            scope,
            shape,
        } => {
            let principal_id = match principal {
                Some(name) => whose(desk, &name).await?.0,
                None => String::new(),
            };
            let request = ListBindingsRequest {
                principal_id,
                scope,
                ..Default::default()
            };
            let found = desk.first(request, shape.enough()).await?;
            let mut rows = to_rows(&found)?;
            if desk.output.has_columns() && !rows.is_empty() {
                name_ids(
                    &mut rows,
                    "principal_id",
                    &desk.names::<ListPrincipalsRequest>().await,
                );
                name_ids(
                    &mut rows,
                    "role_id",
                    &desk.names::<ListRolesRequest>().await,
                );
            }
            desk.print_rows::<Binding>(rows, COLUMNS, &shape)
        }
        BindingCommand::Delete(Changing { flags, once }) => {
            let request = DeleteBindingRequest::of(&flags.id);
            desk.change(&once, request).await?;
            desk.output.done(&format!("Binding {} is gone.", flags.id))
        }
    }
}
