//! The `memory` engine: for tests, and for what may be forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::local::{Changes, Local, Reader, State, Storage, View};
use crate::{Change, Error, KeyValue, LeaseId, Options, Revision, Scan};

/// Most revisions that one look into the log takes.
const WINDOW: u64 = 256;

pub(crate) fn open(options: &Options) -> Local {
    let stored = Arc::new(RwLock::new(Stored::default()));
    let reader = MemoryReader(stored.clone());
    let state = State {
        schema: options.fresh_schema,
        ..State::default()
    };
    Local::start(reader, MemoryStorage(stored), state, options)
}

#[derive(Default)]
struct Stored {
    items: BTreeMap<String, (KeyValue, Option<LeaseId>)>,
    by_lease: BTreeMap<LeaseId, BTreeSet<String>>,
    /// Changes in order of revision, then key.
    log: VecDeque<Change>,
    revision: Revision,
    compacted: Revision,
}

impl Stored {
    fn take_off_lease(&mut self, key: &str, lease: Option<LeaseId>) {
        if let Some(lease) = lease
            && let Some(keys) = self.by_lease.get_mut(&lease)
        {
            keys.remove(key);
        }
    }
}

struct MemoryStorage(Arc<RwLock<Stored>>);

impl Storage for MemoryStorage {
    fn transact(
        &mut self,
        work: &mut dyn FnMut(&mut dyn View) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The lock hides the writes from readers until all are made; nothing here can fail half-way, since
        // none of the view's methods does.
        let mut stored = self.0.write().unwrap_or_else(PoisonError::into_inner);
        work(&mut *stored)
    }

    fn is_fatal(&self, _: &Error) -> bool {
        false
    }
}

impl View for Stored {
    fn get(&mut self, key: &str) -> Result<Option<KeyValue>, Error> {
        Ok(self.items.get(key).map(|(item, _)| item.clone()))
    }

    fn modified(&mut self, key: &str) -> Result<Option<Revision>, Error> {
        Ok(self.items.get(key).map(|(item, _)| item.modified))
    }

    fn put(
        &mut self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Result<(), Error> {
        let before = self.items.remove(key);
        let created = before.as_ref().map_or(revision, |(item, _)| item.created);
        self.take_off_lease(key, before.and_then(|(_, lease)| lease));
        if let Some(lease) = lease {
            let keys = self.by_lease.entry(lease).or_default();
            keys.insert(key.to_owned());
        }
        let item = KeyValue {
            key: key.to_owned(),
            value: value.to_vec(),
            created,
            modified: revision,
        };
        self.items.insert(key.to_owned(), (item, lease));
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<bool, Error> {
        match self.items.remove(key) {
            Some((_, lease)) => {
                self.take_off_lease(key, lease);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn log(&mut self, revision: Revision, key: &str, value: Option<&[u8]>) -> Result<(), Error> {
        self.log.push_back(Change {
            key: key.to_owned(),
            value: value.map(<[u8]>::to_vec),
            revision,
        });
        Ok(())
    }

    fn leased(&mut self, lease: LeaseId) -> Result<Vec<String>, Error> {
        let keys = self.by_lease.get(&lease);
        Ok(keys.into_iter().flatten().cloned().collect())
    }

    fn lease_put(&mut self, lease: LeaseId, _: Duration) -> Result<(), Error> {
        self.by_lease.insert(lease, BTreeSet::new());
        Ok(())
    }

    fn lease_delete(&mut self, lease: LeaseId) -> Result<(), Error> {
        self.by_lease.remove(&lease);
        Ok(())
    }

    fn counters(&mut self, state: &State) -> Result<(), Error> {
        self.revision = state.revision;
        self.compacted = state.compacted;
        let old = self
            .log
            .partition_point(|change| change.revision <= state.compacted);
        self.log.drain(..old);
        Ok(())
    }
}

struct MemoryReader(Arc<RwLock<Stored>>);

impl MemoryReader {
    fn stored(&self) -> RwLockReadGuard<'_, Stored> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Reader for MemoryReader {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let stored = self.stored();
        let item = stored.items.get(key).map(|(item, _)| item.clone());
        Ok((item, stored.revision))
    }

    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
        let stored = self.stored();
        let item = |key| stored.items.get(key).map(|(item, _)| item.clone());
        Ok((keys.iter().map(item).collect(), stored.revision))
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error> {
        let stored = self.stored();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = stored
            .items
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, (item, _))| item.clone());
        let items = found.by_ref().take(limit).collect();
        Ok(Scan {
            items,
            more: found.next().is_some(),
            revision: stored.revision,
        })
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(self.stored().revision)
    }

    async fn changes(&self, prefix: &str, after: Revision) -> Result<Changes, Error> {
        let stored = self.stored();
        if after < stored.compacted {
            return Err(Error::Compacted {
                after,
                compacted: stored.compacted,
            });
        }
        if after > stored.revision {
            return Err(Error::FutureRevision {
                after,
                current: stored.revision,
            });
        }
        let up_to = stored.revision.min(after + WINDOW);
        let first = stored
            .log
            .partition_point(|change| change.revision <= after);
        let mut commits: Vec<Vec<Change>> = Vec::new();
        let window = stored.log.range(first..);
        for change in window.take_while(|change| change.revision <= up_to) {
            if !change.key.starts_with(prefix) {
                continue;
            }
            match commits.last_mut() {
                Some(commit) if commit[0].revision == change.revision => {
                    commit.push(change.clone());
                }
                _ => commits.push(vec![change.clone()]),
            }
        }
        Ok(Changes { commits, up_to })
    }
}
