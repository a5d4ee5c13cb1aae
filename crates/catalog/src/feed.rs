//! A table as a stream: what is there, then what changes. Watch calls, inventories in memory and other servers follow it.
//!
//! A feed costs what changes and keeps no copy: it reads what is there by pages, as fast as it is asked, and then the
//! store's change log. That a resource is gone is told by the index entry that goes with it in the same commit, which
//! also says whose it was.

use std::collections::VecDeque;
use std::marker::PhantomData;

use flaredb::{Change, Db, Revision, Watch};
use photon_resource::{Error, PageRequest, Scope};

use crate::list::{Query, list};
use crate::stored::{Stored, load};

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
    db: Db,
    scope: Scope,
    /// `None`: all of the scope.
    only: Option<R::Id>,
    changes: Watch,
    /// The next page of what is there already; `None`: all has been told.
    page: Option<PageRequest>,
    began_at: Revision,
    waiting: VecDeque<(News<R>, Revision)>,
    of: PhantomData<R>,
}

impl<R: Stored> Feed<R> {
    /// Follows the resources of `scope` (of all below it too): from a revision on that a list or an earlier feed told, or
    /// `None`: first all that is there.
    ///
    /// Errors: `FailedPrecondition` for a revision that the store's log does not reach back to, or never was at.
    pub async fn start(db: Db, scope: Scope, since: Option<Revision>) -> Result<Self, Error> {
        let began_at = match since {
            Some(revision) => revision,
            None => db.revision().await?,
        };
        // From before the first look: what changes meanwhile is told twice rather than never.
        let changes = db.watch(R::TABLE, began_at).await.map_err(lost)?;
        let first = PageRequest {
            size: BATCH,
            after: None,
        };
        Ok(Self {
            db,
            scope,
            only: None,
            changes,
            page: since.is_none().then_some(first),
            began_at,
            waiting: VecDeque::new(),
            of: PhantomData,
        })
    }

    /// Tells of one resource alone; what happens to others costs nothing.
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
            let commit = self.changes.next().await.transpose().map_err(lost)?;
            let Some(commit) = commit else {
                return Err(Error::Unavailable(
                    "the server is stopping: watch again".into(),
                ));
            };
            self.hear(&commit).await?;
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
        let found = list::<R>(&self.db, query, wanted).await?;
        let news = found.items.into_iter().map(News::Now);
        self.waiting.extend(news.map(|news| (news, self.began_at)));
        self.page = match found.next_page_token.as_str() {
            "" => {
                self.waiting.push_back((News::Synced, self.began_at));
                None
            }
            token => Some(PageRequest::parse(BATCH as u32, token)?),
        };
        Ok(())
    }

    async fn hear(&mut self, commit: &[Change]) -> Result<(), Error> {
        for change in commit {
            let Some(id) = R::id_of_key(&change.key) else {
                continue;
            };
            if self.only.as_ref().is_some_and(|only| *only != id) {
                continue;
            }
            let news = match R::changed(&id, change)? {
                Changed::Whole(resource) => Some(resource),
                Changed::Part => load::<R>(&self.db, &id).await?,
                Changed::Gone => {
                    let was_ours = R::scope_of_removed(commit, &id)
                        .is_some_and(|scope| self.scope.contains(&scope));
                    if was_ours {
                        self.waiting.push_back((News::Gone(id), change.revision));
                    }
                    continue;
                }
            };
            // What is gone by now is told by the commit that took it.
            if let Some(resource) = news
                && self.scope.contains(&resource.scope())
            {
                self.waiting
                    .push_back((News::Now(resource), change.revision));
            }
        }
        Ok(())
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
