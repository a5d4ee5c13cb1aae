//! Hosts: what should exist on each, and what each says of it.
//!
//! ```text
//! store ──watch──► follow() ──► Inventory (all resources, in memory) ──► Desired of a host
//!                     └──────► a signal to every Interest, which asks whether it is concerned
//! ```

mod desired;
mod egress;
mod inventory;
mod peerings;
mod registration;
mod routes;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use flaredb::{Db, Followed, Revision, Transaction, WatchItem};
use photon_catalog::{Change, Effect, commit, get};
use photon_resource::{Error, PortId, ResourceName, Time};
use photon_service::Mutation;
use tokio::sync::watch;

use crate::model::{Port, PortStatus};
use crate::store;

pub use desired::{Desired, DesiredGateway, DesiredGroup, DesiredSubnet, DesiredVpc, Transit};
pub use inventory::{Asked, Inventory, Question, Step, Trace, Verdict};
pub use peerings::DesiredPeering;
pub use routes::{DesiredRoute, Way};

/// How long to wait before the store is read anew after it could not be followed.
const PAUSE: Duration = Duration::from_secs(1);

/// What hosts are to have. Clones share everything.
#[derive(Clone)]
pub struct Nodes {
    db: Db,
    store_epoch: Arc<str>,
    inventory: Arc<RwLock<Inventory>>,
    /// Up to where the inventory is known.
    followed: Arc<Followed>,
}

impl Nodes {
    /// Knows nothing until [`follow`](Self::follow) runs. Revisions that hosts are told are of `store_epoch`: of this run.
    pub fn new(db: Db, store_epoch: &str) -> Self {
        Self {
            db,
            store_epoch: store_epoch.into(),
            inventory: Arc::default(),
            followed: Arc::default(),
        }
    }

    /// Keeps the inventory up to date for as long as it is polled; errors are logged, and what hosts were told
    /// stays as it is until the store can be read again.
    pub async fn follow(self) {
        loop {
            match self.follow_once().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, cause = ?error, "the store can't be followed; hosts keep what they have");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Until the store is closed.
    async fn follow_once(&self) -> Result<(), Error> {
        let (everything, revision) = store::everything(&self.db).await?;
        *self.write() = Inventory::new(everything, revision);
        self.followed.reached(revision);

        let mut changes = self.db.watch("", revision).await?;
        while let Some(item) = changes.next_item().await {
            let item = item?;
            let revision = item.revision();
            let changed: Vec<_> = match &item {
                WatchItem::Commit(commit) => commit
                    .iter()
                    .filter_map(|change| store::changed(change).transpose())
                    .collect::<Result<_, _>>()?,
                WatchItem::Progress(_) => Vec::new(),
            };
            {
                let mut inventory = self.write();
                for changed in changed {
                    inventory.apply(changed, revision);
                }
                inventory.reached(revision);
            }
            self.followed.reached(revision);
        }
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inventory> {
        self.inventory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inventory> {
        // A panic inside would be in code that only inserts into maps.
        self.inventory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What revisions are of: those of another epoch say nothing of these.
    pub fn store_epoch(&self) -> &str {
        &self.store_epoch
    }

    /// What should exist on `node` now, as `view` sees it.
    pub fn desired<T>(&self, node: &str, view: impl FnOnce(&Desired<'_>) -> T) -> T {
        view(&self.read().desired(node))
    }

    /// What becomes of a packet from a port, as of what was committed before this call. Errors: `Unavailable`.
    pub async fn trace(&self, port: &Port, question: Question) -> Result<Trace, Error> {
        self.followed.settled(&self.db).await?;
        Ok(self.read().trace(port, question))
    }

    /// An interest in what should exist on `node`.
    pub fn interest(&self, node: &str) -> Interest {
        Interest {
            nodes: self.clone(),
            node: node.to_owned(),
            signal: self.followed.revision(),
            seen: None,
        }
    }

    /// What `node` found of its ports when it applied what is said. What is no news, of an earlier attachment or of
    /// another store changes nothing. Errors: those of the store.
    pub async fn report<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        resource: ResourceName,
        node: &str,
        reported: Reported,
        ports: Vec<(PortId, PortStatus)>,
    ) -> Result<A, Error> {
        let epoch = &reported.store_epoch;
        if !epoch.is_empty() && **epoch != *self.store_epoch {
            // Of another run of the server, or of a store that was put back: the host hears everything anew, and reports
            // again.
            return Ok(A::default());
        }
        // Revisions mean something only as long as the server runs, so that none is stored: what is compared is which
        // attachment the host knew. What it was told is known here too.
        self.followed.settled(&self.db).await?;
        // One transaction each: a host may have more ports than one has room for. The host reports again what was not
        // taken in before an error.
        for (id, status) in ports {
            let known = self.read().generation_known(id, reported.revision);
            let Some(generation) = known else {
                continue;
            };
            let mut change = Report {
                resource: resource.clone(),
                node,
                generation,
                id,
                status,
            };
            commit(&self.db, mutation.clone(), &mut change, |()| A::default()).await?;
        }
        Ok(A::default())
    }
}

/// What a host has applied when it reports.
#[derive(Clone, Debug)]
pub struct Reported {
    /// As of when.
    pub revision: Revision,
    /// What the revision is of; empty: it was not told.
    pub store_epoch: String,
}

/// Learns when what should exist on one host may have changed.
pub struct Interest {
    nodes: Nodes,
    node: String,
    signal: watch::Receiver<Option<Revision>>,
    /// `None`: nothing was asked for yet.
    seen: Option<Revision>,
}

impl Interest {
    /// Waits until there is something to see: the first time, until everything that was committed before this
    /// call is known; then, until something changed that concerns the host.
    ///
    /// Errors: `Unavailable` when the store is closed.
    pub async fn changed(&mut self) -> Result<(), Error> {
        let Some(seen) = self.seen else {
            self.seen = Some(self.nodes.followed.settled(&self.nodes.db).await?);
            return Ok(());
        };
        loop {
            let revision = self.signal.borrow_and_update().unwrap_or_default();
            let concerned = {
                let inventory = self.nodes.read();
                inventory.changed_for(&self.node)
            };
            if concerned > seen {
                self.seen = Some(revision.max(concerned));
                return Ok(());
            }
            self.signal.changed().await.map_err(|_| closed())?;
        }
    }
}

fn closed() -> Error {
    Error::Unavailable("the server is stopping".to_owned())
}

struct Report<'a> {
    resource: ResourceName,
    node: &'a str,
    generation: u64,
    id: PortId,
    status: PortStatus,
}

#[async_trait]
impl Change for Report<'_> {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let before: Port = match get(tx, &self.id).await {
            Ok(port) => port,
            // Deleted since the host was told.
            Err(Error::NotFound { .. }) => return Ok(Effect::nothing(())),
            Err(error) => return Err(error),
        };
        let mut after = before.clone();
        if !after.report(self.node, self.generation, self.status.clone()) {
            return Ok(Effect::nothing(()));
        }
        after.meta.touch(Time::now());
        store::port_update(tx, &before, &after).await?;
        Ok(Effect::of(self.resource.clone(), ()))
    }
}
