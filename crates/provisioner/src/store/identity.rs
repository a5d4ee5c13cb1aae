//! Hosts whose agents have, or are to lose, identities in IAM.

use flaredb::{Db, Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct IdentityRecord {}

impl Record for IdentityRecord {
    const KIND: &'static str = "identity of a host";
    const VERSION: u32 = 1;
}

const PREFIX: &str = "identity/";

/// Notes that the host `name` has, or will have, identities.
pub fn identity_put(tx: &mut Transaction, name: &str) -> Result<(), Error> {
    Ok(tx.put(&format!("{PREFIX}{name}"), &IdentityRecord {})?)
}

/// Notes that it has none.
pub fn identity_delete(tx: &mut Transaction, name: &str) {
    tx.delete(&format!("{PREFIX}{name}"));
}

/// All such hosts.
pub async fn identity_names(db: &Db) -> Result<Vec<String>, Error> {
    let records = db.scan::<IdentityRecord>(PREFIX).await?;
    Ok(records
        .into_iter()
        .map(|(key, _)| key[PREFIX.len()..].to_owned())
        .collect())
}
