//! Roles.

mod compare;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    CreateRoleRequest, DeleteRoleRequest, GetRoleRequest, ListRolesRequest, Permission,
    PermissionList, Role, UpdateRoleRequest,
};
use serde::Deserialize;

use super::{Renaming, read_text, replaced};
use crate::error::Failure;
use crate::noun::{Action, All, Desk, Flags, Noun, Removal, USUAL, Whole, Words};
use crate::output::Column;

/// Roles: what may be done.
pub struct Roles;

impl Noun for Roles {
    type Resource = Role;
    type Get = GetRoleRequest;
    type Filter = All<ListRolesRequest>;
    type Update = Update;
    type Delete = DeleteRoleRequest;

    const WORDS: Words = Words {
        noun: "role",
        create: "Make a custom role",
        get: "Show one, with its permissions",
        list: "List built-in roles and the organization's",
        update: "Change a custom role; permissions, if given, replace all it has",
        delete: "Remove a custom role that no binding uses any more",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("ORG", "org_id"),
        ("BUILT-IN", "built_in"),
        ("DESCRIPTION", "description"),
    ];
}

impl Whole for Roles {
    type New = New;
    type Actions = RoleAction;
    type Removal = Removal<Self>;
}

/// What else can be done with roles.
#[derive(Subcommand)]
pub enum RoleAction {
    /// Say what one role allows that another does not, with examples.
    ///
    /// Both as if given at one scope: --scope, else --project, else --org, else the whole cloud. Each permission that goes
    /// beyond the other role is shown with a request that it allows; where none is shown, there is no such request at all.
    /// Needs the solver cvc5 on this machine.
    Compare(compare::Comparison),
}

impl Action for RoleAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::Compare(comparison) => comparison.run(desk).await,
        }
    }
}

/// A role to make.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the organization.
    name: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    permissions: Permissions,
}

impl Flags for New {
    type Request = CreateRoleRequest;

    async fn request(self, _: &Desk<'_>) -> Result<CreateRoleRequest, Failure> {
        Ok(CreateRoleRequest {
            name: self.name,
            description: self.description,
            permissions: self.permissions.read()?,
            ..Default::default()
        })
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    #[command(flatten)]
    permissions: Permissions,
    /// Take all its permissions away.
    #[arg(long, conflicts_with_all = ["permit", "permissions_file"])]
    no_permissions: bool,
}

impl Flags for Update {
    type Request = UpdateRoleRequest;

    async fn request(self, _: &Desk<'_>) -> Result<UpdateRoleRequest, Failure> {
        let permissions = replaced(self.permissions.read()?, self.no_permissions);
        Ok(UpdateRoleRequest {
            name: self.meta.rename,
            description: self.meta.description,
            permissions: permissions.map(|permissions| PermissionList { permissions }),
            ..Default::default()
        })
    }
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
