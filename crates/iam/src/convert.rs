//! Between the wire and the domain. What can't be understood is refused here, with the field that it is in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use photon_api::iam::v1 as api;
use photon_resource::{Error, PrincipalKind};

use crate::model::{
    ApiKey, Binding, Organization, Permission, Principal, Project, Role, S3AccessKey,
};

/// More permissions than this are a mistake; each is evaluated in every decision about whoever has the role.
const MAX_PERMISSIONS: usize = 100;
const MAX_PATTERN: usize = 512;

impl From<&Organization> for api::Organization {
    fn from(organization: &Organization) -> Self {
        Self {
            id: organization.id.to_string(),
            name: organization.name.clone(),
            description: organization.description.clone(),
            created_at: Some(organization.created_at.into()),
            updated_at: Some(organization.updated_at.into()),
            revision: organization.revision,
        }
    }
}

impl From<&Project> for api::Project {
    fn from(project: &Project) -> Self {
        Self {
            id: project.id.to_string(),
            org_id: project.org_id.to_string(),
            name: project.name.clone(),
            description: project.description.clone(),
            created_at: Some(project.created_at.into()),
            updated_at: Some(project.updated_at.into()),
            revision: project.revision,
        }
    }
}

impl From<&Principal> for api::Principal {
    fn from(principal: &Principal) -> Self {
        Self {
            id: principal.id.to_string(),
            org_id: principal
                .org_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            name: principal.name.clone(),
            kind: wire_kind(principal.kind) as i32,
            description: principal.description.clone(),
            disabled: principal.disabled,
            created_at: Some(principal.created_at.into()),
            updated_at: Some(principal.updated_at.into()),
            revision: principal.revision,
            node: principal.node.clone().unwrap_or_default(),
        }
    }
}

impl From<&ApiKey> for api::ApiKey {
    fn from(api_key: &ApiKey) -> Self {
        Self {
            id: api_key.id.to_string(),
            principal_id: api_key.principal_id.to_string(),
            description: api_key.description.clone(),
            created_at: Some(api_key.created_at.into()),
            expires_at: api_key.expires_at.map(Into::into),
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

impl From<&Permission> for api::Permission {
    fn from(permission: &Permission) -> Self {
        Self {
            action: permission.action.to_string(),
            resource: permission.resource.to_string(),
            condition: permission
                .condition
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        }
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
            permissions: role.permissions.iter().map(Into::into).collect(),
            built_in: role.built_in,
            created_at: time(role.created_at),
            updated_at: time(role.updated_at),
            revision: role.revision,
        }
    }
}

impl From<&Binding> for api::Binding {
    fn from(binding: &Binding) -> Self {
        Self {
            id: binding.id.to_string(),
            principal_id: binding.principal_id.to_string(),
            role_id: binding.role_id.clone(),
            scope: binding.scope.to_string(),
            created_at: Some(binding.created_at.into()),
            expires_at: binding.expires_at.map(Into::into),
            revision: binding.revision,
        }
    }
}

fn wire_kind(kind: PrincipalKind) -> api::PrincipalKind {
    match kind {
        PrincipalKind::User => api::PrincipalKind::User,
        PrincipalKind::ServiceAccount => api::PrincipalKind::ServiceAccount,
        PrincipalKind::Node => api::PrincipalKind::Node,
        PrincipalKind::Service => api::PrincipalKind::Service,
    }
}

/// The kind as the API spells it.
pub fn principal_kind_name(kind: PrincipalKind) -> &'static str {
    wire_kind(kind).as_str_name()
}

/// The kind, or `None` for an unspecified one.
pub fn principal_kind_or_any(kind: i32) -> Result<Option<PrincipalKind>, Error> {
    match api::PrincipalKind::try_from(kind) {
        Ok(api::PrincipalKind::Unspecified) => Ok(None),
        Ok(api::PrincipalKind::User) => Ok(Some(PrincipalKind::User)),
        Ok(api::PrincipalKind::ServiceAccount) => Ok(Some(PrincipalKind::ServiceAccount)),
        Ok(api::PrincipalKind::Node) => Ok(Some(PrincipalKind::Node)),
        Ok(api::PrincipalKind::Service) => Ok(Some(PrincipalKind::Service)),
        Err(_) => Err(wrong_kind(kind)),
    }
}

/// The kind, which must be one.
pub fn principal_kind(kind: i32) -> Result<PrincipalKind, Error> {
    principal_kind_or_any(kind)?.ok_or_else(|| wrong_kind(kind))
}

fn wrong_kind(kind: i32) -> Error {
    Error::invalid(
        "kind",
        kind,
        "PRINCIPAL_KIND_USER, _SERVICE_ACCOUNT, _NODE or _SERVICE",
    )
}

/// The permissions of a role. Errors name the permission and, in its patterns and condition, the column.
pub fn permissions(list: &[api::Permission]) -> Result<Vec<Permission>, Error> {
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

/// A point in time that clocks can show.
pub fn time(field: &str, wire: &prost_types::Timestamp) -> Result<SystemTime, Error> {
    // 9999-12-31T23:59:59Z, the last that RFC 3339 can write.
    const LAST: i64 = 253_402_300_799;
    let wrong = || {
        let expected = "a time between 1970 and 9999";
        Error::invalid(field, format!("{} s since 1970", wire.seconds), expected)
    };
    if !(0..=LAST).contains(&wire.seconds) {
        return Err(wrong());
    }
    let seconds = u64::try_from(wire.seconds).map_err(|_| wrong())?;
    let nanos = u32::try_from(wire.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    let since = Duration::new(seconds, nanos.ok_or_else(wrong)?);
    // Records keep milliseconds.
    Ok(UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).map_err(|_| wrong())?))
}
