use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{Error, Record, decode};

/// Where the whole store is in its history. It grows with each commit that changes something, by one or by more: a store
/// may be part of a greater one, whose other parts are written too. No revision is assumed for an empty store, nor does
/// one mean anything to another store or after a restore: none is kept in a record.
pub type Revision = u64;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Largest value, in bytes. etcd refuses requests above 1.5 MiB by default, so a store can move there.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Most comparisons of one commit (what a [`Derive`] reads counts as one), and most writes. etcd by default takes 128
/// operations in each part of a transaction; what is left is the engine's own: a mark of the commit, a namespace's guards.
/// Whoever has more to do does it in pages.
pub const MAX_OPS: usize = 100;
/// Shortest time to live of a lease: one and a half elections of an etcd cluster with its default timeouts, in whole
/// seconds, which are what it counts in.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(2);
/// Longest time to live of a lease.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The stored bytes.
    pub value: Vec<u8>,
    /// Revision at which the key came to be; a key that was deleted and put again is new.
    pub created: Revision,
    /// Revision of the last put.
    pub modified: Revision,
}

/// What must hold for a commit to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// There is no such key.
    Absent(String),
    /// The key exists and was last modified at this revision.
    Modified(String, Revision),
    /// The key exists.
    Present(String),
}

impl Compare {
    /// The key that is compared.
    pub fn key(&self) -> &str {
        match self {
            Compare::Absent(key) | Compare::Modified(key, _) | Compare::Present(key) => key,
        }
    }
}

/// One write of a commit, which has one for each key at most ([`Error::DuplicateWrite`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Stores a value.
    Put {
        /// The key.
        key: String,
        /// The bytes to store, at most [`MAX_VALUE_BYTES`].
        value: Vec<u8>,
        /// The key is deleted when this lease ends; `None` takes the key off its lease.
        lease: Option<LeaseId>,
    },
    /// Removes a key; nothing happens if there is none.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// How a commit ended.
#[must_use = "a commit may have lost a race: nothing was written then"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is durable, as of this revision. A commit that changed nothing answers one that the store has had.
    Done(Revision),
    /// A comparison did not hold and nothing was written.
    Conflict {
        /// The first key whose comparison failed.
        key: String,
    },
}

/// Part of a commit that depends on what is stored at the moment of the commit.
///
/// For appending to something that every writer appends to: with an ordinary transaction all but one of
/// the writers that run at the same time would conflict on its head; here none does, and many of them
/// still share one sync of the disk.
pub struct Derive {
    /// Keys whose values `ops` gets, in this order, as they were before this commit's own writes.
    pub reads: Vec<String>,
    /// Makes the writes. It must not block, and its only effect may be its answer: an engine that finds
    /// the read values changed in the meantime calls it again.
    #[allow(clippy::type_complexity)]
    pub make: Box<dyn Fn(&[Option<KeyValue>]) -> Result<Derived, Error> + Send + Sync>,
}

/// What [`Derive::make`] adds to a commit.
#[derive(Debug, Default)]
pub struct Derived {
    /// Further comparisons.
    pub compares: Vec<Compare>,
    /// Further writes.
    pub ops: Vec<Op>,
}

impl fmt::Debug for Derive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derive")
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

/// What happened to a key in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The new value; `None`: the key was deleted.
    pub value: Option<Vec<u8>>,
    /// Revision of the commit.
    pub revision: Revision,
}

impl Change {
    /// The new value as a record; `None`: the key was deleted.
    pub fn record<R: Record>(&self) -> Result<Option<R>, Error> {
        self.value
            .as_deref()
            .map(|value| decode(&self.key, value))
            .transpose()
    }
}

/// A part of the store in key order, all as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The keys with the prefix, at most as many as asked for.
    pub items: Vec<KeyValue>,
    /// The store's revision; [`Engine::watch`] from here continues without a gap.
    pub revision: Revision,
    /// There are further items after the last one.
    pub more: bool,
}

/// A lease: keys put with it are deleted, in one commit, when it is not kept alive for its time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for LeaseId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(LeaseId)
    }
}

/// What a [`Watch`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// What one commit changed under the prefix, in order of key. Everything before it has been told.
    Commit(Vec<Change>),
    /// Everything under the prefix up to this revision has been told. What changed since the item before, if anything,
    /// is elsewhere in the store.
    Progress(Revision),
}

impl WatchItem {
    /// Up to where everything under the prefix has been told with this item.
    pub fn revision(&self) -> Revision {
        match self {
            // All changes of a commit are of its revision, and there is at least one.
            WatchItem::Commit(changes) => changes.first().map_or(0, |change| change.revision),
            WatchItem::Progress(revision) => *revision,
        }
    }
}

/// The changes under a prefix since a revision: a stream of one item per commit, in order of revision, and
/// in order of key within it, with [`WatchItem::Progress`] between them: no revision is told twice. It is fed from the
/// store's change log, so a slow reader costs no memory; one that falls behind the log gets [`Error::Compacted`], its
/// last item. It ends when the store is closed.
pub struct Watch(BoxStream<'static, Result<WatchItem, Error>>);

impl Watch {
    /// For engines: a watch from a stream that keeps the promises above.
    pub fn new(stream: impl Stream<Item = Result<WatchItem, Error>> + Send + 'static) -> Self {
        Watch(Box::pin(stream))
    }

    /// Waits for the next commit that changed something under the prefix, for whom progress means nothing. Dropping the
    /// future loses nothing. `None`: the store was closed, or the item before was an error.
    pub async fn next(&mut self) -> Option<Result<Vec<Change>, Error>> {
        loop {
            match self.next_item().await? {
                Ok(WatchItem::Commit(changes)) => return Some(Ok(changes)),
                Ok(WatchItem::Progress(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Waits for the next commit under the prefix, or for the watch to get on without one: for whom others wait, see
    /// [`Followed`](crate::Followed). Otherwise as [`next`](Self::next).
    pub async fn next_item(&mut self) -> Option<Result<WatchItem, Error>> {
        futures::StreamExt::next(&mut self.0).await
    }
}

impl Stream for Watch {
    type Item = Result<WatchItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What a store must be able to do. [`Db`](crate::Db) checks keys, sizes and numbers before it calls an engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The key's value, and the revision as of which this is so.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error>;

    /// The values of keys, in their order, all as of one revision.
    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error>;

    /// Keys that start with `prefix`, in order, as of one revision: those greater than `after`, at most
    /// `limit`.
    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error>;

    /// Writes all of `ops` if all of `compares` hold, or nothing; durable before it answers
    /// [`Committed::Done`]. `derived` is worked out against what is stored at that moment, and the limits are kept with
    /// it: [`MAX_OPS`], one write for each key. When the caller stops waiting, the commit may still happen.
    async fn commit_derived(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
        derived: Vec<Derive>,
    ) -> Result<Committed, Error>;

    /// [`commit_derived`](Self::commit_derived) of fixed writes alone.
    async fn commit(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Committed, Error> {
        self.commit_derived(compares, ops, Vec::new()).await
    }

    /// The store's revision: no older than any commit that was acknowledged, to anybody, before this was called.
    async fn revision(&self) -> Result<Revision, Error>;

    /// As [`revision`](Self::revision), and every watch of this engine tells, soon and without a further commit, that it
    /// has come so far. An engine whose watches are silent while nothing changes under their prefix asks for their
    /// progress here.
    async fn barrier(&self) -> Result<Revision, Error> {
        self.revision().await
    }

    /// Every change under `prefix` with a revision greater than `after`. [`Error::Compacted`] if the log does
    /// not reach back so far, [`Error::FutureRevision`] if the store never was there.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error>;

    /// A new lease of whole seconds, at least [`MIN_LEASE_TTL`]. It ends after that time, not before and perhaps some
    /// seconds later: nothing that must not happen twice may rest on it. After a restart of the store, or when a networked
    /// one gets another leader, each lease has its whole `ttl` again.
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error>;

    /// Gives the lease its whole time to live from now. [`Error::LeaseNotFound`] if it is over.
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error>;

    /// Ends the lease now: its keys are gone when this answers. [`Error::LeaseNotFound`] if it is over.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error>;

    /// The schema of what is stored: see [`encode_for`](crate::encode_for). It stays as it is while the store is
    /// open.
    fn schema(&self) -> u32;

    /// For tests: drops the changes up to this revision from the log, as the operator of a networked store may at any
    /// time, and as a store in this process does by itself.
    async fn compact_for_test(&self, revision: Revision) -> Result<(), Error>;

    /// Waits until the engine has stopped for good, after which every commit answers [`Error::Closed`].
    async fn closed(&self);
}

/// The least text that is greater than every text that starts with `prefix`; `None`: there is none.
///
/// UTF-8 sorts by code point, so this is the prefix with its last character that has a successor replaced
/// by that.
pub(crate) fn prefix_end(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            char::MAX => continue,
            // The code points between are surrogates, which are no characters.
            '\u{D7FF}' => '\u{E000}',
            other => char::from_u32(other as u32 + 1)?,
        };
        chars.push(next);
        return Some(chars.into_iter().collect());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::prefix_end;
    use proptest::prelude::*;

    #[test]
    fn prefix_end_of_edges() {
        assert_eq!(prefix_end(""), None);
        assert_eq!(prefix_end("a/").as_deref(), Some("a0"));
        assert_eq!(prefix_end("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(prefix_end("\u{10FFFF}"), None);
        assert_eq!(prefix_end("\u{D7FF}").as_deref(), Some("\u{E000}"));
    }

    proptest! {
        #[test]
        fn a_text_is_below_the_end_exactly_if_it_has_the_prefix(prefix in ".{0,3}", text in ".{0,5}", suffix in ".{0,3}") {
            for text in [text, format!("{prefix}{suffix}")] {
                let inside = text.as_str() >= prefix.as_str()
                    && prefix_end(&prefix).is_none_or(|end| text < end);
                prop_assert_eq!(inside, text.starts_with(&prefix), "{:?} {:?}", prefix, text);
            }
        }
    }
}
