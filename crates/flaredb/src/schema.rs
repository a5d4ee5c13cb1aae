//! The schema of a store: one number for its tables and for the formats of all records in it.
//!
//! ```text
//!  store \\ program     N-1                   N                            N+1
//!  N-1                 runs                  runs, writes as N-1 does     refuses: N first
//!  N                   refuses: it is newer  runs                         runs, writes as N does
//! ```
//! A program of the next version leaves an older store at its schema, so that the program of before can be put back.
//! When an operator has decided not to go back, `finalize-schema` brings the store to the program's schema.

use std::path::Path;

use crate::Error;

/// The schema that this program writes, once the store is finalized. Raise it with the first change of a record's
/// format or of a table after a release.
pub const SCHEMA_VERSION: u32 = 1;

/// Whether a program of schema `known` can run against a store of schema `found`.
pub(crate) fn check(path: &Path, found: u32, known: u32) -> Result<(), Error> {
    if found > known {
        return Err(Error::NewerStore {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found + 1 < known {
        return Err(Error::OlderStore {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}
