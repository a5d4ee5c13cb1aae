//! What can go wrong with a call, with everything that the server said about it.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the caller set up cannot be: a URL, a file, a token. The text says what would be accepted.
    #[error("{0}")]
    Settings(String),
    /// The server cannot be reached, or the connection broke before it answered.
    #[error(
        "cannot reach {} at {endpoint}: {cause}",
        crate::endpoints::title(component)
    )]
    Unreachable {
        /// Whose server.
        component: String,
        /// Where it was looked for.
        endpoint: String,
        /// The innermost reason.
        cause: String,
        /// What the transport made of it.
        #[source]
        status: Box<Status>,
    },
    /// The server answered, and refuses.
    #[error("{}", .0.status.message())]
    Refused(Box<Refusal>),
}

/// A refusal, taken apart.
#[derive(Debug)]
pub struct Refusal {
    /// As it came.
    pub status: Status,
    /// What refused and why, as programs tell it apart (google.rpc ErrorInfo): its reason.
    pub reason: Option<String>,
    /// Fields that cannot be as they were given (google.rpc BadRequest), by their path in the request: `spec.vcpus`.
    pub fields: Vec<Violation>,
    /// Limits that are reached (google.rpc QuotaFailure).
    pub quotas: Vec<Violation>,
    /// When it may be tried again (google.rpc RetryInfo).
    pub retry_after: Option<Duration>,
    /// What the call has in the servers' logs.
    pub request_id: Option<String>,
}

/// Something named, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A field's path, or whose limit it is.
    pub subject: String,
    /// What is wrong, and what would be accepted.
    pub description: String,
}

impl Refusal {
    fn new(status: Status) -> Self {
        // Details of a kind that is not known here are as good as none: the code and the text say it too.
        let details = status.get_error_details();
        let request_id = status.metadata().get("x-request-id");
        let request_id = request_id.and_then(|value| value.to_str().ok().map(str::to_owned));
        let fields = details.bad_request().map(|it| {
            it.field_violations
                .iter()
                .map(|it| Violation {
                    subject: it.field.clone(),
                    description: it.description.clone(),
                })
                .collect()
        });
        let quotas = details.quota_failure().map(|it| {
            it.violations
                .iter()
                .map(|it| Violation {
                    subject: it.subject.clone(),
                    description: it.description.clone(),
                })
                .collect()
        });
        Self {
            reason: details.error_info().map(|info| info.reason.clone()),
            fields: fields.unwrap_or_default(),
            quotas: quotas.unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            request_id,
            status,
        }
    }
}

impl Error {
    /// What a status is, of a call to this component's server.
    pub fn of(component: &str, endpoint: &str, status: Status) -> Self {
        // What has a source did not come from the server.
        let Some(mut cause) = status.source() else {
            return Self::Refused(Box::new(Refusal::new(status)));
        };
        // The outermost text is only "transport error"; the innermost says what the matter is.
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable {
            component: component.to_owned(),
            endpoint: endpoint.to_owned(),
            cause: cause.to_string(),
            status: Box::new(status),
        }
    }

    /// A refusal that no server sent.
    pub(crate) fn deadline(limit: Duration) -> Self {
        let text = format!("no answer within {} s", limit.as_secs());
        Self::Refused(Box::new(Refusal::new(Status::deadline_exceeded(text))))
    }

    /// The status behind it, if a call was made at all.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Settings(_) => None,
            Self::Unreachable { status, .. } => Some(status),
            Self::Refused(refusal) => Some(&refusal.status),
        }
    }

    /// The code that the server answered with; none if it did not answer.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.status.code()),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later: the server is away, or what it needs is.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Settings(_) => false,
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.status.code() == Code::Unavailable,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn details_are_read_and_unknown_ones_do_no_harm() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(
                "INVALID_ARGUMENT",
                "photoncloud",
                [("value".to_owned(), "0".to_owned())],
            )
            .add_bad_request_violation("spec.vcpus", "expected 1 to 64")
            .add_quota_failure_violation("project web", "image bytes")
            .set_retry_info(Some(Duration::from_secs(3)));
        let status = Status::with_error_details(Code::InvalidArgument, "spec.vcpus '0'", details);
        let error = Error::of("plasmavmc", "http://x", status);
        let Error::Refused(refusal) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(refusal.reason.as_deref(), Some("INVALID_ARGUMENT"));
        assert_eq!(refusal.fields[0].subject, "spec.vcpus");
        assert_eq!(refusal.quotas[0].subject, "project web");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(error.to_string(), "spec.vcpus '0'");

        let status = Status::with_details(Code::Internal, "?", vec![0xff, 0xff, 0xff].into());
        let error = Error::of("iam", "http://x", status);
        assert_eq!(error.code(), Some(Code::Internal));
        assert!(!error.is_passing());
    }
}
