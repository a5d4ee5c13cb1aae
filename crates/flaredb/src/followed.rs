use photon_resource::Error;
use tokio::sync::watch;

use crate::{Db, Revision};

/// How far whoever follows a store has come, for those who wait for it: what was committed before they asked is known then.
#[derive(Debug)]
pub struct Followed(watch::Sender<Option<Revision>>);

impl Default for Followed {
    /// Nothing was read yet.
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Followed {
    /// Everything up to this revision is known: that of a [`Scan`](crate::Scan), then of each
    /// [`WatchItem`](crate::WatchItem). Another store's revision may be a lower one.
    pub fn reached(&self, revision: Revision) {
        self.0.send_replace(Some(revision));
    }

    /// The revision up to which everything is known, as it changes; `None`: nothing was read yet.
    pub fn revision(&self) -> watch::Receiver<Option<Revision>> {
        self.0.subscribe()
    }

    /// Waits until everything is known that is committed in `db`, which is what is followed, when this is called; for
    /// ever if nobody follows. Answers up to where it is known.
    ///
    /// Errors: those of the store.
    pub async fn settled(&self, db: &Db) -> Result<Revision, Error> {
        let now = db.barrier().await?;
        let mut revision = self.revision();
        let reached = revision.wait_for(|revision| *revision >= Some(now)).await;
        // The sender is this one's own, so that it is there.
        let reached = reached.map_err(|_| crate::Error::Closed)?;
        Ok(reached.unwrap_or(now))
    }
}
