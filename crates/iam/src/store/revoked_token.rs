//! Tokens that were revoked before their end. Each record is on a lease that ends with its token.

use flaredb::{Db, LeaseId, Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

/// That a token is revoked; its id is the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokedTokenRecord {
    expires_ms: u64,
}

impl Record for RevokedTokenRecord {
    const KIND: &'static str = "revoked token";
    const VERSION: u32 = 1;
}

pub(crate) const PREFIX: &str = "revoked-token/";

/// Records that the token is revoked, until `lease` ends.
pub fn revoked_token_put(
    tx: &mut Transaction,
    token_id: &str,
    expires_ms: u64,
    lease: LeaseId,
) -> Result<(), Error> {
    let record = RevokedTokenRecord { expires_ms };
    Ok(tx.put_with_lease(&format!("{PREFIX}{token_id}"), &record, lease)?)
}

/// The ids of all revoked tokens.
pub async fn revoked_token_list(db: &Db) -> Result<Vec<String>, Error> {
    let found = db.scan::<RevokedTokenRecord>(PREFIX).await?;
    let id = |(key, _): (String, _)| key.strip_prefix(PREFIX).map(str::to_owned);
    Ok(found.into_iter().filter_map(id).collect())
}
