use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::failed;
use crate::local::State;
use crate::{Error, LeaseId, Options};

/// Marks a file as ours (`PRAGMA application_id`): "FlDB".
const APPLICATION_ID: i64 = 0x466C_4442;

/// What each schema brings to the tables. A step that has been released is never edited.
const STEPS: &[(u32, &str)] = &[(
    1,
    "
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
",
)];

/// Checks that the file is a store of ours and of a schema that the program knows, makes the tables if it is fresh,
/// sets the connection up for writing, and reads where the store is.
pub(super) fn prepare(
    path: &Path,
    connection: &Connection,
    options: &Options,
) -> Result<State, Error> {
    let found = found(path, connection)?;
    if found != 0 {
        crate::schema::check(path, found, options.schema)?;
    }
    let done = set_up(connection).and_then(|()| match found {
        0 => advance(connection, 0, options.fresh_schema),
        _ => Ok(()),
    });
    done.and_then(|()| read_state(connection))
        .map_err(|source| failed(path, source))
}

/// The schema of a store of ours; 0: the file is empty.
pub(crate) fn found(path: &Path, connection: &Connection) -> Result<u32, Error> {
    let pragma = |name: &str| -> Result<i64, Error> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|source| unreadable(path, source))
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let fresh = application == 0 && version == 0 && pragma("schema_version")? == 0;
    if fresh {
        return Ok(0);
    }
    let not_ours = |found| Error::NotAStore {
        path: path.to_owned(),
        found,
    };
    if application != APPLICATION_ID {
        return Err(not_ours(format!(
            "an SQLite database of another program (application_id {application})"
        )));
    }
    match u32::try_from(version) {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(not_ours(format!("its schema is {version}"))),
    }
}

/// Brings the tables from one schema to another, at once or not at all.
pub(crate) fn advance(connection: &Connection, from: u32, to: u32) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for (schema, step) in STEPS {
        if (from + 1..=to).contains(schema) {
            transaction.execute_batch(step)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

/// SQLite finds out what a file is when it first reads from it.
fn unreadable(path: &Path, source: rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotAStore {
            path: path.to_owned(),
            found: "no SQLite database".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => Error::Damaged {
            path: path.to_owned(),
            problem: source.to_string(),
        },
        _ => failed(path, source),
    }
}

pub(crate) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // After a burst the log file shrinks again at the next checkpoint.
    connection.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |_| Ok(()))?;
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
    // Lengths are in the rows' heads: SQLite reads no value for them.
    let mut logged = connection.prepare(
        "SELECT revision, SUM(octet_length(key) + coalesce(octet_length(value), 0)) FROM changes
         GROUP BY revision ORDER BY revision",
    )?;
    let logged = logged.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(State {
        schema: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        revision: counter("revision")?,
        compacted: counter("compacted")?,
        last_lease: counter("last_lease")?,
        leases: leases.collect::<rusqlite::Result<_>>()?,
        logged: logged.collect::<rusqlite::Result<_>>()?,
    })
}
