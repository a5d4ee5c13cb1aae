//! What PrismNET refuses a caller of this server, as this server's own refusal: the same kind, about the fields that the
//! caller gave.

use std::collections::HashMap;

use photon_resource::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What PrismNET counts, as its quotas are called.
const QUOTAS: [&str; 6] = [
    "vpcs",
    "subnets",
    "subnets_of_vpc",
    "ports",
    "security_groups",
    "security_group_rules",
];
/// What it calls the things that a port is made of.
const KINDS: [&str; 5] = ["subnet", "security group", "VPC", "port", "address"];
/// Fields that the caller's interface has as CreatePort has them.
const FIELDS: [&str; 2] = ["subnet_id", "security_group_ids"];

/// How the caller of this server named what PrismNET was asked about.
pub(super) struct Fields<'a> {
    within: &'a str,
}

impl<'a> Fields<'a> {
    /// Fields of the interface that is `within` in the caller's request.
    pub(super) fn new(within: &'a str) -> Self {
        Self { within }
    }

    fn own(&self, theirs: &str) -> String {
        match FIELDS.contains(&theirs) {
            true => format!("{}.{theirs}", self.within),
            false => self.within.to_owned(),
        }
    }
}

/// A refusal in the words of this server's callers.
pub(super) fn refusal(status: &Status, fields: &Fields<'_>) -> Error {
    let details = status.get_error_details();
    let known = details.error_info().map(|info| &info.metadata);
    let of = |key: &str| -> String {
        known
            .and_then(|known: &HashMap<String, String>| known.get(key).cloned())
            .unwrap_or_default()
    };
    let kind = KINDS.into_iter().find(|kind| *kind == of("kind"));
    let text = || status.message().to_owned();
    match status.code() {
        Code::InvalidArgument => {
            Error::invalid(fields.own(&of("field")), of("value"), of("expected"))
        }
        Code::NotFound => match kind {
            Some(kind) => Error::not_found(kind, of("id")),
            // A project or organization that is not there.
            None => Error::FailedPrecondition(text()),
        },
        Code::AlreadyExists => Error::already_exists(kind.unwrap_or("port"), of("id")),
        Code::FailedPrecondition => Error::FailedPrecondition(text()),
        Code::PermissionDenied => Error::PermissionDenied {
            action: of("action"),
            resource: of("resource"),
            reason: "the VM's interface needs it".to_owned(),
        },
        Code::Unauthenticated => Error::Unauthenticated(text()),
        Code::ResourceExhausted => {
            let quota = QUOTAS.into_iter().find(|quota| *quota == of("quota"));
            match (quota, of("used").parse(), of("limit").parse()) {
                (Some(quota), Ok(used), Ok(limit)) => {
                    Error::quota_exceeded(quota, used, limit, text())
                }
                _ => Error::ResourceExhausted(text()),
            }
        }
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Error::internal(format!("PrismNET, about {}: {status}", fields.within))
        }
        _ => Error::Unavailable(format!(
            "PrismNET can't be reached about {} ({}): try again",
            fields.within,
            status.message()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn same(theirs: Error, ours: &str) {
        let status = photon_service::status(theirs);
        let error = refusal(&status, &Fields::new("spec.network[1]"));
        assert_eq!(error.to_string(), ours);
        assert_eq!(photon_service::status(error).code(), status.code());
    }

    #[test]
    fn a_refusal_is_of_the_same_kind_about_the_callers_own_fields() {
        same(
            Error::invalid("subnet_id", "", "the id or name of a subnet"),
            "spec.network[1].subnet_id '' is not valid: expected the id or name of a subnet",
        );
        same(
            Error::invalid("name", "x", "another"),
            "spec.network[1] 'x' is not valid: expected another",
        );
        same(
            Error::not_found("subnet", "front"),
            "subnet 'front' not found",
        );
        same(
            Error::quota_exceeded("ports", 3, 3, "the project may have 3 ports"),
            "the project may have 3 ports",
        );
        same(
            Error::ResourceExhausted("no address left".into()),
            "no address left",
        );
        same(
            Error::PermissionDenied {
                action: "network:ports:create".into(),
                resource: "org/a/project/b/ports/*".into(),
                reason: "no role permits it".into(),
            },
            "network:ports:create on org/a/project/b/ports/* is not permitted: the VM's interface needs it",
        );
        same(
            Error::Unavailable("wait".into()),
            "PrismNET can't be reached about spec.network[1] (wait): try again",
        );
    }
}
