//! What the server keeps, and under which keys.
//!
//! | key | record |
//! | --- | --- |
//! | `machine/{id}` | a machine |
//! | `machine-by/{kind}/{value}` | its id, by each of its UUID, serial number and MAC addresses |
//! | `machine-name/{name}` | its id, by its host name |
//! | `token/{sha256}` | a join token: whose, until when, and what it was used for |
//! | `certificate/{machine}/{serial}` | a certificate of a host that counts |
//! | `identity/{name}` | a host whose agents have, or are to lose, identities in IAM |

mod certificate;
mod identity;
mod machine;
mod token;

pub use certificate::{certificate_counts, certificate_put, certificates_delete};
pub use identity::{identity_delete, identity_names, identity_put};
pub use machine::{
    MACHINES_PREFIX, machine_all, machine_by_key, machine_by_key_read, machine_by_name,
    machine_by_name_read, machine_bytes, machine_get, machine_page, machine_put, machine_read,
};
pub use token::{Token, Used, token_delete, token_put, token_read};

use std::time::{Duration, SystemTime};

use flaredb::Record;
use serde::{Deserialize, Serialize};

/// An index entry: the id that the key leads to.
#[derive(Serialize, Deserialize)]
struct IdRecord {
    id: String,
}

impl Record for IdRecord {
    const KIND: &'static str = "index entry";
    const VERSION: u32 = 1;
}

/// Times are stored as microseconds since 1970.
fn to_micros(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn from_micros(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests;
