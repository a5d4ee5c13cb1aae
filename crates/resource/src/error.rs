//! The one error of the domain, free of transport, and its one mapping to gRPC status.

use std::fmt;

use tonic::{Code, Status};

/// The result of the domain.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a request. Its text is for the caller; what only the operator may know
/// ([`Error::Internal`]'s cause) is logged where the error becomes a status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field's value can't be accepted.
    #[error("{field} '{value}' is not valid: expected {expected}")]
    InvalidArgument {
        /// The field as the API names it.
        field: String,
        /// What was given, shortened.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// There is no such thing, or the caller may not know of it.
    #[error("{kind} '{id}' not found")]
    NotFound {
        /// What it is, for people: `VPC`.
        kind: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The name, address or id is taken.
    #[error("{kind} '{id}' already exists")]
    AlreadyExists {
        /// What it is, for people.
        kind: &'static str,
        /// What is taken.
        id: String,
    },
    /// The state of the system does not allow it; the text says what to do first.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The policy refuses.
    #[error("{action} on {resource} is not permitted: {reason}")]
    PermissionDenied {
        /// `service:type:verb`.
        action: String,
        /// Full name of the resource.
        resource: String,
        /// Why.
        reason: String,
    },
    /// It is not known who calls. The text says what is wrong with the credential, never which part of a
    /// name and password was.
    #[error("not authenticated: {0}")]
    Unauthenticated(String),
    /// `expected_revision` does not match.
    #[error(
        "{kind} '{id}' is at revision {actual}, not {expected}: read it again and repeat the change"
    )]
    Conflict {
        /// What it is, for people.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What the caller expected.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// A limit is reached: addresses, capacity, attempts. The text says which, and when or how to go on.
    #[error("{0}")]
    ResourceExhausted(String),
    /// Something that is needed can't be reached now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// Our fault. The caller reads no detail.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An [`Error::InvalidArgument`]; long values are shortened.
    pub fn invalid(
        field: impl Into<String>,
        value: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        const SHOWN: usize = 120;
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(SHOWN) {
            value.truncate(end);
            value.push('…');
        }
        Self::InvalidArgument {
            field: field.into(),
            value,
            expected: expected.into(),
        }
    }

    /// An [`Error::NotFound`].
    pub fn not_found(kind: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
        }
    }

    /// An [`Error::AlreadyExists`].
    pub fn already_exists(kind: &'static str, id: impl fmt::Display) -> Self {
        Self::AlreadyExists {
            kind,
            id: id.to_string(),
        }
    }

    /// An [`Error::Internal`] with what the operator will read in the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The gRPC code that it becomes.
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidArgument { .. } => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::PermissionDenied { .. } => Code::PermissionDenied,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Conflict { .. } => Code::Aborted,
            Self::ResourceExhausted(_) => Code::ResourceExhausted,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Internal(cause) = &error {
            tracing::error!(error = %cause, details = ?cause, "internal error");
        }
        Status::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_reads_nothing_of_an_internal_cause() {
        let status: Status = Error::internal("disk /dev/sda1 is full").into();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "internal error");
    }

    #[test]
    fn long_values_are_shortened_at_a_character() {
        let error = Error::invalid("name", "ü".repeat(500), "a short name");
        assert!(error.to_string().len() < 400);
    }
}
