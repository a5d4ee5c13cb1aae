use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream;
use tokio::sync::watch;

use super::Reader;
use crate::{Change, Error, Revision, Watch};

struct Cursor {
    reader: Arc<dyn Reader>,
    published: watch::Receiver<Revision>,
    prefix: String,
    /// All revisions up to this one have been taken from the log.
    after: Revision,
    taken: VecDeque<Vec<Change>>,
    failed: bool,
}

/// See [`crate::Engine::watch`].
pub(crate) async fn start(
    reader: Arc<dyn Reader>,
    mut published: watch::Receiver<Revision>,
    prefix: &str,
    after: Revision,
) -> Result<Watch, Error> {
    let current = *published.borrow_and_update();
    if after > current {
        return Err(Error::FutureRevision { after, current });
    }
    // Taken at once, so that a revision that is no longer kept is the caller's error, not the stream's.
    let changes = reader.changes(prefix, after).await?;
    let cursor = Cursor {
        reader,
        published,
        prefix: prefix.to_owned(),
        after: changes.up_to,
        taken: changes.commits.into(),
        failed: false,
    };
    Ok(Watch::new(stream::unfold(cursor, |mut cursor| async {
        let item = cursor.next().await?;
        Some((item, cursor))
    })))
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<Vec<Change>, Error>> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(changes) = self.taken.pop_front() {
                return Some(Ok(changes));
            }
            if *self.published.borrow_and_update() <= self.after {
                // An error means that the store is closed.
                self.published.changed().await.ok()?;
            }
            match self.reader.changes(&self.prefix, self.after).await {
                Ok(changes) => {
                    self.after = changes.up_to;
                    self.taken = changes.commits.into();
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
