//! That the first operator exists.

use flaredb::{Db, Record, Transaction};
use photon_resource::{Error, PrincipalId};
use serde::{Deserialize, Serialize};

/// Who the first operator was. It stays when that one is deleted: bootstrap happens once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BootstrapRecord {
    operator: PrincipalId,
}

impl Record for BootstrapRecord {
    const KIND: &'static str = "bootstrap";
    const VERSION: u32 = 1;
}

const KEY: &str = "bootstrap";

/// Whether there has been a first operator, as it is now.
pub async fn bootstrap_done(db: &Db) -> Result<bool, Error> {
    Ok(db.get::<BootstrapRecord>(KEY).await?.is_some())
}

/// Whether there has been a first operator, as the transaction sees it.
pub async fn bootstrap_seen(tx: &mut Transaction) -> Result<bool, Error> {
    Ok(tx.get::<BootstrapRecord>(KEY).await?.is_some())
}

/// Records the first operator.
pub fn bootstrap_put(tx: &mut Transaction, operator: PrincipalId) -> Result<(), Error> {
    Ok(tx.put(KEY, &BootstrapRecord { operator })?)
}
