//! A host speaks for itself alone.

use photon_resource::{Caller, Error, Kind, PrincipalKind, ResourceName, Scope};

use crate::access::Access;

/// The longest name of a host that a refusal repeats, in bytes: no other is one.
const LONGEST_NAME: usize = 63;

/// Whether an agent asks about its own host, and may do `action` (`service:nodes:verb`) on it; answers with the host's
/// resource name.
///
/// Errors: `PermissionDenied`, recorded, for everybody but the agents of the host `node`, operators too.
pub async fn only_itself(
    access: &Access,
    caller: &Caller,
    kind: Kind,
    verb: &str,
    node: &str,
) -> Result<ResourceName, Error> {
    let action = kind.action(verb);
    let claims = &caller.claims;
    let own = claims.kind == PrincipalKind::Node && claims.node.as_deref() == Some(node);
    // The name of a resource, and the log of refusals, can't hold whatever a request does.
    let resource = kind.name(Scope::System, if own { node } else { "another" });
    if !own {
        let reason = match (&claims.kind, &claims.node) {
            (PrincipalKind::Node, Some(own)) if node.len() <= LONGEST_NAME => {
                format!("a host speaks for itself alone: this one is '{own}', not '{node}'")
            }
            (PrincipalKind::Node, Some(own)) => {
                format!("a host speaks for itself alone: this one is '{own}'")
            }
            _ => "this call is for the agents of hosts alone".to_owned(),
        };
        access
            .guard()
            .record(caller, &action, &resource, &reason)
            .await;
        return Err(Error::PermissionDenied {
            action,
            resource: resource.to_string(),
            reason,
        });
    }
    access
        .guard()
        .authorize(caller, &action, &resource, &[("node", node)])
        .await?;
    Ok(resource)
}
