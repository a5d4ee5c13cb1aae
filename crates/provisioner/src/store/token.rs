//! Join tokens in the store: their SHA-256, never they themselves.

use std::time::SystemTime;

use flaredb::{Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

use super::{from_micros, to_micros};
use crate::model::MachineId;

/// A join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The only machine that it is good for.
    pub machine: MachineId,
    pub expires_at: SystemTime,
    /// What it was used for; `None`: nothing yet.
    pub used: Option<Used>,
}

/// What a token was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// SHA-256 of the public key, in hex.
    pub key: String,
    /// What was answered.
    pub certificate_pem: String,
    pub renew_at: SystemTime,
    pub expires_at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct TokenRecord {
    machine: String,
    expires_at: u64,
    used: Option<UsedRecord>,
}

#[derive(Serialize, Deserialize)]
struct UsedRecord {
    key: String,
    certificate_pem: String,
    renew_at: u64,
    expires_at: u64,
}

impl Record for TokenRecord {
    const KIND: &'static str = "join token";
    const VERSION: u32 = 1;
}

fn token_key(digest: &str) -> String {
    format!("token/{digest}")
}

/// The token with this digest (hex), for a change.
pub async fn token_read(tx: &mut Transaction, digest: &str) -> Result<Option<Token>, Error> {
    let Some(record) = tx.get::<TokenRecord>(&token_key(digest)).await? else {
        return Ok(None);
    };
    Ok(Some(Token {
        machine: record.machine.parse().map_err(Error::internal)?,
        expires_at: from_micros(record.expires_at),
        used: record.used.map(|used| Used {
            key: used.key,
            certificate_pem: used.certificate_pem,
            renew_at: from_micros(used.renew_at),
            expires_at: from_micros(used.expires_at),
        }),
    }))
}

/// Stores a token, new or used.
pub fn token_put(tx: &mut Transaction, digest: &str, token: &Token) -> Result<(), Error> {
    let record = TokenRecord {
        machine: token.machine.to_string(),
        expires_at: to_micros(token.expires_at),
        used: token.used.as_ref().map(|used| UsedRecord {
            key: used.key.clone(),
            certificate_pem: used.certificate_pem.clone(),
            renew_at: to_micros(used.renew_at),
            expires_at: to_micros(used.expires_at),
        }),
    };
    Ok(tx.put(&token_key(digest), &record)?)
}

/// Forgets a token.
pub fn token_delete(tx: &mut Transaction, digest: &str) {
    tx.delete(&token_key(digest));
}
