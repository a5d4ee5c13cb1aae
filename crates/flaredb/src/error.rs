use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{
    LeaseId, MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_OPS, MAX_VALUE_BYTES, MIN_LEASE_TTL, Revision,
};

/// Why the store could not do what it was asked to.
///
/// That a transaction lost a race is not an error: see [`Committed::Conflict`](crate::Committed).
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A key that cannot be stored.
    #[error(
        "key {key:?} is not valid: a key has 1 to {MAX_KEY_BYTES} bytes, none of them zero, \
         and neither starts nor ends with '/'"
    )]
    InvalidKey {
        /// The key as it was given.
        key: String,
    },
    /// A value beyond the limit that every engine keeps.
    #[error("the value of {key} has {size} bytes; at most {MAX_VALUE_BYTES} can be stored")]
    ValueTooLarge {
        /// Key of the value.
        key: String,
        /// Its size in bytes.
        size: usize,
    },
    /// A commit that no engine is asked to make at once.
    #[error(
        "a commit with {count} {what}: at most {MAX_OPS} go into one, so it must be done in pages"
    )]
    TooManyOps {
        /// `comparisons` or `writes`.
        what: &'static str,
        /// How many there were.
        count: usize,
    },
    /// A commit that writes a key twice.
    #[error("a commit writes {key} twice: which of the two counts must be decided before")]
    DuplicateWrite {
        /// The key.
        key: String,
    },
    /// A record that could not be turned into its stored form.
    #[error("the {kind} for {key} cannot be written as JSON: {source}")]
    Unwritable {
        /// Key of the record.
        key: String,
        /// Kind of the record.
        kind: &'static str,
        /// What serde says.
        #[source]
        source: Arc<serde_json::Error>,
    },

    /// A record of a version that this program does not know: it was written by a newer one.
    #[error(
        "{key} holds a {kind} of version {found}, but this program knows versions up to {known}: \
         run the newer program that wrote it"
    )]
    NewerRecord {
        /// Key of the record.
        key: String,
        /// Kind of the record.
        kind: &'static str,
        /// The stored version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// A stored value that is not a record of its version.
    #[error("{key} does not hold a valid {kind}{}: {source}", match version {
        Some(version) => format!(" of version {version}"),
        None => String::new(),
    })]
    CorruptRecord {
        /// Key of the record.
        key: String,
        /// Kind of the record.
        kind: &'static str,
        /// The stored version, where it could be read.
        version: Option<u32>,
        /// What serde says.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// An older record for which there is no way forward.
    #[error("there is no migration of a {kind} from version {version} to {}: {reason}", version + 1)]
    Migration {
        /// Kind of the record.
        kind: &'static str,
        /// The version that could not be brought forward.
        version: u32,
        /// What the migration missed.
        reason: String,
    },

    /// The changes after this revision are no longer all in the change log.
    #[error(
        "changes after revision {after} are no longer kept (the log begins after {compacted}): \
         read the current state and watch from its revision"
    )]
    Compacted {
        /// The revision that was asked for.
        after: Revision,
        /// Changes up to and including this revision are gone.
        compacted: Revision,
    },
    /// A revision that this store has not reached: it was taken from another store, or from this one
    /// before it was restored to an earlier state.
    #[error(
        "revision {after} is not of this store, which is at {current}: read the current state anew"
    )]
    FutureRevision {
        /// The revision that was asked for.
        after: Revision,
        /// The store's revision.
        current: Revision,
    },

    /// The lease has expired, was revoked, or never was.
    #[error("lease {0} does not exist: it has expired or was revoked")]
    LeaseNotFound(LeaseId),
    /// A lease's time to live outside of what can be kept.
    #[error(
        "a lease of {ttl:?} cannot be granted: from {} s to {} s are possible",
        MIN_LEASE_TTL.as_secs(), MAX_LEASE_TTL.as_secs()
    )]
    InvalidLease {
        /// The time to live that was asked for.
        ttl: std::time::Duration,
    },

    /// The store is open already, here or in another process.
    #[error("the store {} is already open in process {holder}: one process at a time may use it", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
        /// Process id of the holder, or `unknown`.
        holder: String,
    },
    /// The store was written by a newer program.
    #[error(
        "the store {} has schema {found}, but this program knows schemas up to {known}: run the program that \
         finalized it, or a newer one; to go back, restore a backup of schema {known}",
        path.display()
    )]
    NewerStore {
        /// The store's file.
        path: PathBuf,
        /// Schema found in it.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// The store is of a program that is two or more versions older.
    #[error(
        "the store {} has schema {found}, but this program, of schema {known}, knows only {} and {known}: \
         run the program of schema {} first, and finalize-schema with it",
        path.display(), known - 1, found + 1
    )]
    OlderStore {
        /// The store's file.
        path: PathBuf,
        /// Schema found in it.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// A record that only a newer schema has room for.
    #[error(
        "a {kind} can't be stored before the store's schema is finalized: {reason}; \
         end the upgrade first (photon host upgrade --finalize)"
    )]
    NotFinalized {
        /// Kind of the record.
        kind: &'static str,
        /// What the older format has no room for.
        reason: String,
    },
    /// A store that was opened to be read alone.
    #[error("the store {} was opened for reading", path.display())]
    ReadOnly {
        /// The store's file.
        path: PathBuf,
    },
    /// The content of the store's file contradicts itself.
    #[error("the store {} is damaged: {problem}", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// The first problems that SQLite found.
        problem: String,
    },
    /// There is a file already where one was to be made.
    #[error("{} is there already: give the name of a file that is not", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a FlareDB store: {found}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// The disk or the database failed. If it happened in a commit, its outcome is unknown.
    #[error("the store {store} failed: {source}")]
    Storage {
        /// Path of the store.
        store: String,
        /// What failed.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// What depends on the state at the commit could not be worked out ([`Derive`](crate::Derive)); nothing
    /// was written.
    #[error(transparent)]
    Derive(Arc<dyn std::error::Error + Send + Sync>),
    /// A commit would take more of something than there may be; nothing was written.
    #[error("{text}")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How much there is already.
        used: u64,
        /// How much there may be.
        limit: u64,
        /// All of that for people.
        text: String,
    },
    /// The engine has stopped, because of an earlier failure that it reported.
    #[error("the store is closed since an earlier failure: restart the program")]
    Closed,
}

impl From<Error> for photon_resource::Error {
    /// What a caller of a service may read of a failing store. That a value is too large is the caller's
    /// to change, an old revision is the watcher's; everything else is the operator's.
    fn from(error: Error) -> Self {
        use photon_resource::Error as Public;
        match error {
            Error::ValueTooLarge { size, .. } => Public::invalid(
                "request",
                format!("{size} bytes in one record"),
                format!("at most {MAX_VALUE_BYTES} bytes in one record"),
            ),
            Error::Compacted { .. } | Error::FutureRevision { .. } | Error::NotFinalized { .. } => {
                Public::FailedPrecondition(error.to_string())
            }
            Error::LimitReached {
                what,
                used,
                limit,
                text,
            } => Public::quota_exceeded(what, used, limit, text),
            Error::Closed => Public::Unavailable(error.to_string()),
            other => Public::internal(other),
        }
    }
}
