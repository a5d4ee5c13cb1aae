use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Semaphore;

use super::{connect, failed};
use crate::engine::prefix_end;
use crate::local::{Changes, Reader};
use crate::{Change, Error, KeyValue, Revision, Scan};

/// Most reads at the same time; each costs a connection with its page cache.
const CONNECTIONS: usize = 4;
/// Page cache of such a connection, in KiB: the upper levels of the trees. What it misses is a copy out of the
/// kernel's page cache, and several servers with their readers share one small host.
const CACHE_KIB: i64 = 512;
/// Most revisions that one look into the log takes: it bounds what a watcher holds.
const WINDOW: u64 = 256;

/// Reads on connections of their own. Each read is one statement or one read transaction, hence of one
/// state of the store.
#[derive(Clone)]
pub(super) struct SqliteReader(Arc<Pool>);

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

impl SqliteReader {
    pub fn new(path: &Path) -> Self {
        SqliteReader(Arc::new(Pool {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
            free: Arc::new(Semaphore::new(CONNECTIONS)),
        }))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let pool = self.0.clone();
        // The semaphore is never closed.
        let permit = pool.free.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let idle = pool
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open(&pool.path)?,
            };
            let result = work(&connection).map_err(|source| failed(&pool.path, source));
            if result.is_ok() {
                pool.idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(connection);
            }
            drop(permit);
            result
        });
        match done.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down.
            Err(_) => Err(Error::Closed),
        }
    }
}

fn open(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .and_then(|()| connection.pragma_update(None, "trusted_schema", false))
        // Negative: KiB, not pages.
        .and_then(|()| connection.pragma_update(None, "cache_size", -CACHE_KIB))
        .map_err(|source| failed(path, source))?;
    Ok(connection)
}

const REVISION: &str = "(SELECT value FROM counters WHERE name = 'revision')";

fn counter(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
}

/// The upper bound of keys with a prefix. A blob is greater than every text in SQLite.
fn upper_bound(prefix: &str) -> Value {
    prefix_end(prefix).map_or(Value::Blob(Vec::new()), Value::Text)
}

#[async_trait]
impl Reader for SqliteReader {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let key = key.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {REVISION}, records.key, value, created, modified
                 FROM (SELECT 1) LEFT JOIN records ON records.key = ?1"
            ))?;
            statement.query_row([key], |row| {
                let key: Option<String> = row.get(1)?;
                let item = match key {
                    Some(key) => Some(KeyValue {
                        key,
                        value: row.get(2)?,
                        created: row.get(3)?,
                        modified: row.get(4)?,
                    }),
                    None => None,
                };
                Ok((item, row.get(0)?))
            })
        })
        .await
    }

    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
        let keys = keys.to_vec();
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let revision = counter(connection, "revision")?;
            let mut statement = connection
                .prepare_cached("SELECT value, created, modified FROM records WHERE key = ?1")?;
            let mut items = Vec::with_capacity(keys.len());
            for key in keys {
                let item =
                    statement.query_row([&key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
                items.push(item.optional()?.map(|(value, created, modified)| KeyValue {
                    key,
                    value,
                    created,
                    modified,
                }));
            }
            drop(statement);
            snapshot.finish()?;
            Ok((items, revision))
        })
        .await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let revision = counter(connection, "revision")?;
            let (compare, from) = match &after {
                Some(after) if *after >= prefix => (">", after),
                _ => (">=", &prefix),
            };
            let mut statement = connection.prepare_cached(&format!(
                "SELECT key, value, created, modified FROM records
                 WHERE key {compare} ?1 AND key < ?2 ORDER BY key LIMIT ?3",
            ))?;
            // One more than asked for tells whether there are more.
            let one_more = i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1));
            let mut rows = statement.query(params![from, upper_bound(&prefix), one_more])?;
            let mut items = Vec::new();
            let mut more = false;
            while let Some(row) = rows.next()? {
                if items.len() == limit {
                    more = true;
                    break;
                }
                items.push(KeyValue {
                    key: row.get(0)?,
                    value: row.get(1)?,
                    created: row.get(2)?,
                    modified: row.get(3)?,
                });
            }
            drop(rows);
            drop(statement);
            snapshot.finish()?;
            Ok(Scan {
                items,
                revision,
                more,
            })
        })
        .await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.read(|connection| counter(connection, "revision"))
            .await
    }

    async fn changes(&self, prefix: &str, after: Revision) -> Result<Changes, Error> {
        let prefix = prefix.to_owned();
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let compacted = counter(connection, "compacted")?;
            if after < compacted {
                return Ok(Err(Error::Compacted { after, compacted }));
            }
            let current = counter(connection, "revision")?;
            if after > current {
                return Ok(Err(Error::FutureRevision { after, current }));
            }
            let up_to = current.min(after + WINDOW);
            let mut statement = connection.prepare_cached(
                "SELECT revision, key, value FROM changes
                 WHERE revision > ?1 AND revision <= ?2 AND key >= ?3 AND key < ?4
                 ORDER BY revision, key",
            )?;
            let mut rows = statement.query(params![after, up_to, prefix, upper_bound(&prefix)])?;
            let mut commits: Vec<Vec<Change>> = Vec::new();
            while let Some(row) = rows.next()? {
                let change = Change {
                    revision: row.get(0)?,
                    key: row.get(1)?,
                    value: row.get(2)?,
                };
                match commits.last_mut() {
                    Some(commit) if commit[0].revision == change.revision => commit.push(change),
                    _ => commits.push(vec![change]),
                }
            }
            drop(rows);
            drop(statement);
            snapshot.finish()?;
            Ok(Ok(Changes { commits, up_to }))
        })
        .await?
    }
}
