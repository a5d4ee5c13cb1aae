use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream;
use tokio::sync::watch;

use super::{Changes, Reader};
use crate::{Error, Revision, Watch, WatchItem};

struct Cursor {
    reader: Arc<dyn Reader>,
    published: watch::Receiver<Revision>,
    prefix: String,
    /// All revisions up to this one have been taken from the log.
    after: Revision,
    taken: VecDeque<WatchItem>,
    failed: bool,
}

/// See [`crate::Engine::watch`].
pub(crate) async fn start(
    reader: Arc<dyn Reader>,
    published: watch::Receiver<Revision>,
    prefix: &str,
    after: Revision,
) -> Result<Watch, Error> {
    // Taken at once, so that a revision that is not in the log is the caller's error, not the stream's.
    let changes = reader.changes(prefix, after).await?;
    let mut cursor = Cursor {
        reader,
        published,
        prefix: prefix.to_owned(),
        after,
        taken: VecDeque::new(),
        failed: false,
    };
    cursor.take(changes);
    Ok(Watch::new(stream::unfold(cursor, |mut cursor| async {
        let item = cursor.next().await?;
        Some((item, cursor))
    })))
}

impl Cursor {
    fn take(&mut self, changes: Changes) {
        self.taken = changes.commits.into_iter().map(WatchItem::Commit).collect();
        let told = self.taken.back().map_or(self.after, WatchItem::revision);
        if changes.up_to > told {
            self.taken.push_back(WatchItem::Progress(changes.up_to));
        }
        self.after = changes.up_to;
    }

    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(item) = self.taken.pop_front() {
                return Some(Ok(item));
            }
            if *self.published.borrow_and_update() <= self.after {
                // An error means that the store is closed.
                self.published.changed().await.ok()?;
            }
            match self.reader.changes(&self.prefix, self.after).await {
                Ok(changes) => self.take(changes),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{KeyValue, Scan};

    /// Has nothing under any prefix, and tells what it is asked for.
    struct Quiet {
        published: watch::Receiver<Revision>,
        asked: mpsc::UnboundedSender<Revision>,
    }

    #[async_trait]
    impl Reader for Quiet {
        async fn get(&self, _: &str) -> Result<(Option<KeyValue>, Revision), Error> {
            Ok((None, self.revision().await?))
        }

        async fn get_many(
            &self,
            keys: &[String],
        ) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
            Ok((vec![None; keys.len()], self.revision().await?))
        }

        async fn scan(&self, _: &str, _: Option<&str>, _: usize) -> Result<Scan, Error> {
            Ok(Scan {
                items: vec![],
                revision: self.revision().await?,
                more: false,
            })
        }

        async fn revision(&self) -> Result<Revision, Error> {
            Ok(*self.published.borrow())
        }

        async fn changes(&self, _: &str, after: Revision) -> Result<Changes, Error> {
            self.asked.send(after).unwrap();
            Ok(Changes {
                commits: vec![],
                up_to: self.revision().await?,
            })
        }
    }

    /// Changes elsewhere move a watcher on, so that it is never told that it fell behind what it never wanted.
    #[tokio::test]
    async fn an_idle_watcher_keeps_up_with_the_log() {
        let (publisher, published) = watch::channel(7);
        let (asked, mut asks) = mpsc::unbounded_channel();
        let reader = Arc::new(Quiet {
            published: published.clone(),
            asked,
        });
        let mut watch = start(reader, published, "quiet/", 5).await.unwrap();
        let watcher = tokio::spawn(async move {
            let mut told = Vec::new();
            while let Some(item) = watch.next_item().await {
                told.push(item.unwrap());
            }
            told
        });
        assert_eq!(asks.recv().await, Some(5));
        for (before, revision) in [(7, 8), (8, 100), (100, 101)] {
            publisher.send_replace(revision);
            assert_eq!(asks.recv().await, Some(before));
        }
        drop(publisher);
        let told = watcher.await.unwrap();
        assert_eq!(told, [7, 8, 100, 101].map(WatchItem::Progress));
    }
}
