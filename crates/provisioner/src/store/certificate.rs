//! Hosts' certificates that count.

use std::time::SystemTime;

use flaredb::{Db, Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

use super::{from_micros, to_micros};
use crate::model::{Certificate, MachineId};

#[derive(Serialize, Deserialize)]
struct CertificateRecord {
    expires_at: u64,
}

impl Record for CertificateRecord {
    const KIND: &'static str = "certificate";
    const VERSION: u32 = 1;
}

fn certificates_prefix(machine: MachineId) -> String {
    format!("certificate/{machine}/")
}

/// Whether the machine's certificate with this serial number counts, for a change.
pub async fn certificate_counts(
    tx: &mut Transaction,
    machine: MachineId,
    serial: &str,
) -> Result<bool, Error> {
    let key = format!("{}{serial}", certificates_prefix(machine));
    Ok(tx.get::<CertificateRecord>(&key).await?.is_some())
}

/// Of one machine's certificates so many count at the same time: the last that it got. It has one, or two when an answer
/// was lost.
const COUNTED: usize = 20;
/// So many are forgotten at once, which leaves a transaction room for everything else.
const FORGOTTEN: usize = 60;

/// Adds a certificate, and forgets those that have ended by `now`, or that the machine has long replaced.
pub async fn certificate_put(
    db: &Db,
    tx: &mut Transaction,
    machine: MachineId,
    certificate: &Certificate,
    now: SystemTime,
) -> Result<(), Error> {
    let prefix = certificates_prefix(machine);
    let mut known = db.scan::<CertificateRecord>(&prefix).await?;
    known.sort_by_key(|(_, record)| record.expires_at);
    let replaced = known.len().saturating_sub(COUNTED - 1);
    for (at, (key, record)) in known.iter().enumerate().take(FORGOTTEN) {
        if at < replaced || from_micros(record.expires_at) <= now {
            tx.delete(key);
        }
    }
    let record = CertificateRecord {
        expires_at: to_micros(certificate.expires_at),
    };
    Ok(tx.put(&format!("{prefix}{}", certificate.serial), &record)?)
}

/// From here on none of the machine's certificates counts. Whoever adds one has read the machine, which the same
/// transaction changes: so none is added meanwhile.
pub async fn certificates_delete(
    db: &Db,
    tx: &mut Transaction,
    machine: MachineId,
) -> Result<(), Error> {
    for (key, _) in db
        .scan::<CertificateRecord>(&certificates_prefix(machine))
        .await?
    {
        tx.delete(&key);
    }
    Ok(())
}
