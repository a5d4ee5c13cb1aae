use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_OPS, MAX_VALUE_BYTES, MIN_LEASE_TTL};
use crate::{
    Committed, Compare, Derive, Engine, Error, KeyValue, LeaseId, Op, Record, Revision,
    SCHEMA_VERSION, Scan, Transaction, Watch, decode, encode_for, memory, sqlite,
};

/// A store. Clones are the same store; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Db(Arc<dyn Engine>);

/// How a store in this process is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many revisions the change log keeps at least, unless they are too large, and at most a fraction more. A watcher may fall so
    /// far behind before it has to read the current state anew. By default 10,000: some minutes of the
    /// busiest control plane, and a few MB.
    pub kept_revisions: u64,
    /// How many bytes of keys and values the change log has at most, beside what its last commits wrote together: of large
    /// records it keeps fewer revisions. By default 32 MiB.
    pub kept_bytes: u64,
    /// The schema that the program writes once a store is finalized: [`SCHEMA_VERSION`]. Others are for tests.
    pub schema: u32,
    /// The schema that a store which is made anew gets, the program's or the one before. By default
    /// [`SCHEMA_VERSION`].
    pub fresh_schema: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            kept_revisions: 10_000,
            kept_bytes: 32 << 20,
            schema: SCHEMA_VERSION,
            fresh_schema: SCHEMA_VERSION,
        }
    }
}

/// A page of records in key order.
#[derive(Debug, Clone)]
pub struct Page<R> {
    /// Keys and records.
    pub items: Vec<(String, R)>,
    /// The store's revision as of which they are so.
    pub revision: Revision,
    /// There are more: ask for those after the last item's key.
    pub more: bool,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Db")
    }
}

impl Db {
    /// A store over an engine of one's own.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Db(engine)
    }

    /// A store that is gone when it is dropped.
    pub fn memory() -> Self {
        Self::memory_with(&Options::default())
    }

    /// [`Db::memory`] with options.
    pub fn memory_with(options: &Options) -> Self {
        Db(Arc::new(memory::open(options)))
    }

    /// The store in this SQLite file, which is created (mode 0600) if there is none; its directory must
    /// exist. [`Error::InUse`] if it is open already, here or in another process.
    pub async fn sqlite(path: &Path) -> Result<Self, Error> {
        Self::sqlite_with(path, &Options::default()).await
    }

    /// [`Db::sqlite`] with options.
    pub async fn sqlite_with(path: &Path, options: &Options) -> Result<Self, Error> {
        Ok(Db(Arc::new(sqlite::open(path, options).await?)))
    }

    /// The store in this SQLite file to read it alone, beside a program that has it open or without one. Commits,
    /// leases and watches answer [`Error::ReadOnly`].
    pub async fn sqlite_read_only(path: &Path) -> Result<Self, Error> {
        Ok(Db(Arc::new(sqlite::open_read_only(path).await?)))
    }

    /// Starts an optimistic transaction; nothing is locked, and dropping it undoes nothing because nothing
    /// has been done.
    pub fn begin(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// The schema of what is stored: the program's, or the one before until an upgrade is finalized.
    pub fn schema(&self) -> u32 {
        self.0.schema()
    }

    /// The form in which this store keeps the record.
    pub fn encode<R: Record>(&self, key: &str, record: &R) -> Result<Vec<u8>, Error> {
        encode_for(self.schema(), key, record)
    }

    /// The record at `key`.
    pub async fn get<R: Record>(&self, key: &str) -> Result<Option<R>, Error> {
        match self.get_raw(key).await?.0 {
            Some(item) => Ok(Some(decode(key, &item.value)?)),
            None => Ok(None),
        }
    }

    /// All records under `prefix`, in key order and as of one revision.
    pub async fn scan<R: Record>(&self, prefix: &str) -> Result<Vec<(String, R)>, Error> {
        Ok(self.page(prefix, None, usize::MAX).await?.items)
    }

    /// At most `limit` records under `prefix` with keys greater than `after`.
    pub async fn page<R: Record>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<R>, Error> {
        let scan = self.scan_raw(prefix, after, limit).await?;
        let mut items = Vec::with_capacity(scan.items.len());
        for item in scan.items {
            let record = decode(&item.key, &item.value)?;
            items.push((item.key, record));
        }
        Ok(Page {
            items,
            revision: scan.revision,
            more: scan.more,
        })
    }

    /// The bytes at `key`; see [`Engine::get`].
    pub async fn get_raw(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        check_key(key)?;
        self.0.get(key).await
    }

    /// The bytes at each of some keys; see [`Engine::get_many`].
    pub async fn get_many(
        &self,
        keys: &[String],
    ) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.0.get_many(keys).await
    }

    /// Bytes under a prefix; see [`Engine::scan`].
    pub async fn scan_raw(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Scan, Error> {
        self.0.scan(prefix, after, limit).await
    }

    /// An atomic compare-and-write of bytes; see [`Engine::commit`].
    pub async fn commit(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Committed, Error> {
        self.commit_derived(compares, ops, Vec::new()).await
    }

    /// See [`Engine::commit_derived`].
    pub async fn commit_derived(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
        derived: Vec<Derive>,
    ) -> Result<Committed, Error> {
        check_commit(&compares, &ops, &derived)?;
        self.0.commit_derived(compares, ops, derived).await
    }

    /// The store's revision; see [`Engine::revision`].
    pub async fn revision(&self) -> Result<Revision, Error> {
        self.0.revision().await
    }

    /// The store's revision, which every watch will tell that it has come to; see [`Engine::barrier`] and
    /// [`Followed`](crate::Followed).
    pub async fn barrier(&self) -> Result<Revision, Error> {
        self.0.barrier().await
    }

    /// Every change under `prefix` after a revision; see [`Engine::watch`].
    pub async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.0.watch(prefix, after).await
    }

    /// See [`Engine::lease_grant`]. `ttl` is from [`MIN_LEASE_TTL`] to [`MAX_LEASE_TTL`]; a part of a second counts as a
    /// whole one.
    pub async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let whole = match ttl.subsec_nanos() {
            0 => ttl,
            _ => Duration::from_secs(ttl.as_secs().saturating_add(1)),
        };
        if !(MIN_LEASE_TTL..=MAX_LEASE_TTL).contains(&whole) {
            return Err(Error::InvalidLease { ttl });
        }
        self.0.lease_grant(whole).await
    }

    /// See [`Engine::lease_keep_alive`].
    pub async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.lease_keep_alive(lease).await
    }

    /// See [`Engine::lease_revoke`].
    pub async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.lease_revoke(lease).await
    }

    /// See [`Engine::compact_for_test`].
    pub async fn compact_for_test(&self, revision: Revision) -> Result<(), Error> {
        self.0.compact_for_test(revision).await
    }

    /// Waits until the store has failed in a way after which it writes nothing any more: see
    /// [`Error::Closed`]. A server ends then, with an error, so that systemd starts it again and the store is
    /// read anew from the disk.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let valid = !key.is_empty()
        && key.len() <= MAX_KEY_BYTES
        && !key.contains('\0')
        && !key.starts_with('/')
        && !key.ends_with('/');
    if valid {
        Ok(())
    } else {
        Err(Error::InvalidKey {
            key: key.to_owned(),
        })
    }
}

/// The limits that a commit must keep before anything is derived.
fn check_commit(compares: &[Compare], ops: &[Op], derived: &[Derive]) -> Result<(), Error> {
    check_writes(compares, ops)?;
    let reads = || derived.iter().flat_map(|derive| &derive.reads);
    reads().try_for_each(|key| check_key(key))?;
    check_whole(compares.len() + reads().count(), ops)
}

/// The limits of a part of a commit; engines call it on what was derived.
pub(crate) fn check_writes(compares: &[Compare], ops: &[Op]) -> Result<(), Error> {
    for compare in compares {
        check_key(compare.key())?;
    }
    for op in ops {
        check_key(op.key())?;
        if let Op::Put { key, value, .. } = op
            && value.len() > MAX_VALUE_BYTES
        {
            return Err(Error::ValueTooLarge {
                key: key.clone(),
                size: value.len(),
            });
        }
    }
    Ok(())
}

/// The limits of a commit as a whole; engines call it once everything is derived.
pub(crate) fn check_whole<'a>(
    compares: usize,
    ops: impl IntoIterator<Item = &'a Op>,
) -> Result<(), Error> {
    let mut written = HashSet::new();
    for op in ops {
        if !written.insert(op.key()) {
            return Err(Error::DuplicateWrite {
                key: op.key().to_owned(),
            });
        }
    }
    for (what, count) in [("comparisons", compares), ("writes", written.len())] {
        if count > MAX_OPS {
            return Err(Error::TooManyOps { what, count });
        }
    }
    Ok(())
}
