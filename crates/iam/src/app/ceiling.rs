//! Nobody gives what they don't have: neither by a binding, nor by a role that is bound already, nor by getting
//! hold of somebody else's credential. `policy::beyond` says what is covered.

use std::time::SystemTime;

use photon_resource::{Caller, Error, PrincipalId, ResourceName, Scope};

use super::Core;
use crate::model::Permission;
use crate::policy::{Grant, beyond};

/// What the caller's bindings permit within the scope of its token.
async fn own_grants(core: &Core, caller: &Caller) -> Result<Vec<Grant>, Error> {
    match core.live.known(caller.claims.principal_id).await? {
        Some(known) => Ok(known.rights.grants().to_vec()),
        None => Ok(Vec::new()),
    }
}

fn refusal(action: &str, resource: &ResourceName, permission: &Permission, whose: &str) -> Error {
    let condition = match &permission.condition {
        Some(condition) => format!(" if {condition}"),
        None => String::new(),
    };
    Error::PermissionDenied {
        action: action.to_owned(),
        resource: resource.to_string(),
        reason: format!(
            "{whose} permits {} on '{}'{condition}, which you may not do there yourself",
            permission.action, permission.resource
        ),
    }
}

/// Refuses unless the caller may do all of `permissions` at `scope` until `end` itself.
pub async fn check_permissions(
    core: &Core,
    caller: &Caller,
    action: &str,
    resource: &ResourceName,
    (role_name, permissions): (&str, &[Permission]),
    scope: &Scope,
    end: Option<SystemTime>,
) -> Result<(), Error> {
    let own = own_grants(core, caller).await?;
    match beyond(&own, permissions, scope, end, SystemTime::now()) {
        None => Ok(()),
        Some(permission) => Err(refusal(
            action,
            resource,
            permission,
            &format!("role {role_name}"),
        )),
    }
}

/// Refuses to hand the caller a credential of a principal that may do more than the caller. One's own is no
/// matter.
pub async fn check_principal(
    core: &Core,
    caller: &Caller,
    action: &str,
    resource: &ResourceName,
    principal: PrincipalId,
) -> Result<(), Error> {
    if caller.claims.principal_id == principal {
        return Ok(());
    }
    let own = own_grants(core, caller).await?;
    let Some(known) = core.live.known(principal).await? else {
        return Ok(());
    };
    let now = SystemTime::now();
    for grant in known.rights.grants() {
        let binding = &grant.binding;
        if !binding.active(now) {
            continue;
        }
        if let Some(permission) = beyond(
            &own,
            &grant.permissions,
            &binding.scope,
            binding.expires_at,
            now,
        ) {
            let whose = format!("{} at {}", grant.role_name, binding.scope);
            return Err(refusal(
                action,
                resource,
                permission,
                &format!("its role {whose}"),
            ));
        }
    }
    Ok(())
}
