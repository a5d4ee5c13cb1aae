use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::failed;
use crate::local::{State, Storage, View};
use crate::{Error, KeyValue, LeaseId, Revision};

/// The one connection that writes, and the lock that keeps other processes away.
pub(super) struct SqliteStorage {
    path: PathBuf,
    /// Before the lock: fields are dropped in order, and the lock must outlive the connection.
    connection: Connection,
    _lock: File,
}

impl SqliteStorage {
    pub fn new(path: &Path, connection: Connection, lock: File) -> Self {
        SqliteStorage {
            path: path.to_owned(),
            connection,
            _lock: lock,
        }
    }
}

impl Storage for SqliteStorage {
    fn transact(
        &mut self,
        work: &mut dyn FnMut(&mut dyn View) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Dropped without a commit, it rolls back.
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|source| failed(&self.path, source))?;
        work(&mut SqliteView {
            path: &self.path,
            connection: &transaction,
        })?;
        transaction
            .commit()
            .map_err(|source| failed(&self.path, source))
    }

    /// After a failed sync the kernel may have dropped the pages and call the next sync a success
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>), so nothing may be acknowledged any more before the
    /// log has been read from the disk again. A full disk and the like leave the store as it was.
    fn is_fatal(&self, error: &Error) -> bool {
        let Error::Storage { source, .. } = error else {
            return false;
        };
        let code = source
            .downcast_ref::<rusqlite::Error>()
            .and_then(rusqlite::Error::sqlite_error_code);
        !matches!(code, Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy))
    }
}

struct SqliteView<'a> {
    path: &'a Path,
    connection: &'a Connection,
}

impl SqliteView<'_> {
    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, Error> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|source| failed(self.path, source))
    }
}

impl View for SqliteView<'_> {
    fn get(&mut self, key: &str) -> Result<Option<KeyValue>, Error> {
        self.connection
            .prepare_cached("SELECT value, created, modified FROM records WHERE key = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([key], |row| {
                        Ok(KeyValue {
                            key: key.to_owned(),
                            value: row.get(0)?,
                            created: row.get(1)?,
                            modified: row.get(2)?,
                        })
                    })
                    .optional()
            })
            .map_err(|source| failed(self.path, source))
    }

    fn modified(&mut self, key: &str) -> Result<Option<Revision>, Error> {
        self.connection
            .prepare_cached("SELECT modified FROM records WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(|source| failed(self.path, source))
    }

    fn put(
        &mut self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Result<(), Error> {
        self.execute(
            "INSERT INTO records (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4)
             ON CONFLICT (key) DO UPDATE
             SET value = excluded.value, modified = excluded.modified, lease = excluded.lease",
            params![key, value, revision, lease.map(|lease| lease.0)],
        )?;
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        Ok(self.execute("DELETE FROM records WHERE key = ?1", [key])? > 0)
    }

    fn log(&mut self, revision: Revision, key: &str, value: Option<&[u8]>) -> Result<(), Error> {
        self.execute(
            "INSERT INTO changes (revision, key, value) VALUES (?1, ?2, ?3)",
            params![revision, key, value],
        )?;
        Ok(())
    }

    fn leased(&mut self, lease: LeaseId) -> Result<Vec<String>, Error> {
        self.connection
            .prepare_cached("SELECT key FROM records WHERE lease = ?1 ORDER BY key")
            .and_then(|mut statement| {
                statement
                    .query_map([lease.0], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()
            })
            .map_err(|source| failed(self.path, source))
    }

    fn lease_put(&mut self, lease: LeaseId, ttl: Duration) -> Result<(), Error> {
        // `Db` refuses times that are longer than a year.
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.execute(
            "INSERT INTO leases (id, ttl_ms) VALUES (?1, ?2)",
            params![lease.0, ttl],
        )?;
        Ok(())
    }

    fn lease_delete(&mut self, lease: LeaseId) -> Result<(), Error> {
        self.execute("DELETE FROM leases WHERE id = ?1", [lease.0])?;
        Ok(())
    }

    fn counters(&mut self, state: &State) -> Result<(), Error> {
        for (name, value) in [
            ("revision", state.revision),
            ("compacted", state.compacted),
            ("last_lease", state.last_lease),
        ] {
            // A group without a change must not write: it would cost a sync.
            let changed = self.execute(
                "UPDATE counters SET value = ?2 WHERE name = ?1 AND value <> ?2",
                params![name, value],
            )?;
            if name == "compacted" && changed > 0 {
                self.execute("DELETE FROM changes WHERE revision <= ?1", [value])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Local;
    use crate::sqlite::{connect, create, lock, read, schema};
    use crate::{Committed, Engine, Op, Options};

    fn put(key: &str, size: usize) -> Vec<Op> {
        vec![Op::Put {
            key: key.to_owned(),
            value: vec![b'x'; size],
            lease: None,
        }]
    }

    fn open(path: &Path, prepare: impl FnOnce(&Connection)) -> Local {
        let lock = lock(path).unwrap();
        create(path).unwrap();
        let connection = connect(path).unwrap();
        let state = schema::prepare(path, &connection, &Options::default()).unwrap();
        prepare(&connection);
        let storage = SqliteStorage::new(path, connection, lock);
        let reader = read::SqliteReader::new(path);
        Local::start(reader, storage, state, &Options::default())
    }

    #[tokio::test]
    async fn every_commit_is_synced() {
        let directory = tempfile::tempdir().unwrap();
        open(&directory.path().join("db"), |connection| {
            let pragma = |name| {
                connection
                    .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            };
            assert_eq!(pragma("journal_mode").unwrap(), "wal".to_owned().into());
            // FULL, see https://www.sqlite.org/pragma.html#pragma_synchronous
            assert_eq!(pragma("synchronous").unwrap(), 2.into());
        });
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_commit_and_the_store_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let engine = open(&path, |connection| {
            // SQLite answers as for a full disk when the file may not grow.
            connection
                .pragma_update_and_check(None, "max_page_count", 40, |_| Ok(()))
                .unwrap();
        });
        assert_eq!(
            engine.commit(vec![], put("a", 10)).await.unwrap(),
            Committed::Done(1)
        );
        let error = engine.commit(vec![], put("b", 400_000)).await.unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
        assert_eq!(engine.get("b").await.unwrap(), (None, 1));
        assert_eq!(
            engine.commit(vec![], put("c", 10)).await.unwrap(),
            Committed::Done(2)
        );
    }

    #[tokio::test]
    async fn after_another_failure_nothing_is_acknowledged_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let engine = open(&path, |connection| {
            connection.execute_batch("DROP TABLE changes").unwrap();
        });
        let error = engine.commit(vec![], put("a", 10)).await.unwrap_err();
        assert!(error.to_string().contains("no such table"), "{error}");
        let error = engine.commit(vec![], vec![]).await.unwrap_err();
        assert!(matches!(error, Error::Closed));
        engine.closed().await;
        assert_eq!(engine.get("a").await.unwrap(), (None, 0));
    }
}
