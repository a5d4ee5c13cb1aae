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

use std::time::SystemTime;

use flaredb::{Db, Record};
use photon_catalog::Reference;
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

/// One page of the records under `prefix`, in key order.
pub(crate) async fn page<R: Record>(
    db: &Db,
    prefix: &str,
    request: &PageRequest,
) -> Result<Page<R>, Error> {
    let after = request.after_in(prefix)?;
    let page = db.page::<R>(prefix, after, request.size).await?;
    let next_page_token = match page.items.last() {
        Some((key, _)) if page.more => PageRequest::token(key),
        _ => String::new(),
    };
    Ok(Page {
        items: page.items.into_iter().map(|(_, record)| record).collect(),
        next_page_token,
    })
}

/// One page of what an index under `prefix` leads to: `(ids, next_page_token)`.
pub(crate) async fn page_of_ids(
    db: &Db,
    prefix: &str,
    request: &PageRequest,
) -> Result<Page<String>, Error> {
    let page = page::<Reference>(db, prefix, request).await?;
    Ok(Page {
        items: page.items.into_iter().map(|entry| entry.id).collect(),
        next_page_token: page.next_page_token,
    })
}

#[cfg(test)]
mod tests;
