//! Hosts: which names each is told.
//!
//! ```text
//! PrismNET: subnets, ports ──┐ watches
//!                            ├──► sources ──► Inventory (in memory) ──► Desired of a host
//! PlasmaVMC: VMs ────────────┤                     └──► a signal to every Interest, which asks whether it is concerned
//! store: zones, record sets ─┘
//! ```
//! Of what is somebody else's nothing is stored. A server that starts hears everything before any host
//! hears of it, and of whom nothing is heard any more nothing is taken away.

mod inventory;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use flaredb::{Db, WatchItem};
use photon_resource::{Error, VpcId};
use tokio::sync::watch;

use crate::store;

pub use inventory::{Desired, DesiredName, DesiredView, DesiredZone, Inventory, Table};

/// How long to wait before the store is read anew after it could not be followed.
const PAUSE: Duration = Duration::from_secs(1);

/// What hosts are to be told. Clones share everything.
#[derive(Clone)]
pub struct Nodes {
    epoch: Arc<str>,
    inventory: Arc<RwLock<Inventory>>,
    /// The inventory's revision; 0 until it is complete.
    reached: watch::Sender<u64>,
}

impl Nodes {
    /// Knows nothing. Revisions that hosts are told are of `epoch`: of this run.
    pub fn new(epoch: &str) -> Self {
        Self {
            epoch: epoch.into(),
            inventory: Arc::default(),
            reached: watch::Sender::new(0),
        }
    }

    /// What revisions are of.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Takes in what was heard.
    pub fn change(&self, change: impl FnOnce(&mut Inventory)) {
        let reached = {
            // A panic inside would be in code that only inserts into maps.
            let held = self.inventory.write();
            let mut inventory = held.unwrap_or_else(PoisonError::into_inner);
            change(&mut inventory);
            inventory.complete().then(|| inventory.revision())
        };
        self.reached.send_if_modified(|known| {
            let now = reached.unwrap_or_default().max(*known);
            std::mem::replace(known, now) != now
        });
    }

    /// Keeps the zones and record sets of `db` up to date for as long as it is polled; errors are logged, and what hosts
    /// were told stays as it is until the store can be read again.
    pub async fn follow(self, db: Db) {
        loop {
            match self.follow_once(&db).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, cause = ?error, "the store can't be followed; hosts keep what they have");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Until the store is closed.
    async fn follow_once(&self, db: &Db) -> Result<(), Error> {
        let (everything, revision) = store::everything(db).await?;
        self.change(|inventory| {
            inventory.begin(Table::Store);
            for changed in everything {
                inventory.apply(changed);
            }
            inventory.end(Table::Store);
        });
        let mut changes = db.watch("", revision).await?;
        while let Some(item) = changes.next_item().await {
            let WatchItem::Commit(commit) = item? else {
                continue;
            };
            let changed = commit
                .iter()
                .filter_map(|change| store::changed(change).transpose());
            let changed: Vec<_> = changed.collect::<Result<_, _>>()?;
            if !changed.is_empty() {
                self.change(|inventory| changed.into_iter().for_each(|it| inventory.apply(it)));
            }
        }
        Ok(())
    }

    /// What `node` should answer now, as `view` sees it.
    pub fn desired<T>(&self, node: &str, view: impl FnOnce(&Desired<'_>) -> T) -> T {
        let held = self.inventory.read();
        view(&held.unwrap_or_else(PoisonError::into_inner).desired(node))
    }

    /// What the guests of a VPC are answered now, as `view` sees it. Errors: `Unavailable` before everything has been heard.
    pub fn view<T>(
        &self,
        vpc: VpcId,
        view: impl FnOnce(&DesiredView<'_>) -> T,
    ) -> Result<T, Error> {
        let held = self.inventory.read();
        let inventory = held.unwrap_or_else(PoisonError::into_inner);
        if !inventory.complete() {
            let reason = "not everything has been heard of PrismNET and PlasmaVMC yet: try again";
            return Err(Error::Unavailable(reason.to_owned()));
        }
        Ok(view(&inventory.view(vpc)))
    }

    /// An interest in what `node` should answer.
    pub fn interest(&self, node: &str) -> Interest {
        Interest {
            nodes: self.clone(),
            node: node.to_owned(),
            signal: self.reached.subscribe(),
            seen: None,
        }
    }
}

/// Learns when what one host should answer may have changed.
pub struct Interest {
    nodes: Nodes,
    node: String,
    signal: watch::Receiver<u64>,
    /// `None`: nothing was asked for yet.
    seen: Option<u64>,
}

impl Interest {
    /// Waits until there is something to see: the first time, until everything has been heard; then, until something
    /// changed that concerns the host.
    ///
    /// Errors: `Unavailable` when the server is stopping.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            let reached = *self.signal.borrow_and_update();
            if reached > 0 {
                let concerned = {
                    let held = self.nodes.inventory.read();
                    let inventory = held.unwrap_or_else(PoisonError::into_inner);
                    inventory.changed_for(&self.node)
                };
                if self.seen.is_none_or(|seen| concerned > seen) {
                    self.seen = Some(concerned.max(reached));
                    return Ok(());
                }
            }
            let stopping = |_| Error::Unavailable("the server is stopping".to_owned());
            self.signal.changed().await.map_err(stopping)?;
        }
    }
}
