//! One reader of a table's changes for all who follow it: what a commit changed is read and understood once, however many
//! streams tell of it.
//!
//! ```text
//! store's log ──one watch──► Follower ──broadcast, bounded──► Feed, Feed, Feed …
//!      └───────────────────────────────────────────────────────► a Feed that begins, or fell behind: by itself, then as above
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use flaredb::{Change, Db, Revision, WatchItem};
use photon_resource::{Error, Scope};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use crate::feed::{Changed, Feed};
use crate::stored::{Stored, load};

#[cfg(test)]
mod tests;

/// How many commits whoever is told may be behind; further behind, they read the store's log themselves. A commit is 100
/// keys at most.
const BEHIND: usize = 64;

/// Follows a table for as long as somebody listens. Clones share it, and so do their feeds.
pub struct Follower<R: Stored> {
    db: Db,
    running: Arc<Mutex<Option<Running<R>>>>,
}

impl<R: Stored> Clone for Follower<R> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            running: Arc::clone(&self.running),
        }
    }
}

struct Running<R: Stored> {
    told: broadcast::Sender<Arc<Heard<R>>>,
    _task: AbortOnDropHandle<()>,
}

/// What one commit says of the table's resources.
pub(crate) struct Heard<R: Stored> {
    pub revision: Revision,
    pub items: Vec<Item<R>>,
}

/// What it says of one.
#[derive(Clone)]
pub(crate) enum Item<R: Stored> {
    Now(R),
    /// It is gone from this scope.
    Gone(R::Id, Scope),
    /// It can't be read, for this reason, which is the operator's.
    Unreadable(R::Id, String),
}

impl<R: Stored> Item<R> {
    /// Whether it is of what a feed follows: of `only`, if that is given, in `scope`.
    pub(crate) fn concerns(&self, scope: &Scope, only: Option<&R::Id>) -> bool {
        let is = |id: &R::Id| only.is_none_or(|only| only == id);
        match self {
            Self::Now(resource) => {
                only.is_none_or(|only| *only == resource.id()) && scope.contains(&resource.scope())
            }
            Self::Gone(id, was_in) => is(id) && scope.contains(was_in),
            Self::Unreadable(id, _) => is(id),
        }
    }
}

impl<R: Stored> Heard<R> {
    /// Understands a commit; of `only`, if that is given, the rest costs nothing.
    ///
    /// Errors: the store failed.
    pub(crate) async fn of(
        db: &Db,
        commit: &[Change],
        only: Option<&R::Id>,
    ) -> Result<Vec<Item<R>>, Error> {
        let mut items = Vec::new();
        for change in commit {
            let Some(id) = R::id_of_key(&change.key) else {
                continue;
            };
            if only.is_some_and(|only| *only != id) {
                continue;
            }
            let now = match R::changed(&id, change) {
                Ok(Changed::Whole(resource)) => Ok(Some(resource)),
                Ok(Changed::Part) => load::<R>(db, &id).await,
                Ok(Changed::Gone) => {
                    if let Some(scope) = R::scope_of_removed(commit, &id) {
                        items.push(Item::Gone(id, scope));
                    }
                    continue;
                }
                Err(error) => Err(error),
            };
            match now {
                Ok(Some(resource)) => items.push(Item::Now(resource)),
                // What is gone by now is told by the commit that took it.
                Ok(None) => {}
                Err(Error::Internal(cause)) => items.push(Item::Unreadable(id, cause.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }
}

impl<R: Stored> Follower<R> {
    /// Of the table in `db`. Nothing is read until somebody listens.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            running: Arc::default(),
        }
    }

    /// A feed of a scope: see [`Feed::start`].
    pub async fn feed(&self, scope: Scope, since: Option<Revision>) -> Result<Feed<R>, Error> {
        Feed::start(self.clone(), scope, since).await
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// Hears every commit that the store's log has after now.
    pub(crate) async fn listen(&self) -> Result<broadcast::Receiver<Arc<Heard<R>>>, Error> {
        if let Some(running) = &*lock(&self.running) {
            return Ok(running.told.subscribe());
        }
        let revision = self.db.revision().await?;
        let mut changes = self.db.watch(R::TABLE, revision).await?;
        let mut running = lock(&self.running);
        if let Some(running) = &*running {
            return Ok(running.told.subscribe());
        }
        let (told, listener) = broadcast::channel(BEHIND);
        let (db, shared, teller) = (self.db.clone(), Arc::downgrade(&self.running), told.clone());
        let task = tokio::spawn(async move {
            while let Some(item) = changes.next_item().await {
                let told = match item {
                    Ok(item) => tell(&db, item, &teller).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = told {
                    // Those who listen go on from the log by themselves, and hear why if that does not work.
                    tracing::error!(%error, table = R::TABLE, "a table can't be followed");
                    break;
                }
                if ended(&shared, &teller) {
                    return;
                }
            }
            if let Some(shared) = Weak::upgrade(&shared) {
                // The next who listens begins anew.
                let of_this = lock(&shared).take();
                drop(of_this);
            }
        });
        *running = Some(Running {
            told,
            _task: AbortOnDropHandle::new(task),
        });
        Ok(listener)
    }
}

async fn tell<R: Stored>(
    db: &Db,
    item: WatchItem,
    teller: &broadcast::Sender<Arc<Heard<R>>>,
) -> Result<(), Error> {
    let revision = item.revision();
    if let WatchItem::Commit(commit) = item {
        let items = Heard::of(db, &commit, None).await?;
        if !items.is_empty() {
            // Nobody listens any more: that is looked at next.
            let _ = teller.send(Arc::new(Heard { revision, items }));
        }
    }
    Ok(())
}

/// Whether nobody listens any more; then it is over.
fn ended<R: Stored>(
    shared: &Weak<Mutex<Option<Running<R>>>>,
    teller: &broadcast::Sender<Arc<Heard<R>>>,
) -> bool {
    if teller.receiver_count() > 0 {
        return false;
    }
    let Some(shared) = shared.upgrade() else {
        return true;
    };
    let mut running = lock(&shared);
    // Who listens has the lock: nobody has come since.
    if teller.receiver_count() > 0 {
        return false;
    }
    *running = None;
    true
}

fn lock<R: Stored>(running: &Mutex<Option<Running<R>>>) -> MutexGuard<'_, Option<Running<R>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
