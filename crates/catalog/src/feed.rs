//! A table as a stream: what is there, then what changes. Watch calls and other servers follow it.
//!
//! A feed costs what changes and keeps no copy: it reads what is there by pages, as fast as it is asked, and then hears
//! what all feeds of the table hear of one [`Follower`]. One that begins at an earlier revision, or that is read too
//! slowly, first takes from the store's change log what it missed. That a resource is gone is told by the index entry
//! that goes with it in the same commit, which also says whose it was.

use std::collections::VecDeque;
use std::sync::Arc;

use flaredb::{Change, Db, Revision, Watch, WatchItem};
use photon_resource::{Error, PageRequest, Scope};
use tokio::sync::broadcast;

use crate::follower::{Follower, Heard, Item};
use crate::list::{Query, list};
use crate::stored::Stored;

/// How many resources that are there already are read at once.
const BATCH: usize = 256;

/// What happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<R: Stored> {
    /// As it is now: it is there already, was made or has changed. May be told twice.
    Now(R),
    /// It is gone.
    Gone(R::Id),
    /// Nothing more: all that was there at the revision has been told.
    Synced,
}

/// Follows the resources of a scope.
pub struct Feed<R: Stored> {
    follower: Follower<R>,
    scope: Scope,
    /// `None`: all of the scope.
    only: Option<R::Id>,
    /// The next page of what is there already; `None`: all has been told.
    page: Option<PageRequest>,
    /// Everything up to here was heard, or read with the pages.
    reached: Revision,
    source: Source<R>,
    waiting: VecDeque<(News<R>, Revision)>,
}

/// Where a feed hears what changes.
enum Source<R: Stored> {
    /// It has missed something.
    Behind,
    /// It catches up by itself; then with all others, who have been heard meanwhile.
    Log(Log, broadcast::Receiver<Arc<Heard<R>>>),
    /// With all others.
    Shared(broadcast::Receiver<Arc<Heard<R>>>),
}

/// The store's log, up to a revision.
struct Log {
    watch: Watch,
    until: Revision,
    /// What was taken of it, and is not understood yet.
    taken: Option<WatchItem>,
}

impl<R: Stored> Feed<R> {
    /// Follows the resources of `scope` (of all below it too): from a revision on that a list or an earlier feed told, or
    /// `None`: first all that is there.
    ///
    /// Errors: `FailedPrecondition` for a revision that the store's log does not reach back to, or never was at.
    pub(crate) async fn start(
        follower: Follower<R>,
        scope: Scope,
        since: Option<Revision>,
    ) -> Result<Self, Error> {
        let (reached, source) = match since {
            Some(revision) => (revision, Source::from_log(&follower, revision).await?),
            None => {
                // From before the first look: what changes meanwhile is told twice rather than never.
                let listener = follower.listen().await?;
                (follower.db().revision().await?, Source::Shared(listener))
            }
        };
        let first = PageRequest {
            size: BATCH,
            after: None,
        };
        Ok(Self {
            follower,
            scope,
            only: None,
            page: since.is_none().then_some(first),
            reached,
            source,
            waiting: VecDeque::new(),
        })
    }

    /// Tells of one resource alone; what happens to others costs next to nothing.
    pub fn only(mut self, id: R::Id) -> Self {
        self.only = Some(id);
        self
    }

    /// The next news, with the revision up to which everything has been told once it is taken. Dropping the future loses
    /// nothing.
    ///
    /// Errors: `FailedPrecondition` when it fell so far behind that the log does not reach back: start anew.
    /// `Unavailable` when the store is closed.
    pub async fn next(&mut self) -> Result<(News<R>, Revision), Error> {
        loop {
            if let Some(news) = self.waiting.pop_front() {
                return Ok(news);
            }
            if let Some(page) = self.page.clone() {
                self.look(page).await?;
                continue;
            }
            self.hear().await?;
        }
    }

    /// One page of what is there already.
    async fn look(&mut self, page: PageRequest) -> Result<(), Error> {
        let query = Query {
            scope: self.scope.clone(),
            name: String::new(),
            labels: Default::default(),
            page,
        };
        let wanted = |found: &R| self.only.as_ref().is_none_or(|only| *only == found.id());
        let found = list::<R>(self.follower.db(), query, wanted).await?;
        let news = found.items.into_iter().map(News::Now);
        self.waiting.extend(news.map(|news| (news, self.reached)));
        self.page = match found.next_page_token.as_str() {
            "" => {
                self.waiting.push_back((News::Synced, self.reached));
                None
            }
            token => Some(PageRequest::parse(BATCH as u32, token)?),
        };
        Ok(())
    }

    /// One thing more that happened, whether or not it is to be told.
    async fn hear(&mut self) -> Result<(), Error> {
        let only = self.only.as_ref();
        let (revision, items) = match &mut self.source {
            Source::Behind => {
                self.source = Source::from_log(&self.follower, self.reached).await?;
                return Ok(());
            }
            Source::Log(log, _) if self.reached < log.until => {
                let heard = log.next(self.follower.db(), only).await?;
                // Taken, and kept from here on: nothing is waited for between.
                log.taken = None;
                heard
            }
            Source::Log(..) => {
                let caught_up = std::mem::replace(&mut self.source, Source::Behind);
                if let Source::Log(_, listener) = caught_up {
                    self.source = Source::Shared(listener);
                }
                return Ok(());
            }
            Source::Shared(listener) => match listener.recv().await {
                Ok(heard) if heard.revision <= self.reached => return Ok(()),
                Ok(heard) => {
                    let items = heard.items.iter();
                    let ours = items.filter(|item| item.concerns(&self.scope, only));
                    (heard.revision, ours.cloned().collect())
                }
                // It was read too slowly, or the one who told has ended: the log knows what was missed.
                Err(_) => {
                    self.source = Source::Behind;
                    return Ok(());
                }
            },
        };
        self.reached = revision;
        self.take(revision, items)
    }

    /// What is to be told of what was heard.
    fn take(&mut self, revision: Revision, items: Vec<Item<R>>) -> Result<(), Error> {
        for item in items {
            if !item.concerns(&self.scope, self.only.as_ref()) {
                continue;
            }
            let news = match item {
                Item::Now(resource) => News::Now(resource),
                Item::Gone(id, _) => News::Gone(id),
                Item::Unreadable(_, reason) => return Err(Error::internal(reason)),
            };
            self.waiting.push_back((news, revision));
        }
        Ok(())
    }
}

impl<R: Stored> Source<R> {
    async fn from_log(follower: &Follower<R>, since: Revision) -> Result<Self, Error> {
        let listener = follower.listen().await?;
        let log = Log {
            // What the listener does not hear any more is not later than this.
            until: follower.db().revision().await?,
            watch: follower.db().watch(R::TABLE, since).await.map_err(lost)?,
            taken: None,
        };
        Ok(Self::Log(log, listener))
    }
}

impl Log {
    /// The next thing in the log; again the same until it was taken.
    async fn next<R: Stored>(
        &mut self,
        db: &Db,
        only: Option<&R::Id>,
    ) -> Result<(Revision, Vec<Item<R>>), Error> {
        if self.taken.is_none() {
            let item = self.watch.next_item().await.transpose().map_err(lost)?;
            self.taken = Some(item.ok_or_else(stopping)?);
        }
        let items = match &self.taken {
            Some(WatchItem::Commit(commit)) => Heard::of(db, commit, only).await?,
            _ => Vec::new(),
        };
        let revision = self.taken.as_ref().map_or(0, WatchItem::revision);
        Ok((revision, items))
    }
}

/// What one change of a key says of a resource.
#[derive(Clone, Debug)]
pub enum Changed<R> {
    /// As it is now.
    Whole(R),
    /// A part of its record has changed; the whole must be read.
    Part,
    /// It is gone.
    Gone,
}

/// The scope whose index entry of `id` was deleted in a commit.
pub(crate) fn scope_of_deleted_entry(commit: &[Change], all: &str, id: &str) -> Option<Scope> {
    let gone = |change: &&Change| change.value.is_none();
    commit.iter().filter(gone).find_map(|change| {
        let scope = change.key.strip_prefix(all)?.strip_suffix(id)?;
        let parts: Vec<&str> = scope.trim_end_matches('/').split('/').collect();
        match parts.as_slice() {
            [""] | ["-", "-"] => Some(Scope::System),
            [org] => Some(Scope::Org(org.parse().ok()?)),
            [org, project] => Some(Scope::Project(org.parse().ok()?, project.parse().ok()?)),
            _ => None,
        }
    })
}

fn stopping() -> Error {
    Error::Unavailable("the server is stopping: watch again".into())
}

fn lost(error: flaredb::Error) -> Error {
    match error {
        flaredb::Error::Compacted { after, .. } | flaredb::Error::FutureRevision { after, .. } => {
            Error::FailedPrecondition(format!(
                "what happened since revision {after} is not known any more: list again and watch from there"
            ))
        }
        other => other.into(),
    }
}
