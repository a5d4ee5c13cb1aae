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
    machine_by_name_read, machine_get, machine_list, machine_put, machine_read,
};
pub use token::{Token, Used, token_delete, token_put, token_read};

use std::time::SystemTime;

use photon_resource::Time;

/// Times are stored as microseconds since 1970.
fn to_micros(time: SystemTime) -> u64 {
    Time::from(time).micros()
}

fn from_micros(micros: u64) -> SystemTime {
    Time::from_micros(micros).into()
}

#[cfg(test)]
mod tests;
