//! Sessions, by id and by principal.

use std::time::SystemTime;

use flaredb::{Db, Record, Transaction};
use photon_catalog::Reference;
use photon_resource::{
    ApiKeyId, Error, OrgId, Page, PageRequest, PrincipalId, ProjectId, SessionId,
};
use serde::{Deserialize, Serialize};

use super::{from_ms, page_of, to_ms};
use crate::model::{Predecessor, Session};

/// How many a principal has at most.
pub const MOST: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRecord {
    id: SessionId,
    principal_id: PrincipalId,
    home: Option<OrgId>,
    org_id: Option<OrgId>,
    project_id: Option<ProjectId>,
    api_key: Option<ApiKeyId>,
    generation: u64,
    token_seconds: u32,
    family_sha256: [u8; 32],
    secret_sha256: [u8; 32],
    before: Option<PredecessorRecord>,
    created_ms: u64,
    last_used_ms: u64,
    ends_ms: u64,
    source: String,
    client: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PredecessorRecord {
    secret_sha256: [u8; 32],
    salt: [u8; 32],
    used_ms: u64,
}

impl Record for SessionRecord {
    const KIND: &'static str = "session";
    const VERSION: u32 = 1;
}

/// Since when there are sessions: those that were begun before have ended, all at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpochRecord {
    since_ms: u64,
}

impl Record for EpochRecord {
    const KIND: &'static str = "epoch of sessions";
    const VERSION: u32 = 1;
}

impl From<&Session> for SessionRecord {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            principal_id: session.principal_id,
            home: session.home.clone(),
            org_id: session.org_id.clone(),
            project_id: session.project_id.clone(),
            api_key: session.api_key,
            generation: session.generation,
            token_seconds: session.token_seconds,
            family_sha256: session.family_sha256,
            secret_sha256: session.secret_sha256,
            before: session.before.as_ref().map(|before| PredecessorRecord {
                secret_sha256: before.secret_sha256,
                salt: before.salt,
                used_ms: to_ms(before.used_at),
            }),
            created_ms: to_ms(session.created_at),
            last_used_ms: to_ms(session.last_used_at),
            ends_ms: to_ms(session.ends_at),
            source: session.source.clone(),
            client: session.client.clone(),
        }
    }
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        Self {
            id: record.id,
            principal_id: record.principal_id,
            home: record.home,
            org_id: record.org_id,
            project_id: record.project_id,
            api_key: record.api_key,
            generation: record.generation,
            token_seconds: record.token_seconds,
            family_sha256: record.family_sha256,
            secret_sha256: record.secret_sha256,
            before: record.before.map(|before| Predecessor {
                secret_sha256: before.secret_sha256,
                salt: before.salt,
                used_at: from_ms(before.used_ms),
            }),
            created_at: from_ms(record.created_ms),
            last_used_at: from_ms(record.last_used_ms),
            ends_at: from_ms(record.ends_ms),
            source: record.source,
            client: record.client,
        }
    }
}

const PREFIX: &str = "session/";
const EPOCH: &str = "session-epoch";

/// Where the record is.
pub(crate) fn key(id: SessionId) -> String {
    format!("{PREFIX}{id}")
}

pub(crate) const OF_PREFIX: &str = "session-of/";

fn of_prefix(principal: PrincipalId) -> String {
    format!("{OF_PREFIX}{principal}/")
}

fn of_key(principal: PrincipalId, id: SessionId) -> String {
    format!("{}{id}", of_prefix(principal))
}

/// The session, as the transaction sees it.
pub async fn session_get(tx: &mut Transaction, id: SessionId) -> Result<Option<Session>, Error> {
    Ok(tx.get::<SessionRecord>(&key(id)).await?.map(Into::into))
}

/// The session, as it is now.
pub async fn session_find(db: &Db, id: SessionId) -> Result<Option<Session>, Error> {
    Ok(db.get::<SessionRecord>(&key(id)).await?.map(Into::into))
}

/// Creates.
pub fn session_create(tx: &mut Transaction, session: &Session) -> Result<(), Error> {
    let pointer = Reference::to(session.id);
    tx.put(&of_key(session.principal_id, session.id), &pointer)?;
    session_update(tx, session)
}

/// Replaces.
pub fn session_update(tx: &mut Transaction, session: &Session) -> Result<(), Error> {
    Ok(tx.put(&key(session.id), &SessionRecord::from(session))?)
}

/// Deletes.
pub fn session_delete(tx: &mut Transaction, session: &Session) {
    tx.delete(&key(session.id));
    tx.delete(&of_key(session.principal_id, session.id));
}

/// A principal's, as the transaction sees them.
pub async fn session_all_of(
    tx: &mut Transaction,
    principal: PrincipalId,
) -> Result<Vec<Session>, Error> {
    // One more than there can be, should that be changed.
    let found = tx
        .scan::<Reference>(&of_prefix(principal), MOST + 1)
        .await?;
    let mut sessions = Vec::with_capacity(found.len());
    for (_, pointer) in found {
        let id = pointer.id.parse().map_err(Error::internal)?;
        sessions.extend(session_get(tx, id).await?);
    }
    Ok(sessions)
}

/// Deletes at most `limit` of a principal's, and says how many; guard it with the principal's credentials.
pub async fn session_delete_some(
    tx: &mut Transaction,
    principal: PrincipalId,
    limit: usize,
) -> Result<usize, Error> {
    let found = tx.scan::<Reference>(&of_prefix(principal), limit).await?;
    for (index, pointer) in &found {
        tx.delete(index);
        tx.delete(&format!("{PREFIX}{}", pointer.id));
    }
    Ok(found.len())
}

/// The ids of a principal's, each with when it ends however it is used.
pub async fn session_ends(
    db: &Db,
    principal: PrincipalId,
) -> Result<Vec<(SessionId, SystemTime)>, Error> {
    let mut ends = Vec::new();
    for (_, pointer) in db.scan::<Reference>(&of_prefix(principal)).await? {
        let id = pointer.id.parse().map_err(Error::internal)?;
        ends.extend(session_find(db, id).await?.map(|it| (it.id, it.ends_at)));
    }
    Ok(ends)
}

/// One page of a principal's, by id.
pub async fn session_page(
    db: &Db,
    principal: PrincipalId,
    request: &PageRequest,
) -> Result<Page<Session>, Error> {
    let key = |id: &str| format!("{PREFIX}{id}");
    let read = |record: SessionRecord| Ok(Some(record.into()));
    page_of(db, &of_prefix(principal), request, key, read).await
}

/// At most `limit` of all that there are, by id, after the one whose key is given; with the key to go on after, if there may
/// be more.
pub async fn session_some(
    db: &Db,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Session>, Option<String>), Error> {
    let page = db.page::<SessionRecord>(PREFIX, after, limit).await?;
    let next = match page.items.last() {
        Some((key, _)) if page.more => Some(key.clone()),
        _ => None,
    };
    let sessions = page.items.into_iter().map(|(_, record)| record.into());
    Ok((sessions.collect(), next))
}

/// Ends all that were begun until now.
pub fn epoch_put(tx: &mut Transaction, since: SystemTime) -> Result<(), Error> {
    let since_ms = to_ms(since);
    Ok(tx.put(EPOCH, &EpochRecord { since_ms })?)
}

/// Since when sessions count.
pub async fn epoch_find(db: &Db) -> Result<SystemTime, Error> {
    let epoch = db.get::<EpochRecord>(EPOCH).await?;
    Ok(from_ms(epoch.map_or(0, |it| it.since_ms)))
}

/// The same, as the transaction sees it.
pub async fn epoch_get(tx: &mut Transaction) -> Result<SystemTime, Error> {
    let epoch = tx.get::<EpochRecord>(EPOCH).await?;
    Ok(from_ms(epoch.map_or(0, |it| it.since_ms)))
}
