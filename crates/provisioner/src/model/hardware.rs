//! What a machine is made of, and by what it is known again.

use std::fmt;

use uuid::Uuid;

use photon_resource::Mac;

/// The UUID of a machine's firmware, which is not its id here.
pub type SmbiosUuid = Uuid;

/// What a machine says that it is made of, checked and cut to size. Not proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// `None`: it has none that tells it from others.
    pub serial: Option<String>,
    /// `None`: it has none that tells it from others.
    pub uuid: Option<SmbiosUuid>,
    pub manufacturer: String,
    pub product: String,
    pub cpus: u32,
    pub memory_mib: u64,
    pub interfaces: Vec<Interface>,
    pub disks: Vec<Disk>,
    /// The public key of its netboot image's SSH server, one line; empty: not told.
    pub ssh_host_key: String,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mac: Mac,
    pub up: bool,
    pub speed_mbps: u32,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub device: String,
    pub size_bytes: u64,
    pub model: String,
    pub serial: String,
    pub rotational: bool,
}

/// Something by which a machine is known again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Its firmware's UUID.
    Uuid(SmbiosUuid),
    /// Its serial number.
    Serial(String),
    /// One of its MAC addresses.
    Mac(Mac),
}

impl Hardware {
    /// All by which it is known again, the most telling first.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::with_capacity(2 + self.interfaces.len());
        keys.extend(self.uuid.map(Key::Uuid));
        keys.extend(self.serial.clone().map(Key::Serial));
        keys.extend(self.interfaces.iter().map(|it| Key::Mac(it.mac)));
        keys.sort();
        keys.dedup();
        keys
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Key::Serial(serial) => write!(f, "serial number '{serial}'"),
            Key::Mac(mac) => write!(f, "MAC address {mac}"),
        }
    }
}
