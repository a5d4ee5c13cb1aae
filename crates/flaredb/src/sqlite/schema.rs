use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::failed;
use crate::local::State;
use crate::{Error, LeaseId};

/// Marks a file as ours (`PRAGMA application_id`): "FlDB".
const APPLICATION_ID: i64 = 0x466C_4442;

/// Schema version that this program writes (`PRAGMA user_version`).
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Each step brings the schema to the next version. A step that has been released is never edited.
const STEPS: &[&str] = &["
    CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO counters VALUES ('revision', 0), ('compacted', 0), ('last_lease', 0);

    CREATE TABLE records (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        lease INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX records_by_lease ON records (lease) WHERE lease IS NOT NULL;

    -- A value of NULL: the key was deleted.
    CREATE TABLE changes (
        revision INTEGER NOT NULL,
        key TEXT NOT NULL,
        value BLOB,
        PRIMARY KEY (revision, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE leases (
        id INTEGER PRIMARY KEY,
        ttl_ms INTEGER NOT NULL
    ) STRICT;
"];

/// Checks that the file is a store of ours, brings its schema up to date, sets the connection up for
/// writing, and reads where the store is.
pub(super) fn prepare(path: &Path, connection: &Connection) -> Result<State, Error> {
    let pragma = |name: &str| -> Result<i64, Error> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|source| unreadable(path, source))
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let fresh = application == 0 && version == 0 && pragma("schema_version")? == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(Error::NotAStore {
            path: path.to_owned(),
            found: format!("an SQLite database of another program (application_id {application})"),
        });
    }
    if version > SCHEMA_VERSION {
        return Err(Error::NewerStore {
            path: path.to_owned(),
            found: version,
            known: SCHEMA_VERSION,
        });
    }
    set_up(connection, version).map_err(|source| failed(path, source))?;
    read_state(connection).map_err(|source| failed(path, source))
}

/// SQLite finds out what a file is when it first reads from it.
fn unreadable(path: &Path, source: rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotAStore {
            path: path.to_owned(),
            found: "no SQLite database".to_owned(),
        },
        _ => failed(path, source),
    }
}

fn set_up(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // After a burst the log file shrinks again at the next checkpoint.
    connection.pragma_update_and_check(None, "journal_size_limit", 16 << 20, |_| Ok(()))?;
    let steps = &STEPS[usize::try_from(version).unwrap_or(0)..];
    if !steps.is_empty() {
        let transaction = connection.unchecked_transaction()?;
        for step in steps {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

fn read_state(connection: &Connection) -> rusqlite::Result<State> {
    let counter = |name: &str| {
        connection.query_row(
            "SELECT value FROM counters WHERE name = ?1",
            [name],
            |row| row.get::<_, u64>(0),
        )
    };
    let mut leases = connection.prepare("SELECT id, ttl_ms FROM leases")?;
    let leases = leases.query_map([], |row| {
        Ok((LeaseId(row.get(0)?), Duration::from_millis(row.get(1)?)))
    })?;
    Ok(State {
        revision: counter("revision")?,
        compacted: counter("compacted")?,
        last_lease: counter("last_lease")?,
        leases: leases.collect::<rusqlite::Result<_>>()?,
    })
}
