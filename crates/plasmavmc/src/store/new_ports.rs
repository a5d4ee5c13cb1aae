//! Ports that are being made for a VM that is not there yet.

use flaredb::{Db, Record, Transaction};
use photon_resource::{Error, OrgId, ProjectId, Time};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const PREFIX: &str = "vm-new-ports/";

/// What is noted before PrismNET is asked for ports, until a VM has them or they are removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPorts {
    pub org_id: OrgId,
    pub project_id: ProjectId,
    /// What they are called, which no others are.
    pub names: Vec<String>,
    pub noted_at: Time,
}

impl Record for NewPorts {
    const KIND: &'static str = "note of new ports";
    const VERSION: u32 = 1;
}

fn key(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

/// Notes ports that are about to be made.
pub fn new_ports_put(tx: &mut Transaction, id: Uuid, ports: &NewPorts) -> Result<(), Error> {
    tx.put(&key(id), ports)?;
    Ok(())
}

/// Takes the note back. `false`: somebody else has, who removed the ports.
pub async fn new_ports_remove(tx: &mut Transaction, id: Uuid) -> Result<bool, Error> {
    let noted = tx.get::<NewPorts>(&key(id)).await?.is_some();
    tx.delete(&key(id));
    Ok(noted)
}

/// Whether there is such a note still.
pub async fn new_ports_noted(db: &Db, id: Uuid) -> Result<bool, Error> {
    Ok(db.get::<NewPorts>(&key(id)).await?.is_some())
}

/// All that are noted.
pub async fn new_ports_all(db: &Db) -> Result<Vec<(Uuid, NewPorts)>, Error> {
    let found = db.scan::<NewPorts>(PREFIX).await?;
    let noted = found.into_iter().filter_map(|(key, ports)| {
        let id = key.strip_prefix(PREFIX)?.parse().ok()?;
        Some((id, ports))
    });
    Ok(noted.collect())
}
