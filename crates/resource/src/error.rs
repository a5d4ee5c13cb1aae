//! The one error of the domain, free of transport: `photon-service` tells callers of it.

use std::fmt;

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
    /// What can be had once, as an address, is somebody's.
    #[error("{kind} '{id}' is taken by {holder}")]
    Taken {
        /// What it is, for people.
        kind: &'static str,
        /// Which one.
        id: String,
        /// Who has it, for people: `port 'web'`.
        holder: String,
    },
    /// The name or id is taken.
    #[error("{kind} '{id}' already exists")]
    AlreadyExists {
        /// What it is, for people.
        kind: &'static str,
        /// What is taken.
        id: String,
    },
    /// The id was of something that is deleted, and is not given again.
    #[error("{kind} '{id}' was deleted, and an id is never given again: choose another")]
    Retired {
        /// What it was, for people.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// The state of the system does not allow it; the text says what to do first.
    #[error("{0}")]
    FailedPrecondition(String),
    /// What is to be deleted or changed is used by other things; the text says by which, and what to do first.
    #[error("{text}")]
    InUse {
        /// What it is, for people: `VPC`.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What the caller reads.
        text: String,
    },
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
    /// A quota is used up; the text says whose, and what to do.
    #[error("{text}")]
    QuotaExceeded {
        /// What is counted: `images`, `rules`.
        quota: &'static str,
        /// How many, or how much, there is already.
        used: u64,
        /// How many, or how much, there may be.
        limit: u64,
        /// What the caller reads.
        text: String,
    },
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

    /// An [`Error::Retired`].
    pub fn retired(kind: &'static str, id: impl fmt::Display) -> Self {
        Self::Retired {
            kind,
            id: id.to_string(),
        }
    }

    /// An [`Error::InUse`].
    pub fn in_use(kind: &'static str, id: impl fmt::Display, text: impl Into<String>) -> Self {
        Self::InUse {
            kind,
            id: id.to_string(),
            text: text.into(),
        }
    }

    /// An [`Error::QuotaExceeded`].
    pub fn quota_exceeded(
        quota: &'static str,
        used: u64,
        limit: u64,
        text: impl Into<String>,
    ) -> Self {
        Self::QuotaExceeded {
            quota,
            used,
            limit,
            text: text.into(),
        }
    }

    /// An [`Error::Internal`] with what the operator will read in the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shortened_at_a_character() {
        let error = Error::invalid("name", "ü".repeat(500), "a short name");
        assert!(error.to_string().len() < 400);
    }
}
