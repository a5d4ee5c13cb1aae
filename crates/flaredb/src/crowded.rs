//! A store that is a part of a greater one, for tests: what several servers will have in one etcd.
//!
//! Its keys are prefixed in an engine that others write too: between any two commits there are others', so that its
//! revisions begin anywhere and have gaps, and the latest revision is hardly ever its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use crate::{
    Change, Committed, Compare, Db, Derive, Derived, Engine, Error, KeyValue, LeaseId, Op, Options,
    Revision, Scan, Watch, WatchItem, memory,
};

const OWN: &str = "own/";
const OTHERS: &str = "others";
/// So many commits of others there were before the store was made.
const BEFORE: usize = 7;

/// An empty store in the midst of others' commits.
pub async fn crowded(options: &Options) -> Result<Db, Error> {
    let engine = Crowded(Arc::new(memory::open(options)));
    for _ in 0..BEFORE {
        engine.others().await?;
    }
    Ok(Db::new(Arc::new(engine)))
}

struct Crowded(Arc<dyn Engine>);

impl Crowded {
    async fn others(&self) -> Result<(), Error> {
        let op = Op::Put {
            key: OTHERS.to_owned(),
            value: Vec::new(),
            lease: None,
        };
        // It compares nothing, so it does not conflict.
        self.0.commit(Vec::new(), vec![op]).await.map(drop)
    }
}

fn inner(key: &str) -> String {
    format!("{OWN}{key}")
}

fn outer(key: &str) -> String {
    key.strip_prefix(OWN).unwrap_or(key).to_owned()
}

/// Errors of what a commit derived; the rest of it was checked with its own keys.
fn outer_error(error: Error) -> Error {
    match error {
        Error::DuplicateWrite { key } => Error::DuplicateWrite { key: outer(&key) },
        Error::InvalidKey { key } => Error::InvalidKey { key: outer(&key) },
        other => other,
    }
}

fn outer_item(item: KeyValue) -> KeyValue {
    KeyValue {
        key: outer(&item.key),
        ..item
    }
}

fn inner_compare(compare: Compare) -> Compare {
    match compare {
        Compare::Absent(key) => Compare::Absent(inner(&key)),
        Compare::Present(key) => Compare::Present(inner(&key)),
        Compare::Modified(key, revision) => Compare::Modified(inner(&key), revision),
    }
}

fn inner_op(op: Op) -> Op {
    match op {
        Op::Put { key, value, lease } => Op::Put {
            key: inner(&key),
            value,
            lease,
        },
        Op::Delete { key } => Op::Delete { key: inner(&key) },
    }
}

fn inner_derive(derive: Derive) -> Derive {
    let Derive { reads, make } = derive;
    Derive {
        reads: reads.iter().map(|key| inner(key)).collect(),
        make: Box::new(move |read| {
            let read: Vec<_> = read
                .iter()
                .map(|item| item.clone().map(outer_item))
                .collect();
            let derived = make(&read)?;
            Ok(Derived {
                compares: derived.compares.into_iter().map(inner_compare).collect(),
                ops: derived.ops.into_iter().map(inner_op).collect(),
            })
        }),
    }
}

fn outer_watched(item: WatchItem) -> WatchItem {
    match item {
        WatchItem::Commit(changes) => WatchItem::Commit(
            changes
                .into_iter()
                .map(|change| Change {
                    key: outer(&change.key),
                    ..change
                })
                .collect(),
        ),
        progress => progress,
    }
}

#[async_trait]
impl Engine for Crowded {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let (item, revision) = self.0.get(&inner(key)).await?;
        Ok((item.map(outer_item), revision))
    }

    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
        let keys: Vec<String> = keys.iter().map(|key| inner(key)).collect();
        let (items, revision) = self.0.get_many(&keys).await?;
        let items = items.into_iter().map(|item| item.map(outer_item));
        Ok((items.collect(), revision))
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error> {
        let after = after.map(inner);
        let scan = self.0.scan(&inner(prefix), after.as_deref(), limit).await?;
        Ok(Scan {
            items: scan.items.into_iter().map(outer_item).collect(),
            ..scan
        })
    }

    async fn commit_derived(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
        derived: Vec<Derive>,
    ) -> Result<Committed, Error> {
        let compares = compares.into_iter().map(inner_compare).collect();
        let ops = ops.into_iter().map(inner_op).collect();
        let derived = derived.into_iter().map(inner_derive).collect();
        self.others().await?;
        let committed = self.0.commit_derived(compares, ops, derived).await;
        let committed = committed.map_err(outer_error)?;
        self.others().await?;
        Ok(match committed {
            Committed::Conflict { key } => Committed::Conflict { key: outer(&key) },
            done => done,
        })
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.0.revision().await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let watch = self.0.watch(&inner(prefix), after).await?;
        Ok(Watch::new(watch.map(|item| item.map(outer_watched))))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.0.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.lease_revoke(lease).await
    }

    async fn compact_for_test(&self, revision: Revision) -> Result<(), Error> {
        self.0.compact_for_test(revision).await
    }

    fn schema(&self) -> u32 {
        self.0.schema()
    }

    async fn closed(&self) {
        self.0.closed().await;
    }
}
