//! What a machine tells of itself over the boot listener: `POST /inventory`, as JSON.

use serde::{Deserialize, Serialize};

/// The largest report that is read, in bytes.
pub const LARGEST_REPORT: usize = 64 << 10;

/// What a machine says that it is made of. Fields that are not known are ignored, so that a newer netboot image
/// can report to an older provisioner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// SMBIOS serial number, as `/sys/class/dmi/id/product_serial` has it.
    pub serial: String,
    /// SMBIOS UUID, as `/sys/class/dmi/id/product_uuid` has it.
    pub uuid: String,
    /// SMBIOS manufacturer (`sys_vendor`).
    pub manufacturer: String,
    /// SMBIOS product (`product_name`).
    pub product: String,
    /// Processors that the kernel sees.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Physical network interfaces; at least one.
    pub interfaces: Vec<Interface>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// The public key of the netboot image's SSH server, one line as in a `.pub` file; empty: not told.
    pub ssh_host_key: String,
}

/// A physical network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Name: `enp1s0`.
    pub name: String,
    /// MAC address, in any usual spelling.
    pub mac: String,
    /// Whether it has a carrier.
    pub up: bool,
    /// Speed in Mbit/s; 0: not known.
    pub speed_mbps: u32,
    /// Whether it hangs at USB.
    pub usb: bool,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Device: `/dev/nvme0n1`.
    pub device: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Model; empty: not known.
    pub model: String,
    /// Serial number; empty: not known.
    pub serial: String,
    /// Whether it turns.
    pub rotational: bool,
}

/// The answer to a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// The machine's id.
    pub id: String,
    /// Its state: `discovered`, `approved`, `installing`, `joined`, `ready`, `failed`, `retired`.
    pub state: String,
    /// Its host name; empty: it is not approved.
    pub name: String,
    /// It has a system on its disk and should boot that: reboot.
    pub boot_disk: bool,
}
