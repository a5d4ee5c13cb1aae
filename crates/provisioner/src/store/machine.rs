//! Machines in the store.

use std::fmt::Write;
use std::net::IpAddr;

use async_trait::async_trait;
use flaredb::{Db, Record, Transaction};
use photon_catalog::list::list_of_table;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, Listing, Reference, Stored, load};
use photon_resource::{Error, Kind, PageRequest, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{from_micros, to_micros};
use crate::model::{
    Certificate, Disk, Hardware, Interface, Key, MACHINES, Machine, MachineId, State,
};

#[derive(Serialize, Deserialize)]
pub struct MachineRecord {
    state: StateRecord,
    name: Option<String>,
    hardware: HardwareRecord,
    reported_address: Option<IpAddr>,
    address: Option<IpAddr>,
    reason: String,
    log_tail: String,
    conflicts: Vec<String>,
    created_at: u64,
    updated_at: u64,
    state_changed_at: u64,
    reported_at: u64,
    installed_at: Option<u64>,
    installations: u32,
    token: Option<String>,
    certificate: Option<CertificateRecord>,
    version: String,
    revision: u64,
}

impl Record for MachineRecord {
    const KIND: &'static str = "machine";
    const VERSION: u32 = 1;
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Discovered,
    Approved,
    Installing,
    Joined,
    Ready,
    Failed,
    Retired,
}

#[derive(Serialize, Deserialize)]
struct HardwareRecord {
    serial: Option<String>,
    uuid: Option<Uuid>,
    manufacturer: String,
    product: String,
    cpus: u32,
    memory_mib: u64,
    interfaces: Vec<InterfaceRecord>,
    disks: Vec<DiskRecord>,
    ssh_host_key: String,
}

#[derive(Serialize, Deserialize)]
struct InterfaceRecord {
    name: String,
    mac: String,
    up: bool,
    speed_mbps: u32,
    #[serde(default)]
    usb: bool,
}

#[derive(Serialize, Deserialize)]
struct DiskRecord {
    device: String,
    size_bytes: u64,
    model: String,
    serial: String,
    rotational: bool,
}

#[derive(Serialize, Deserialize)]
struct CertificateRecord {
    serial: String,
    expires_at: u64,
}

impl StateRecord {
    fn of(state: State) -> Self {
        match state {
            State::Discovered => Self::Discovered,
            State::Approved => Self::Approved,
            State::Installing => Self::Installing,
            State::Joined => Self::Joined,
            State::Ready => Self::Ready,
            State::Failed => Self::Failed,
            State::Retired => Self::Retired,
        }
    }

    fn into_state(self) -> State {
        match self {
            Self::Discovered => State::Discovered,
            Self::Approved => State::Approved,
            Self::Installing => State::Installing,
            Self::Joined => State::Joined,
            Self::Ready => State::Ready,
            Self::Failed => State::Failed,
            Self::Retired => State::Retired,
        }
    }
}

impl HardwareRecord {
    fn of(hardware: &Hardware) -> Self {
        Self {
            serial: hardware.serial.clone(),
            uuid: hardware.uuid,
            manufacturer: hardware.manufacturer.clone(),
            product: hardware.product.clone(),
            cpus: hardware.cpus,
            memory_mib: hardware.memory_mib,
            interfaces: hardware
                .interfaces
                .iter()
                .map(|it| InterfaceRecord {
                    name: it.name.clone(),
                    mac: it.mac.to_string(),
                    up: it.up,
                    speed_mbps: it.speed_mbps,
                    usb: it.usb,
                })
                .collect(),
            disks: hardware
                .disks
                .iter()
                .map(|it| DiskRecord {
                    device: it.device.clone(),
                    size_bytes: it.size_bytes,
                    model: it.model.clone(),
                    serial: it.serial.clone(),
                    rotational: it.rotational,
                })
                .collect(),
            ssh_host_key: hardware.ssh_host_key.clone(),
        }
    }

    fn into_hardware(self) -> Result<Hardware, Error> {
        let mut interfaces = Vec::with_capacity(self.interfaces.len());
        for it in self.interfaces {
            interfaces.push(Interface {
                name: it.name,
                mac: it.mac.parse().map_err(Error::internal)?,
                up: it.up,
                speed_mbps: it.speed_mbps,
                usb: it.usb,
            });
        }
        let disks = self.disks.into_iter().map(|it| Disk {
            device: it.device,
            size_bytes: it.size_bytes,
            model: it.model,
            serial: it.serial,
            rotational: it.rotational,
        });
        Ok(Hardware {
            serial: self.serial,
            uuid: self.uuid,
            manufacturer: self.manufacturer,
            product: self.product,
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            interfaces,
            disks: disks.collect(),
            ssh_host_key: self.ssh_host_key,
        })
    }
}

impl MachineRecord {
    fn into_machine(self, id: MachineId) -> Result<Machine, Error> {
        Ok(Machine {
            id,
            state: self.state.into_state(),
            name: self.name,
            hardware: self.hardware.into_hardware()?,
            reported_address: self.reported_address,
            address: self.address,
            reason: self.reason,
            log_tail: self.log_tail,
            conflicts: self.conflicts,
            created_at: from_micros(self.created_at),
            updated_at: from_micros(self.updated_at),
            state_changed_at: from_micros(self.state_changed_at),
            reported_at: from_micros(self.reported_at),
            installed_at: self.installed_at.map(from_micros),
            installations: self.installations,
            token: self.token,
            certificate: self.certificate.map(|it| Certificate {
                serial: it.serial,
                expires_at: from_micros(it.expires_at),
            }),
            version: self.version,
            revision: self.revision,
        })
    }
}

impl From<&Machine> for MachineRecord {
    fn from(machine: &Machine) -> Self {
        Self {
            state: StateRecord::of(machine.state),
            name: machine.name.clone(),
            hardware: HardwareRecord::of(&machine.hardware),
            reported_address: machine.reported_address,
            address: machine.address,
            reason: machine.reason.clone(),
            log_tail: machine.log_tail.clone(),
            conflicts: machine.conflicts.clone(),
            created_at: to_micros(machine.created_at),
            updated_at: to_micros(machine.updated_at),
            state_changed_at: to_micros(machine.state_changed_at),
            reported_at: to_micros(machine.reported_at),
            installed_at: machine.installed_at.map(to_micros),
            installations: machine.installations,
            token: machine.token.clone(),
            certificate: machine.certificate.as_ref().map(|it| CertificateRecord {
                serial: it.serial.clone(),
                expires_at: to_micros(it.expires_at),
            }),
            version: machine.version.clone(),
            revision: machine.revision,
        }
    }
}

#[async_trait]
impl Stored for Machine {
    type Id = MachineId;
    type Record = MachineRecord;
    const TABLE: &'static str = "machine";
    const KIND: Kind = MACHINES;

    fn id(&self) -> MachineId {
        self.id
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    fn common(&self) -> Common<'_> {
        Common {
            name: Some(self.name.as_deref().unwrap_or_default()),
            owner: None,
            labels: None,
            revision: self.revision,
        }
    }

    fn uses(&self) -> Uses {
        // The cloud's own.
        Uses::new()
    }

    fn restore(id: MachineId, record: MachineRecord) -> Result<Self, Error> {
        record.into_machine(id)
    }

    fn name_key(_: &Scope, name: &str) -> Option<String> {
        Some(name_key(name))
    }
}

/// Where all machines are.
pub const MACHINES_PREFIX: &str = "machine/";

fn name_key(name: &str) -> String {
    format!("machine-name/{name}")
}

/// Everything but letters and digits is written as `_` and its code, so that two values never share a key.
fn by_key(key: &Key) -> String {
    match key {
        Key::Uuid(uuid) => format!("machine-by/uuid/{uuid}"),
        Key::Mac(mac) => format!("machine-by/mac/{mac}"),
        Key::Serial(serial) => {
            let mut escaped = String::from("machine-by/serial/");
            for byte in serial.bytes() {
                if byte.is_ascii_alphanumeric() {
                    escaped.push(char::from(byte));
                } else {
                    // Writing to a String can't fail.
                    let _ = write!(escaped, "_{byte:02x}");
                }
            }
            escaped
        }
    }
}

fn id_of(record: &Reference) -> Result<MachineId, Error> {
    record.id.parse().map_err(Error::internal)
}

/// One machine.
pub async fn machine_get(db: &Db, id: MachineId) -> Result<Option<Machine>, Error> {
    load(db, &id).await
}

/// One machine, for a change.
pub async fn machine_read(tx: &mut Transaction, id: MachineId) -> Result<Option<Machine>, Error> {
    Machine::read(tx, &id).await
}

/// Whose host name this is.
pub async fn machine_by_name(db: &Db, name: &str) -> Result<Option<MachineId>, Error> {
    let record = db.get::<Reference>(&name_key(name)).await?;
    record.as_ref().map(id_of).transpose()
}

/// Whose host name this is, for a change.
pub async fn machine_by_name_read(
    tx: &mut Transaction,
    name: &str,
) -> Result<Option<MachineId>, Error> {
    let record = tx.get::<Reference>(&name_key(name)).await?;
    record.as_ref().map(id_of).transpose()
}

/// Who is known by this.
pub async fn machine_by_key(db: &Db, key: &Key) -> Result<Option<MachineId>, Error> {
    let record = db.get::<Reference>(&by_key(key)).await?;
    record.as_ref().map(id_of).transpose()
}

/// Who is known by this, for a change.
pub async fn machine_by_key_read(
    tx: &mut Transaction,
    key: &Key,
) -> Result<Option<MachineId>, Error> {
    let record = tx.get::<Reference>(&by_key(key)).await?;
    record.as_ref().map(id_of).transpose()
}

/// Stores a machine, new or changed, and what it is found by; `before` is how it was.
pub async fn machine_put(
    tx: &mut Transaction,
    before: Option<&Machine>,
    machine: &Machine,
) -> Result<(), Error> {
    let own = Reference::to(machine.id);
    let keys = machine.hardware.keys();
    for key in before.map(|it| it.hardware.keys()).unwrap_or_default() {
        // What was taken over by another machine meanwhile is that one's.
        if !keys.contains(&key) && machine_by_key_read(tx, &key).await? == Some(machine.id) {
            tx.delete(&by_key(&key));
        }
    }
    for key in &keys {
        // Whoever has it keeps it: nobody is made unfindable by another's report.
        if is_free(tx, key, machine.id).await? {
            tx.put(&by_key(key), &own)?;
        }
    }
    let old_name = before.and_then(|it| it.name.as_ref());
    if old_name != machine.name.as_ref() {
        if let Some(name) = old_name {
            tx.delete(&name_key(name));
        }
        if let Some(name) = &machine.name {
            tx.put(&name_key(name), &own)?;
        }
    }
    machine.write(tx)
}

/// Whether nobody else who is not retired is found by this, and `own` is not either yet.
async fn is_free(tx: &mut Transaction, key: &Key, own: MachineId) -> Result<bool, Error> {
    let Some(id) = machine_by_key_read(tx, key).await? else {
        return Ok(true);
    };
    if id == own {
        return Ok(false);
    }
    let holder = machine_read(tx, id).await?;
    Ok(holder.is_none_or(|holder| holder.state == State::Retired))
}

/// One page of the machines that `keep` lets pass, the oldest first.
pub async fn machine_list(
    db: &Db,
    page: &PageRequest,
    keep: impl Fn(&Machine) -> bool,
) -> Result<Listing<Machine>, Error> {
    list_of_table(db, MACHINES_PREFIX, page, keep, Machine::id_of_key).await
}

/// Every machine.
pub async fn machine_all(db: &Db) -> Result<Vec<Machine>, Error> {
    let records = db.scan::<MachineRecord>(MACHINES_PREFIX).await?;
    records
        .into_iter()
        .map(|(key, record)| record.into_machine(key[MACHINES_PREFIX.len()..].parse()?))
        .collect()
}
