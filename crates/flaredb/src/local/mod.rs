//! What the engines in this process share.
//!
//! ```text
//!  commit ──► queue ──► writer thread ──► one transaction of the storage for all that is queued ──► answers
//!                          │ publishes the revision once that is durable
//!  watch  ◄── change log ◄─┘
//!  get, scan ◄── reader (never waits for the writer)
//! ```
//! A single writer makes the comparisons of a commit and its writes one step without locks, and what queues
//! up while it syncs the disk shares the next sync (group commit). Each commit of a group is accepted or
//! conflicts on its own.

mod apply;
mod watch;
mod writer;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch as published};

use crate::{
    Change, Committed, Compare, Derive, Engine, Error, KeyValue, LeaseId, Op, Options, Revision,
    Scan, Watch,
};

use writer::{Request, Writer};

/// Where the writer begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The schema of what is stored.
    pub schema: u32,
    /// Revision of the last commit.
    pub revision: Revision,
    /// Changes up to this revision are not in the log.
    pub compacted: Revision,
    /// Id of the last lease that was granted; ids are not used again.
    pub last_lease: u64,
    /// Leases with their time to live.
    pub leases: Vec<(LeaseId, Duration)>,
    /// What is in the log and was not yet counted: revisions, in order, with the bytes of keys and values.
    pub logged: Vec<(Revision, u64)>,
}

/// The writer's access to what is stored, within one atomic and durable transaction.
pub(crate) trait View {
    fn get(&mut self, key: &str) -> Result<Option<KeyValue>, Error>;
    fn modified(&mut self, key: &str) -> Result<Option<Revision>, Error>;
    /// `created` stays as it is if the key exists.
    fn put(
        &mut self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Result<(), Error>;
    /// Answers whether there was such a key.
    fn delete(&mut self, key: &str) -> Result<bool, Error>;
    fn log(&mut self, revision: Revision, key: &str, value: Option<&[u8]>) -> Result<(), Error>;
    fn leased(&mut self, lease: LeaseId) -> Result<Vec<String>, Error>;
    fn lease_put(&mut self, lease: LeaseId, ttl: Duration) -> Result<(), Error>;
    fn lease_delete(&mut self, lease: LeaseId) -> Result<(), Error>;
    /// Stores the counters, and drops changes up to `compacted` from the log.
    fn counters(&mut self, state: &State) -> Result<(), Error>;
}

/// What the writer writes to.
pub(crate) trait Storage: Send + 'static {
    /// Runs `work` once. What it did is visible to readers only after this answers `Ok`, all at once, and is
    /// durable by then; after an `Err` nothing of it has happened.
    fn transact(
        &mut self,
        work: &mut dyn FnMut(&mut dyn View) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Whether the storage must not be written to any more after this error.
    fn is_fatal(&self, error: &Error) -> bool;
}

/// Changes of some revisions.
pub(crate) struct Changes {
    /// One item per commit that changed something under the prefix.
    pub commits: Vec<Vec<Change>>,
    /// All revisions up to this one have been looked at.
    pub up_to: Revision,
}

/// Reads beside the writer, each from one consistent state.
#[async_trait]
pub(crate) trait Reader: Send + Sync + 'static {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error>;
    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error>;
    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error>;
    async fn revision(&self) -> Result<Revision, Error>;
    /// Changes under `prefix` of a bounded number of revisions after `after`.
    async fn changes(&self, prefix: &str, after: Revision) -> Result<Changes, Error>;
}

/// An engine in this process.
pub(crate) struct Local {
    reader: Arc<dyn Reader>,
    schema: u32,
    queue: Option<mpsc::Sender<Request>>,
    published: published::Receiver<Revision>,
    writer: Option<JoinHandle<()>>,
}

impl Local {
    pub fn start(
        reader: impl Reader,
        storage: impl Storage,
        state: State,
        options: &Options,
    ) -> Self {
        let (queue, requests) = mpsc::channel();
        let (publisher, published) = published::channel(state.revision);
        let schema = state.schema;
        let writer = Writer::new(storage, state, options, publisher);
        let writer = std::thread::Builder::new()
            .name("flaredb-writer".to_owned())
            .spawn(move || writer.run(&requests))
            // Only a machine out of threads or memory gets here, and it has nothing to continue with.
            .expect("a thread can be started");
        Local {
            reader: Arc::new(reader),
            schema,
            queue: Some(queue),
            published,
            writer: Some(writer),
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.send(request(answer)).map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Local {
    /// Waits for the writer to finish what is queued and close its storage, so that whoever opens the same
    /// store next finds it free.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            // What a commit derives may hold the last handle of its own store; a thread cannot wait for itself.
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

#[async_trait]
impl Engine for Local {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        self.reader.get(key).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
        self.reader.get_many(keys).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error> {
        self.reader.scan(prefix, after, limit).await
    }

    async fn commit_derived(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
        derived: Vec<Derive>,
    ) -> Result<Committed, Error> {
        self.ask(|answer| Request::Commit {
            commit: apply::Commit {
                compares,
                ops,
                derived,
            },
            answer,
        })
        .await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        // Not the published one, which follows a moment after what readers see.
        self.reader.revision().await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        watch::start(self.reader.clone(), self.published.clone(), prefix, after).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.ask(|answer| Request::Grant { ttl, answer }).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.ask(|answer| Request::KeepAlive { lease, answer })
            .await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.ask(|answer| Request::Revoke { lease, answer }).await
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    async fn compact_for_test(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|answer| Request::Compact { revision, answer })
            .await
    }

    async fn closed(&self) {
        let mut published = self.published.clone();
        while published.changed().await.is_ok() {}
    }
}
