//! Roles.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    CreateRoleRequest, DeleteRoleRequest, GetRoleRequest, ListRolesRequest, Permission,
    PermissionList, Role, UpdateRoleRequest,
};
use serde::Deserialize;

use super::{all_pages, confirm, present, read_text};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "iam.v1.Role";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ORG", "org_id"),
    ("BUILT-IN", "built_in"),
    ("DESCRIPTION", "description"),
];

/// Roles.
#[derive(Subcommand)]
pub enum RoleCommand {
    /// Make a custom role.
    Create {
        /// Its name, unique in the organization.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        permissions: Permissions,
    },
    /// Show one, with its permissions.
    Get {
        /// Name or id.
        name: String,
    },
    /// List built-in roles and the organization's.
    List,
    /// Change a custom role; permissions, if given, replace all it has.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        permissions: Permissions,
    },
    /// Remove a custom role that no binding uses any more.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// What a role permits.
#[derive(Args)]
pub struct Permissions {
    /// An action, for example `compute:instances:*`; optionally with a resource pattern:
    /// `compute:instances:get=org/acme/project/*/instances/*`. Can be repeated.
    #[arg(long = "permit", value_name = "ACTION[=RESOURCE]")]
    permit: Vec<String>,
    /// A JSON file with a list of {action, resource, condition}; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    permissions_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionEntry {
    action: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    condition: String,
}

impl Permissions {
    fn read(&self) -> Result<Vec<Permission>, Failure> {
        let mut permissions: Vec<Permission> = self
            .permit
            .iter()
            .map(|text| {
                let (action, resource) = text.split_once('=').unwrap_or((text, ""));
                Permission {
                    action: action.to_owned(),
                    resource: resource.to_owned(),
                    condition: String::new(),
                }
            })
            .collect();
        if let Some(path) = &self.permissions_file {
            let entries: Vec<PermissionEntry> = serde_json::from_str(&read_text(path)?)
                .map_err(|error| Failure::file("read permissions from", path, error))?;
            permissions.extend(entries.into_iter().map(|entry| Permission {
                action: entry.action,
                resource: entry.resource,
                condition: entry.condition,
            }));
        }
        Ok(permissions)
    }
}

/// The role of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<Role, Failure> {
    let request = GetRoleRequest {
        id: name.to_owned(),
        org_id: session.org(),
    };
    let answer = session.admin().await?.get_role(request).await?.into_inner();
    present(answer.role, "role")
}

/// `photon role`
pub async fn run(command: RoleCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    let org_id = session.org();
    match command {
        RoleCommand::Create {
            name,
            description,
            permissions,
        } => {
            let request = CreateRoleRequest {
                org_id,
                name,
                description,
                permissions: permissions.read()?,
                ..Default::default()
            };
            let answer = admin.create_role(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.role, "role")?)
        }
        RoleCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        RoleCommand::List => {
            let request = ListRolesRequest {
                org_id,
                ..Default::default()
            };
            let all = all_pages!(admin, list_roles, roles, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        RoleCommand::Update {
            name,
            rename,
            description,
            permissions,
        } => {
            let permissions = permissions.read()?;
            let request = UpdateRoleRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                permissions: (!permissions.is_empty()).then_some(PermissionList { permissions }),
                ..Default::default()
            };
            let answer = admin.update_role(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.role, "role")?)
        }
        RoleCommand::Delete { name, yes } => {
            let role = find(session, &name).await?;
            confirm(yes, &format!("Remove role {}?", role.name))?;
            let request = DeleteRoleRequest {
                id: role.id,
                ..Default::default()
            };
            admin.delete_role(request).await?;
            output.done(&format!("Role {name} is gone."));
            Ok(())
        }
    }
}
