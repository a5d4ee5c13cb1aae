//! What a machine is made of, from `/sys` and `/proc` (the kernel's Documentation/ABI).

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use photon_api::provisioner::v1::MachineIdentity;

use photon_api::inventory::{Disk, Interface, Report};
use photon_resource::Mac;

/// A sector as `/sys/block/*/size` counts, whatever the disk's own is.
const SECTOR: u64 = 512;
/// The smallest disk that a host can be installed on: its boot partition alone takes 1 GiB (`modules/disks.nix`).
pub const SMALLEST_DISK: u64 = 2 << 30;

/// What may tell this machine from others, as firmware has it: what is a placeholder is for the provisioner to judge.
/// All of it is below `/sys`, which also a unit can read from which `/proc` is
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
        let net = root.join("sys/class/net");
        let interfaces = interfaces(&net)?;
        if interfaces.is_empty() {
            bail!(
                "{} has no physical Ethernet interface: is the network card's driver in this image?",
                net.display()
            );
        }
        Ok(Identity {
            serial: dmi(root, "product_serial"),
            uuid: dmi(root, "product_uuid").to_lowercase(),
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
            usb: at_usb(&path.join("device")),
            name,
        });
    }
    Ok(found)
}

/// Whether a device hangs at a USB controller: one of the directories that it is in is a bus, `usb1`.
fn at_usb(device: &Path) -> bool {
    let Ok(device) = device.canonicalize() else {
        return false;
    };
    let is_bus = |name: &str| {
        let number = name.strip_prefix("usb").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    device
        .components()
        .any(|it| it.as_os_str().to_str().is_some_and(is_bus))
}

/// Disks that a system could be installed on, each once.
fn disks(block: &Path) -> Result<Vec<Disk>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    // A kernel without any block driver has no such directory; it may have a network all the same.
    let names = if block.exists() {
        names(block)?
    } else {
        Vec::new()
    };
    for name in names {
        let path = block.join(&name);
        let size_bytes = number(&path.join("size"))
            .unwrap_or(0)
            .saturating_mul(SECTOR);
        if size_bytes < SMALLEST_DISK || name.starts_with("sr") || !takes_a_system(&path) {
            continue;
        }
        // Two paths to one disk, in an image that puts no multipath device over them.
        let id = text(&path.join("device/wwid"));
        if !id.is_empty() && !seen.insert(id) {
            continue;
        }
        found.push(Disk {
            device: format!("/dev/{}", name.replace('!', "/")),
            size_bytes,
            model: text(&path.join("device/model")),
            serial: disk_serial(&path),
            rotational: number(&path.join("queue/rotational")) == Some(1),
        });
    }
    Ok(found)
}

/// Whether this is hardware that can be written to at any place, and no path of something else.
fn takes_a_system(disk: &Path) -> bool {
    let is = |attribute: &str| number(&disk.join(attribute)) == Some(1);
    // No loop, RAM or device-mapper disk has a device; a stick is not to install on.
    let physical = disk.join("device").exists();
    // CD and optical memory; a disk is 0 (SPC-4, table 133), and only SCSI tells it.
    let optical = matches!(number(&disk.join("device/type")), Some(5 | 7));
    let in_order = text(&disk.join("queue/zoned")) == "host-managed";
    let holders = names(&disk.join("holders")).unwrap_or_default();
    let path_of_another = holders.iter().any(|holder| {
        text(&disk.join("holders").join(holder).join("dm/uuid")).starts_with("mpath-")
    });
    physical
        && !is("removable")
        && !is("ro")
        && !is("hidden")
        && !optical
        && !in_order
        && !path_of_another
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
