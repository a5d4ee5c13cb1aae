//! The keys that tokens are signed with. Their secrets are sealed under the server's key.

use flaredb::{Db, Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

use super::{from_ms, to_ms};
use crate::token::SigningKey;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SigningKeyRecord {
    id: String,
    sealed_seed: Vec<u8>,
    created_ms: u64,
    retired_ms: Option<u64>,
}

impl Record for SigningKeyRecord {
    const KIND: &'static str = "signing key";
    const VERSION: u32 = 1;
}

impl From<&SigningKey> for SigningKeyRecord {
    fn from(key: &SigningKey) -> Self {
        Self {
            id: key.id.clone(),
            sealed_seed: key.sealed_seed.clone(),
            created_ms: to_ms(key.created_at),
            retired_ms: key.retired_at.map(to_ms),
        }
    }
}

impl From<SigningKeyRecord> for SigningKey {
    fn from(record: SigningKeyRecord) -> Self {
        Self {
            id: record.id,
            sealed_seed: record.sealed_seed,
            created_at: from_ms(record.created_ms),
            retired_at: record.retired_ms.map(from_ms),
        }
    }
}

pub(crate) const PREFIX: &str = "signing-key/";
/// Everybody who makes or retires a key touches this first.
pub(crate) const GUARD: &str = "signing-keys";

/// Where a key's record is.
pub(crate) fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// All keys, as they are now.
pub async fn signing_key_list(db: &Db) -> Result<Vec<SigningKey>, Error> {
    let found = db.scan::<SigningKeyRecord>(PREFIX).await?;
    Ok(found.into_iter().map(|(_, record)| record.into()).collect())
}

/// More keys than there ever are: those that are retired go when their last token has ended.
const MOST: usize = 50;

/// All keys, as the transaction sees them.
pub async fn signing_key_all(tx: &mut Transaction) -> Result<Vec<SigningKey>, Error> {
    let found = tx.scan::<SigningKeyRecord>(PREFIX, MOST).await?;
    Ok(found.into_iter().map(|(_, record)| record.into()).collect())
}

/// Creates or replaces.
pub fn signing_key_put(tx: &mut Transaction, key: &SigningKey) -> Result<(), Error> {
    Ok(tx.put(&self::key(&key.id), &SigningKeyRecord::from(key))?)
}

/// Deletes.
pub fn signing_key_delete(tx: &mut Transaction, id: &str) {
    tx.delete(&key(id));
}
