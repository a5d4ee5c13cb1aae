use std::time::SystemTime;

use photon_api::iam::v1 as api;
use photon_resource::{Error, OrgId, validate_description};

use crate::model::{NewRole, Permission, Role, RoleChanges, validate_role_name};

/// More permissions than this are a mistake; each is evaluated in every decision about whoever has the role.
const MAX_PERMISSIONS: usize = 100;
const MAX_PATTERN: usize = 512;

fn on_the_wire(permission: &Permission) -> api::Permission {
    api::Permission {
        action: permission.action.to_string(),
        resource: permission.resource.to_string(),
        condition: permission
            .condition
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

impl From<&Role> for api::Role {
    fn from(role: &Role) -> Self {
        // A built-in role was not made at any time.
        let time = |time: SystemTime| (!role.built_in).then(|| time.into());
        Self {
            id: role.id.clone(),
            org_id: role
                .org_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            name: role.name.clone(),
            description: role.description.clone(),
            permissions: role.permissions.iter().map(on_the_wire).collect(),
            built_in: role.built_in,
            created_at: time(role.created_at),
            updated_at: time(role.updated_at),
            revision: role.revision,
        }
    }
}

/// Errors: `InvalidArgument`.
pub fn new_role(org_id: Option<OrgId>, request: &api::CreateRoleRequest) -> Result<NewRole, Error> {
    validate_role_name(&request.name)?;
    validate_description(&request.description)?;
    Ok(NewRole {
        org_id,
        name: request.name.clone(),
        description: request.description.clone(),
        permissions: permissions(&request.permissions)?,
    })
}

/// Errors: `InvalidArgument`.
pub fn role_changes(request: &api::UpdateRoleRequest) -> Result<RoleChanges, Error> {
    if let Some(name) = &request.name {
        validate_role_name(name)?;
    }
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    let list = request.permissions.as_ref();
    Ok(RoleChanges {
        name: request.name.clone(),
        description: request.description.clone(),
        permissions: list
            .map(|list| permissions(&list.permissions))
            .transpose()?,
        expected_revision: request.expected_revision,
    })
}

/// The permissions of a role. Errors name the permission and, in its patterns and condition, the column.
fn permissions(list: &[api::Permission]) -> Result<Vec<Permission>, Error> {
    if list.is_empty() || list.len() > MAX_PERMISSIONS {
        return Err(Error::invalid(
            "permissions",
            format!("{} permissions", list.len()),
            format!("1 to {MAX_PERMISSIONS}"),
        ));
    }
    list.iter()
        .enumerate()
        .map(|(at, wire)| permission(at, wire))
        .collect()
}

fn permission(at: usize, wire: &api::Permission) -> Result<Permission, Error> {
    let field = |name: &str| format!("permissions[{at}].{name}");
    for (name, pattern) in [("action", &wire.action), ("resource", &wire.resource)] {
        if pattern.len() > MAX_PATTERN {
            let expected = format!("a pattern of at most {MAX_PATTERN} bytes");
            return Err(Error::invalid(field(name), pattern, expected));
        }
    }
    Ok(Permission {
        action: wire.action.parse().map_err(|error| {
            let expected = format!("'SERVICE:TYPE:VERB' with '*' for any: {error}");
            Error::invalid(field("action"), &wire.action, expected)
        })?,
        resource: wire.resource.parse().map_err(|error| {
            let expected = format!("'org/ORG/project/PROJECT/TYPE/ID' with '*' for any: {error}");
            Error::invalid(field("resource"), &wire.resource, expected)
        })?,
        condition: match wire.condition.as_str() {
            "" => None,
            condition => Some(condition.parse().map_err(|error| {
                let expected = format!("a Cedar expression that is true or false: {error}");
                Error::invalid(field("condition"), condition, expected)
            })?),
        },
    })
}
