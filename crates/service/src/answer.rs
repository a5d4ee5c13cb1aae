//! What a call answers, and the one place where an error of the domain becomes a gRPC status.
//!
//! Its message is for people. For programs the status carries, as `google.rpc` messages in `grpc-status-details-bin`:
//!
//! | error | `ErrorInfo.reason` | `ErrorInfo.metadata` | beside it |
//! | --- | --- | --- | --- |
//! | a field's value | `INVALID_ARGUMENT` | `field`, `value`, `expected` | `BadRequest` |
//! | absent | `NOT_FOUND` | `kind`, `id` | – |
//! | taken | `ALREADY_EXISTS` | `kind`, `id` | – |
//! | was used, and is deleted | `ID_RETIRED` | `kind`, `id` | – |
//! | the state does not allow it | `FAILED_PRECONDITION` | – | `PreconditionFailure` of type `STATE` |
//! | used by others | `IN_USE` | `kind`, `id` | `PreconditionFailure` of type `IN_USE` |
//! | another revision | `REVISION_CONFLICT` | `kind`, `id`, `expected`, `actual` | `PreconditionFailure` of type `REVISION` |
//! | the policy refuses | `PERMISSION_DENIED` | `action`, `resource` | – |
//! | no caller | `UNAUTHENTICATED` | – | – |
//! | a quota is used up | `QUOTA_EXCEEDED` | `quota`, `used`, `limit` | `QuotaFailure` |
//! | another limit | `RESOURCE_EXHAUSTED` | – | – |
//! | not now | `UNAVAILABLE` | – | – |
//!
//! `ErrorInfo.domain` is [`DOMAIN`]. An internal error says nothing to the caller; its cause is logged here.

use std::collections::HashMap;
use std::future::Future;

use photon_resource::Error;
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Whose reasons they are: `ErrorInfo.domain`.
pub const DOMAIN: &str = "photoncloud";

/// Answers a call with what `work` gives.
///
/// Errors: `work`'s, as a [`status`].
pub async fn answer<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<Response<T>, Status> {
    work.await.map(Response::new).map_err(status)
}

/// What a caller is told of `error`. The cause of an internal error goes to the log alone.
pub fn status(error: Error) -> Status {
    if let Error::Internal(cause) = &error {
        tracing::error!(error = %cause, details = ?cause, "internal error");
    }
    let text = error.to_string();
    let code = code(&error);
    match details(&error, &text) {
        Some(details) => Status::with_error_details(code, text, details),
        None => Status::new(code, text),
    }
}

/// The gRPC code of `error`.
pub fn code(error: &Error) -> Code {
    match error {
        Error::InvalidArgument { .. } => Code::InvalidArgument,
        Error::NotFound { .. } => Code::NotFound,
        Error::AlreadyExists { .. } | Error::Taken { .. } | Error::Retired { .. } => {
            Code::AlreadyExists
        }
        Error::FailedPrecondition(_) | Error::InUse { .. } => Code::FailedPrecondition,
        Error::PermissionDenied { .. } => Code::PermissionDenied,
        Error::Unauthenticated(_) => Code::Unauthenticated,
        Error::Conflict { .. } => Code::Aborted,
        Error::ResourceExhausted(_) | Error::QuotaExceeded { .. } => Code::ResourceExhausted,
        Error::Unavailable(_) => Code::Unavailable,
        Error::Internal(_) => Code::Internal,
    }
}

/// The details of `error`, whose text is `text`; `None`: the caller may know of none.
fn details(error: &Error, text: &str) -> Option<ErrorDetails> {
    let mut details = ErrorDetails::new();
    let (reason, metadata) = match error {
        Error::InvalidArgument {
            field,
            value,
            expected,
        } => {
            details.add_bad_request_violation(field, format!("expected {expected}"));
            let known = [("field", field), ("value", value), ("expected", expected)];
            ("INVALID_ARGUMENT", metadata(known))
        }
        Error::NotFound { kind, id } => ("NOT_FOUND", metadata([("kind", *kind), ("id", id)])),
        Error::AlreadyExists { kind, id } | Error::Taken { kind, id, .. } => {
            ("ALREADY_EXISTS", metadata([("kind", *kind), ("id", id)]))
        }
        Error::Retired { kind, id } => ("ID_RETIRED", metadata([("kind", *kind), ("id", id)])),
        Error::FailedPrecondition(_) => {
            details.add_precondition_failure_violation("STATE", "", text);
            ("FAILED_PRECONDITION", HashMap::new())
        }
        Error::InUse { kind, id, .. } => {
            details.add_precondition_failure_violation("IN_USE", format!("{kind} '{id}'"), text);
            ("IN_USE", metadata([("kind", *kind), ("id", id)]))
        }
        Error::PermissionDenied {
            action, resource, ..
        } => {
            let known = [("action", action), ("resource", resource)];
            ("PERMISSION_DENIED", metadata(known))
        }
        Error::Unauthenticated(_) => ("UNAUTHENTICATED", HashMap::new()),
        Error::Conflict {
            kind,
            id,
            expected,
            actual,
        } => {
            details.add_precondition_failure_violation("REVISION", format!("{kind} '{id}'"), text);
            let mut known = metadata([("kind", *kind), ("id", id)]);
            known.insert("expected".into(), expected.to_string());
            known.insert("actual".into(), actual.to_string());
            ("REVISION_CONFLICT", known)
        }
        Error::QuotaExceeded {
            quota, used, limit, ..
        } => {
            details.add_quota_failure_violation(*quota, text);
            let mut known = metadata([("quota", *quota)]);
            known.insert("used".into(), used.to_string());
            known.insert("limit".into(), limit.to_string());
            ("QUOTA_EXCEEDED", known)
        }
        Error::ResourceExhausted(_) => ("RESOURCE_EXHAUSTED", HashMap::new()),
        Error::Unavailable(_) => ("UNAVAILABLE", HashMap::new()),
        Error::Internal(_) => return None,
    };
    details.set_error_info(reason, DOMAIN, metadata);
    Some(details)
}

fn metadata<const N: usize>(known: [(&str, impl AsRef<str>); N]) -> HashMap<String, String> {
    known
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.as_ref().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_reads_nothing_of_an_internal_cause() {
        let status = status(Error::internal("disk /dev/sda1 is full"));
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "internal error");
        assert!(status.details().is_empty(), "{status:?}");
    }

    #[test]
    fn a_quota_says_how_much_is_used_and_how_much_there_may_be() {
        let error = Error::quota_exceeded("images", 20, 20, "project 'web' has its 20 images");
        let status = status(error);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "project 'web' has its 20 images");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("QUOTA_EXCEEDED", DOMAIN));
        let expected = [("quota", "images"), ("used", "20"), ("limit", "20")];
        assert_eq!(info.metadata, metadata(expected));
        let violation = &details.quota_failure().unwrap().violations[0];
        assert_eq!(violation.subject, "images");
        assert_eq!(violation.description, status.message());
    }

    #[test]
    fn what_is_used_and_what_has_changed_says_which_thing_it_is() {
        let used = status(Error::in_use("VPC", "v-1", "VPC 'web' has 2 subnets"));
        assert_eq!(used.code(), Code::FailedPrecondition);
        assert_eq!(used.message(), "VPC 'web' has 2 subnets");
        let details = used.get_error_details();
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert_eq!(
            (&*violation.r#type, &*violation.subject),
            ("IN_USE", "VPC 'v-1'")
        );

        let changed = status(Error::Conflict {
            kind: "VPC",
            id: "v-1".into(),
            expected: 3,
            actual: 5,
        });
        assert_eq!(changed.code(), Code::Aborted);
        let info = changed.get_details_error_info().unwrap();
        let expected = [
            ("kind", "VPC"),
            ("id", "v-1"),
            ("expected", "3"),
            ("actual", "5"),
        ];
        assert_eq!(info.metadata, metadata(expected));
    }
}
