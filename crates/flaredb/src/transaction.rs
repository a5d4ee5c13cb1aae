use std::any::Any;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Committed, Compare, Db, Derive, Error, KeyValue, LeaseId, Op, Record, Revision, decode,
};

/// An optimistic transaction: it remembers what it read, and its commit writes only if all of that is still
/// so. On [`Committed::Conflict`] start again from [`Db::begin`].
///
/// - Reads see the transaction's own writes. Reading a key a second time answers as the first time.
/// - Reads of different keys may be from before and after another commit; the commit then conflicts. So
///   what a transaction read is certain only once it has committed.
/// - A write to a key that was not read is made regardless of what is there.
/// - What is read and what is written are at most [`MAX_OPS`](crate::MAX_OPS) keys each, what others derive included.
/// - A key that was read (found or absent) and one that [`scan`](Self::scan) found cannot change in between;
///   but a scan does not notice a key that was **added** in the meantime. Where that matters (the last free
///   address, "no children left"), let everyone who adds to or judges the set call [`touch`](Self::touch) on
///   one key that stands for the set, **before** the scan: of two transactions that touch the same key at the
///   same time, one conflicts. A set that may be large is then read from [`db`](Self::db), as it is now.
pub struct Transaction {
    db: Db,
    /// What was read, by key; `None`: there was no such key.
    read: BTreeMap<String, Option<KeyValue>>,
    /// What will be written, by key.
    written: BTreeMap<String, Write>,
    derived: Vec<Derive>,
    gathered: Vec<Box<dyn Gathered>>,
}

/// What a layer above gathers in a transaction and turns into one [`Derive`] when it commits: several could not write the
/// same key.
pub trait Gathered: Any + Send + Sync {
    /// The writes, or none.
    fn derive(self: Box<Self>, db: &Db) -> Option<Derive>;
}

#[derive(Clone)]
enum Write {
    Put(Vec<u8>, Option<LeaseId>),
    Delete,
    /// Rewrites what is there.
    Touch,
}

/// What [`Transaction::touch`] stores: only that it was written counts.
#[derive(Serialize, Deserialize)]
struct Guard {}

impl Record for Guard {
    const KIND: &'static str = "guard";
    const VERSION: u32 = 1;
}

impl Transaction {
    pub(crate) fn new(db: Db) -> Self {
        Transaction {
            db,
            read: BTreeMap::new(),
            written: BTreeMap::new(),
            derived: Vec::new(),
            gathered: Vec::new(),
        }
    }

    /// The store, for reads that the commit does not compare: of a set whose guard this transaction has touched before, so
    /// that nothing is added to it, and where it is no matter if something is taken out.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The record at `key`, as this transaction sees it.
    pub async fn get<R: Record>(&mut self, key: &str) -> Result<Option<R>, Error> {
        match self.written.get(key) {
            Some(Write::Put(value, _)) => return decode(key, value).map(Some),
            Some(Write::Delete) => return Ok(None),
            Some(Write::Touch) | None => {}
        }
        let item = self.read(key).await?;
        item.map(|item| decode(key, &item.value)).transpose()
    }

    /// The record that is stored at `key`, with the revision of its last write; own writes, which have no
    /// revision yet, are not seen.
    pub async fn get_with_revision<R: Record>(
        &mut self,
        key: &str,
    ) -> Result<Option<(R, Revision)>, Error> {
        match self.read(key).await? {
            Some(item) => Ok(Some((decode(key, &item.value)?, item.modified))),
            None => Ok(None),
        }
    }

    async fn read(&mut self, key: &str) -> Result<Option<&KeyValue>, Error> {
        if !self.read.contains_key(key) {
            let (item, _) = self.db.get_raw(key).await?;
            self.read.insert(key.to_owned(), item);
        }
        Ok(self.read[key].as_ref())
    }

    /// The first records under `prefix` in key order, at most `limit`, merged with this transaction's own writes. Each that
    /// is found counts against [`MAX_OPS`](crate::MAX_OPS), as every read does: whether there is any is asked with a limit of
    /// 1, and what may be many is done in pages. Not safe against keys that others add: see [`touch`](Self::touch).
    pub async fn scan<R: Record>(
        &mut self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, R)>, Error> {
        // What this transaction deletes hides as many.
        let hidden = self
            .written
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, write)| matches!(write, Write::Delete));
        let wanted = limit.saturating_add(hidden.count());
        let scan = self.db.scan_raw(prefix, None, wanted).await?;
        let mut found = BTreeMap::new();
        for item in scan.items {
            // What was read first is what the commit compares; if this differs, it will conflict.
            let item = self.read.entry(item.key.clone()).or_insert(Some(item));
            if let Some(item) = item {
                found.insert(item.key.clone(), item.value.clone());
            }
        }
        for (key, write) in self.written.range(prefix.to_owned()..) {
            if !key.starts_with(prefix) {
                break;
            }
            match write {
                Write::Put(value, _) => {
                    found.insert(key.clone(), value.clone());
                }
                Write::Delete => {
                    found.remove(key);
                }
                Write::Touch => {}
            }
        }
        found
            .into_iter()
            .take(limit)
            .map(|(key, value)| decode(&key, &value).map(|record| (key, record)))
            .collect()
    }

    /// What was stored at a key that this transaction has read; `None` too for one that it has not.
    pub fn stored_before(&self, key: &str) -> Option<&[u8]> {
        let item = self.read.get(key)?.as_ref()?;
        Some(&item.value)
    }

    /// What will be stored at a key once this transaction has committed, as far as it has read or written it.
    pub fn stored_after(&self, key: &str) -> Option<&[u8]> {
        match self.written.get(key) {
            Some(Write::Put(value, _)) => Some(value),
            Some(Write::Delete) => None,
            Some(Write::Touch) | None => self.stored_before(key),
        }
    }

    /// Stores a record. A lease that the key was on is taken off.
    pub fn put<R: Record>(&mut self, key: &str, record: &R) -> Result<(), Error> {
        let value = self.db.encode(key, record)?;
        self.written.insert(key.to_owned(), Write::Put(value, None));
        Ok(())
    }

    /// Stores a record that is deleted when the lease ends. If the lease is over at the commit, that fails
    /// with [`Error::LeaseNotFound`].
    pub fn put_with_lease<R: Record>(
        &mut self,
        key: &str,
        record: &R,
        lease: LeaseId,
    ) -> Result<(), Error> {
        let value = self.db.encode(key, record)?;
        self.written
            .insert(key.to_owned(), Write::Put(value, Some(lease)));
        Ok(())
    }

    /// Removes a key; nothing happens if there is none.
    pub fn delete(&mut self, key: &str) {
        self.written.insert(key.to_owned(), Write::Delete);
    }

    /// Reads `key` and writes it, so that of all transactions that touch it at the same time only one commits.
    /// If there is nothing at the key, a small record of the store's own is put there; what is there is kept.
    /// Touch before the reads that it is to guard.
    pub async fn touch(&mut self, key: &str) -> Result<(), Error> {
        self.read(key).await?;
        self.written.entry(key.to_owned()).or_insert(Write::Touch);
        Ok(())
    }

    /// Adds writes that are worked out at the moment of the commit; see [`Derive`].
    pub fn derive(&mut self, derive: Derive) {
        self.derived.push(derive);
    }

    /// What was gathered of this type; empty at first.
    pub fn gathered<G: Gathered + Default>(&mut self) -> &mut G {
        let is = |it: &dyn Gathered| (it as &dyn Any).is::<G>();
        let found = self.gathered.iter().position(|it| is(&**it));
        let at = found.unwrap_or_else(|| {
            self.gathered.push(Box::new(G::default()));
            self.gathered.len() - 1
        });
        let found = &mut *self.gathered[at] as &mut dyn Any;
        found.downcast_mut().expect("it is of this type")
    }

    /// Whether everything that was read is still so; nothing is written. It tells a refusal that is true from one
    /// that came of reading one key before and another after somebody else's commit: if this is `false`, start
    /// again.
    pub async fn holds(self) -> Result<bool, Error> {
        let checked = self.db.commit(compares(self.read), Vec::new()).await?;
        Ok(matches!(checked, Committed::Done(_)))
    }

    /// Writes everything, if everything that was read is still so, and answers when it is durable. When the
    /// caller stops waiting, the commit may still happen.
    pub async fn commit(self) -> Result<Committed, Error> {
        let mut ops = Vec::with_capacity(self.written.len());
        for (key, write) in self.written {
            ops.push(match write {
                Write::Put(value, lease) => Op::Put { key, value, lease },
                Write::Delete => Op::Delete { key },
                Write::Touch => {
                    let value = match self.read.get(&key) {
                        Some(Some(item)) => item.value.clone(),
                        _ => self.db.encode(&key, &Guard {})?,
                    };
                    Op::Put {
                        key,
                        value,
                        lease: None,
                    }
                }
            });
        }
        let compares = compares(self.read);
        let mut derived = self.derived;
        for gathered in self.gathered {
            derived.extend(gathered.derive(&self.db));
        }
        self.db.commit_derived(compares, ops, derived).await
    }
}

fn compares(read: BTreeMap<String, Option<KeyValue>>) -> Vec<Compare> {
    read.into_iter()
        .map(|(key, item)| match item {
            Some(item) => Compare::Modified(key, item.modified),
            None => Compare::Absent(key),
        })
        .collect()
}
