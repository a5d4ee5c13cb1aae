//! What a machine is made of, from `/sys` and `/proc` (the kernel's Documentation/ABI).

use std::path::Path;

use anyhow::{Context, Result, bail};
use photon_api::provisioner::v1::MachineIdentity;

use photon_api::inventory::{Disk, Interface, Report};
use photon_resource::Mac;

/// What firmware says that was never told the serial number: it tells no machine from another.
const PLACEHOLDERS: &[&str] = &[
    "0",
    "0123456789",
    "default string",
    "n/a",
    "none",
    "not applicable",
    "not specified",
    "o.e.m.",
    "system serial number",
    "to be filled by o.e.m.",
    "unknown",
];

/// UUIDs of the same kind: all bits 0 or 1 (SMBIOS 3.7, 7.2.1), and the one of a well-known board's manual.
const PLACEHOLDER_UUIDS: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
];

/// A sector as `/sys/block/*/size` counts, whatever the disk's own is.
const SECTOR: u64 = 512;

/// What tells this machine from others. All of it is below `/sys`, which also a unit can read from which `/proc` is
/// hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    serial: String,
    uuid: String,
    interfaces: Vec<Interface>,
}

impl Identity {
    /// Reads it below `root`, which is `/` but in tests.
    ///
    /// # Errors
    /// When there is no physical network interface: without one it is not this machine that is looked at, but a
    /// container or a kernel without its driver.
    pub fn read(root: &Path) -> Result<Self> {
        let known = |value: String, placeholders: &[&str]| {
            let low = value.to_lowercase();
            if placeholders.contains(&low.as_str()) {
                String::new()
            } else {
                value
            }
        };
        let net = root.join("sys/class/net");
        let interfaces = interfaces(&net)?;
        if interfaces.is_empty() {
            bail!(
                "{} has no physical Ethernet interface: is the network card's driver in this image?",
                net.display()
            );
        }
        Ok(Identity {
            serial: known(dmi(root, "product_serial"), PLACEHOLDERS),
            uuid: known(dmi(root, "product_uuid").to_lowercase(), PLACEHOLDER_UUIDS),
            interfaces,
        })
    }
}

impl From<Identity> for MachineIdentity {
    fn from(identity: Identity) -> Self {
        MachineIdentity {
            serial: identity.serial,
            uuid: identity.uuid,
            macs: identity.interfaces.into_iter().map(|one| one.mac).collect(),
        }
    }
}

/// All that the netboot image tells, with the same [`Identity`] as the host that is installed on the machine.
///
/// # Errors
/// Those of [`Identity::read`]; when `/proc` does not tell how much memory there is.
pub fn inventory(root: &Path) -> Result<Report> {
    let Identity {
        serial,
        uuid,
        interfaces,
    } = Identity::read(root)?;
    Ok(Report {
        serial,
        uuid,
        manufacturer: dmi(root, "sys_vendor"),
        product: dmi(root, "product_name"),
        cpus: cpus(&text(&root.join("sys/devices/system/cpu/online"))),
        memory_mib: memory_mib(&root.join("proc/meminfo"))?,
        interfaces,
        disks: disks(&root.join("sys/block"))?,
        ssh_host_key: String::new(),
    })
}

fn dmi(root: &Path, name: &str) -> String {
    text(&root.join("sys/class/dmi/id").join(name))
}

/// The trimmed content of an attribute; empty where there is none, as for what this hardware does not have.
fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // Firmware pads with whatever it likes.
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
        .to_owned()
}

fn number(path: &Path) -> Option<u64> {
    text(path).parse().ok()
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}: is /sys mounted?", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Ethernet cards: those with a device behind them; no bridges, no virtual functions, no wireless.
fn interfaces(net: &Path) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    for name in names(net)? {
        let path = net.join(&name);
        // ARPHRD_ETHER of if_arp.h.
        let ethernet = number(&path.join("type")) == Some(1);
        let physical = path.join("device").exists() && !path.join("device/physfn").exists();
        let wireless = path.join("wireless").exists() || path.join("phy80211").exists();
        if !ethernet || !physical || wireless {
            continue;
        }
        // A member of a bond shows the bond's address as its own.
        let own = text(&path.join("bonding_slave/perm_hwaddr"));
        let mac = match own.as_str() {
            "" => text(&path.join("address")),
            _ => own,
        };
        // Something that is no address of one interface tells nothing.
        let Ok(mac) = mac.parse::<Mac>() else {
            continue;
        };
        found.push(Interface {
            mac: mac.to_string(),
            up: number(&path.join("carrier")) == Some(1),
            // -1 where there is no link.
            speed_mbps: number(&path.join("speed"))
                .and_then(|speed| speed.try_into().ok())
                .unwrap_or(0),
            name,
        });
    }
    Ok(found)
}

/// Disks that a system could be installed on.
fn disks(block: &Path) -> Result<Vec<Disk>> {
    let mut found = Vec::new();
    // A kernel without any block driver has no such directory; it may have a network all the same.
    let names = if block.exists() {
        names(block)?
    } else {
        Vec::new()
    };
    for name in names {
        let path = block.join(&name);
        // No loop, RAM or device-mapper disk has a device; a stick or a drive without a medium is not to install on.
        let physical = path.join("device").exists();
        let removable = number(&path.join("removable")) == Some(1);
        let sectors = number(&path.join("size")).unwrap_or(0);
        if !physical || removable || sectors == 0 || name.starts_with("sr") {
            continue;
        }
        found.push(Disk {
            device: format!("/dev/{}", name.replace('!', "/")),
            size_bytes: sectors.saturating_mul(SECTOR),
            model: text(&path.join("device/model")),
            serial: disk_serial(&path),
            rotational: number(&path.join("queue/rotational")) == Some(1),
        });
    }
    Ok(found)
}

/// virtio keeps it beside the disk, NVMe beside its controller, SCSI and SATA in a page of their own: four bytes of
/// head, then the number (SPC-4, 7.8.17).
fn disk_serial(disk: &Path) -> String {
    for place in ["serial", "device/serial"] {
        let serial = text(&disk.join(place));
        if !serial.is_empty() {
            return serial;
        }
    }
    let page = std::fs::read(disk.join("device/vpd_pg80")).unwrap_or_default();
    let number = page.get(4..).unwrap_or_default();
    String::from_utf8_lossy(number)
        .trim_matches(|c: char| c.is_whitespace() || c.is_control())
        .to_owned()
}

/// Of a list such as `0-3,8`; 0 if it is not readable.
fn cpus(list: &str) -> u32 {
    let mut count = 0_u32;
    for range in list.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
            return 0;
        };
        count = count.saturating_add(last.saturating_sub(first).saturating_add(1));
    }
    count
}

fn memory_mib(meminfo: &Path) -> Result<u64> {
    let all = std::fs::read_to_string(meminfo)
        .with_context(|| format!("cannot read {}", meminfo.display()))?;
    let total = all.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let total = total.with_context(|| format!("{} has no MemTotal", meminfo.display()))?;
    Ok(total / 1024)
}
