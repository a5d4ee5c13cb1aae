//! Pages of a list.

use flaredb::{Db, Revision, decode};
use photon_resource::{Error, Labels, PageRequest, Scope};

use crate::record::Reference;
use crate::stored::{Stored, load_many, load_sized};

/// How many bytes the records of one page have together, unless it has one alone: gRPC's clients by default take answers of
/// up to 4 MiB, and a message is hardly ever longer than its record.
const PAGE_BYTES: usize = 3 << 20;
/// How many records are read at once, each of which has up to a MiB.
const READ_AT_ONCE: usize = 32;

/// Which resources a list shows.
#[derive(Clone, Debug)]
pub struct Query {
    /// Of this project, organization or all.
    pub scope: Scope,
    /// Only with this name; empty: any.
    pub name: String,
    /// Only with all of these.
    pub labels: Labels,
    /// Which page.
    pub page: PageRequest,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Gives the next page; empty on the last one.
    pub next_page_token: String,
    /// No item is older than this revision of the store: whoever watches from that of the first page on misses nothing.
    pub revision: Revision,
}

impl<T> Listing<T> {
    /// The same page of what each item becomes.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Listing<U> {
        Listing {
            items: self.items.into_iter().map(each).collect(),
            next_page_token: self.next_page_token,
            revision: self.revision,
        }
    }
}

/// One page of what `keep` lets pass.
///
/// Errors: `InvalidArgument` for the page token of another list.
pub async fn list<R: Stored>(
    db: &Db,
    query: Query,
    keep: impl Fn(&R) -> bool,
) -> Result<Listing<R>, Error> {
    let prefix = R::list_prefix(&query.scope);
    list_of_index(db, &prefix, query, keep).await
}

/// As [`list`], over the references under `prefix`.
pub async fn list_of_index<R: Stored>(
    db: &Db,
    prefix: &str,
    query: Query,
    keep: impl Fn(&R) -> bool,
) -> Result<Listing<R>, Error> {
    let mut after = query.page.after_in(prefix)?.map(str::to_owned);
    let wanted = |resource: &R| {
        let common = resource.common();
        query.scope.contains(&resource.scope())
            && (query.name.is_empty() || common.name == Some(&query.name))
            && has_labels(common.labels, &query.labels)
            && keep(resource)
    };
    let revision = db.revision().await?;
    if !query.name.is_empty()
        && let Some(key) = R::name_key(&query.scope, &query.name)
    {
        // At most one can have the name.
        let mut items = Vec::new();
        if R::is_name(&query.name)
            && after.is_none()
            && let Some(entry) = db.get::<Reference>(&key).await?
        {
            let found = load_many::<R>(db, &[entry.id.parse()?]).await?;
            items.extend(found.into_iter().flatten().filter(wanted));
        }
        return Ok(Listing {
            items,
            next_page_token: String::new(),
            revision,
        });
    }
    let mut room = Room::new(query.page.size);
    let mut items = Vec::new();
    loop {
        let batch = db
            .page::<Reference>(prefix, after.as_deref(), query.page.size)
            .await?;
        for part in batch.items.chunks(READ_AT_ONCE) {
            let ids = part.iter().map(|(_, entry)| entry.id.parse());
            let ids: Vec<R::Id> = ids.collect::<Result<_, _>>()?;
            let found = load_sized::<R>(db, &ids).await?;
            for ((key, _), (resource, bytes)) in part.iter().zip(found) {
                // Deleted since: not there.
                if let Some(resource) = resource.filter(wanted) {
                    // One more than the page holds tells that there is another page.
                    if !room.takes(bytes) {
                        return Ok(Listing {
                            items,
                            next_page_token: after
                                .as_deref()
                                .map(PageRequest::token)
                                .unwrap_or_default(),
                            revision,
                        });
                    }
                    items.push(resource);
                }
                after = Some(key.clone());
            }
        }
        if !batch.more {
            return Ok(Listing {
                items,
                next_page_token: String::new(),
                revision,
            });
        }
    }
}

/// How much a page still takes: so many items, and of large ones fewer.
#[derive(Debug)]
pub struct Room {
    items: usize,
    bytes: usize,
    empty: bool,
}

impl Room {
    /// Of a page of this many items.
    pub fn new(items: usize) -> Self {
        Self {
            items,
            bytes: PAGE_BYTES,
            empty: true,
        }
    }

    /// Whether there is room for one more, whose record has so many bytes, which it takes. There always is for the first, so
    /// that pages go on.
    pub fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.empty || bytes <= self.bytes;
        if self.items == 0 || !fits {
            return false;
        }
        self.empty = false;
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// One page of a table that lies in the order of its keys under `prefix`, without an index.
///
/// Errors: `InvalidArgument` for the page token of another list.
pub async fn list_of_table<R: Stored>(
    db: &Db,
    prefix: &str,
    page: &PageRequest,
    keep: impl Fn(&R) -> bool,
    id_of: impl Fn(&str) -> Option<R::Id>,
) -> Result<Listing<R>, Error> {
    let mut after = page.after_in(prefix)?.map(str::to_owned);
    let revision = db.revision().await?;
    let mut room = Room::new(page.size);
    let mut items = Vec::new();
    loop {
        let batch = db
            .scan_raw(prefix, after.as_deref(), page.size.min(READ_AT_ONCE))
            .await?;
        for item in batch.items {
            let record = decode::<R::Record>(&item.key, &item.value)?;
            let (key, bytes) = (item.key, item.value.len());
            let id = id_of(&key).ok_or_else(|| {
                Error::internal(format!("'{key}' is no key of {}", R::KIND.plural))
            })?;
            let resource = Some(R::restore(id, record)?).filter(&keep);
            if let Some(resource) = resource {
                if !room.takes(bytes) {
                    let last = after.as_deref().map(PageRequest::token);
                    return Ok(Listing {
                        items,
                        next_page_token: last.unwrap_or_default(),
                        revision,
                    });
                }
                items.push(resource);
            }
            after = Some(key);
        }
        if !batch.more {
            return Ok(Listing {
                items,
                next_page_token: String::new(),
                revision,
            });
        }
    }
}

fn has_labels(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_its_items_or_its_bytes_and_takes_one_at_least() {
        let mut two = Room::new(2);
        assert!(two.takes(10) && two.takes(10) && !two.takes(0));
        let mut large = Room::new(1000);
        assert!(large.takes(2 << 20) && !large.takes(2 << 20));
        assert!(large.takes(1 << 20), "what is left is taken");
        let mut huge = Room::new(1000);
        assert!(huge.takes(5 << 20) && !huge.takes(1));
    }
}
