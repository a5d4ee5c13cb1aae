//! Hosts: which names each is told.
//!
//! ```text
//! PrismNET: subnets, ports ──┐ watches
//!                            ├──► sources ──► Inventory (in memory) ──► Desired of a host
//! PlasmaVMC: VMs ────────────┘                     └──► a signal to every Interest, which asks whether it is concerned
//! ```
//! Nothing of it is stored: it is all somebody else's, who has it. A server that starts hears everything before any host
//! hears of it, and of whom nothing is heard any more nothing is taken away.

mod inventory;

use std::sync::{Arc, PoisonError, RwLock};

use photon_resource::Error;
use tokio::sync::watch;

pub use inventory::{Changed, Desired, DesiredName, DesiredView, Inventory, Table};

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

    /// What `node` should answer now, as `view` sees it.
    pub fn desired<T>(&self, node: &str, view: impl FnOnce(&Desired<'_>) -> T) -> T {
        let held = self.inventory.read();
        view(&held.unwrap_or_else(PoisonError::into_inner).desired(node))
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
