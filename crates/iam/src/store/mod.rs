//! What IAM stores, and under which keys. A module per resource: its record, its keys, and functions over a
//! transaction that keep a resource and its indexes together. No rule of the domain lives here.
//!
//! ```text
//! organization/{org}                     project/{org}/{project}
//! deleted-organization/{org}             deleted-project/{org}/{project}          (tombstones)
//! principal/{id}                         principal-name/{org|system}/{name}       → id
//! api-key/{id}                           api-key-of/{principal}/{id}              (index)
//! session/{id}                           session-of/{principal}/{id}             (index)
//! session-epoch                          (sessions of before have ended)
//! s3-key/{access key id}                 s3-key-of/{principal}/{access key id}    (index)
//! role/{id}                              role-name/{org|system}/{name}            → id
//! binding/{id}                           binding-of/{principal}/{id}              (index)
//! binding-in/{org|system}/{project|-}/{id} (index)      binding-role/{role}/{id}  (index)
//! signing-key/{kid}                      revoked-token/{jti}                      (on a lease)
//! bootstrap                              members/…, credentials/…                 (guards of sets)
//! usage/…, usage-org/…, quota/…, quota-org/…, quota-default/…                     (see photon_catalog::quota)
//! ```

pub mod api_key;
pub mod binding;
pub mod bootstrap;
pub mod organization;
pub mod principal;
pub mod project;
pub mod revoked_token;
pub mod role;
pub mod s3_key;
pub mod session;
pub mod signing_key;
pub mod tombstone;
pub mod usage;

use std::time::SystemTime;

use flaredb::{Db, Record, decode};
use photon_catalog::Reference;
use photon_catalog::list::Room;
use photon_resource::{Error, OrgId, Page, PageRequest, Time};

/// Milliseconds since 1970, as records hold times.
pub(crate) fn to_ms(time: SystemTime) -> u64 {
    Time::from(time).millis()
}

/// The time of [`to_ms`].
pub(crate) fn from_ms(ms: u64) -> SystemTime {
    Time::from_millis(ms).into()
}

/// The part of a key that stands for an organization, or for the system (whose name no organization can have).
pub(crate) fn owner_segment(org: Option<&OrgId>) -> &str {
    org.map_or("system", |org| org.as_str())
}

/// How many records are read at once.
const READ_AT_ONCE: usize = 100;

/// One page of the records under `prefix`, in key order. It ends early when it is large (see [`Room`]).
pub(crate) async fn page<R: Record>(
    db: &Db,
    prefix: &str,
    request: &PageRequest,
) -> Result<Page<R>, Error> {
    let after = request.after_in(prefix)?;
    let page = db.scan_raw(prefix, after, request.size).await?;
    let mut room = Room::new(request.size);
    let (mut items, mut last, mut more) = (Vec::new(), None, page.more);
    for item in page.items {
        if !room.takes(item.value.len()) {
            more = true;
            break;
        }
        items.push(decode(&item.key, &item.value)?);
        last = Some(item.key);
    }
    Ok(Page {
        items,
        next_page_token: token(last, more),
    })
}

/// One page of what an index under `prefix` leads to, where `key` says, and of it what `read` takes. It can hold fewer than were
/// asked for and still have a next one: what `read` leaves out is not there, and it ends early when it is large (see [`Room`]).
pub(crate) async fn page_of<R: Record, T>(
    db: &Db,
    prefix: &str,
    request: &PageRequest,
    key: impl Fn(&str) -> String,
    read: impl Fn(R) -> Result<Option<T>, Error>,
) -> Result<Page<T>, Error> {
    let after = request.after_in(prefix)?;
    let index = db.page::<Reference>(prefix, after, request.size).await?;
    let mut room = Room::new(request.size);
    let (mut items, mut last) = (Vec::new(), None);
    for part in index.items.chunks(READ_AT_ONCE) {
        let keys: Vec<String> = part.iter().map(|(_, entry)| key(&entry.id)).collect();
        let (found, _) = db.get_many(&keys).await?;
        for ((index, _), found) in part.iter().zip(found) {
            // One that was deleted since the index was read is left out.
            if let Some(found) = found
                && let Some(item) = read(decode(&found.key, &found.value)?)?
            {
                if !room.takes(found.value.len()) {
                    return Ok(Page {
                        items,
                        next_page_token: token(last, true),
                    });
                }
                items.push(item);
            }
            last = Some(index.clone());
        }
    }
    Ok(Page {
        items,
        next_page_token: token(last, index.more),
    })
}

fn token(last: Option<String>, more: bool) -> String {
    match last {
        Some(key) if more => PageRequest::token(&key),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
