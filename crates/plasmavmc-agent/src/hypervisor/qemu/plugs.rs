//! Places for network interfaces: PCI Express root ports, into which QEMU plugs a device while the guest runs. The root
//! bus itself takes none. What the machine starts with is in such places too, so that it can be taken out again.
//!
//! Devices are called by their TAPs: what runs says by itself what it is, and an agent that starts anew needs no notes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::hypervisor::qmp::Qmp;
use crate::hypervisor::{ControlError, Held, Machine, Nic, Plugs};

#[cfg(test)]
mod live;
#[cfg(test)]
mod tests;

/// Places that are free when the machine starts, at least.
const SPARE: usize = 4;
/// Root ports are the functions of one slot of the root bus (PCI: 3 bits), so they come by the eight.
const FUNCTIONS: usize = 8;
/// For 16 interfaces, which is what a VM may have, and some to spare.
const MOST: usize = 24;
/// The highest slot that the chipset leaves free on the root bus (31 has its own functions). Disks are given slots from 1
/// on, so they keep theirs.
const HIGHEST_SLOT: usize = 0x1e;

/// How many places a machine has that starts with so many interfaces.
pub(super) fn count(interfaces: usize) -> usize {
    (interfaces + SPARE).next_multiple_of(FUNCTIONS).min(MOST)
}

/// The values of `-device` that make a machine's places.
pub(super) fn ports(machine: &Machine) -> impl Iterator<Item = String> {
    (0..count(machine.interfaces.len())).map(|index| {
        let (slot, function) = (HIGHEST_SLOT - index / FUNCTIONS, index % FUNCTIONS);
        // Ports need a chassis each. They carry no device that wants I/O ports, of which the firmware would set 4 KiB aside
        // for each, and 64 KiB is all there are.
        format!(
            "pcie-root-port,id={},bus=pcie.0,addr={slot:x}.{function},multifunction=on,chassis={},io-reserve=0",
            place(index),
            index + 1,
        )
    })
}

/// The name of a place.
pub(super) fn place(index: usize) -> String {
    format!("place-{index}")
}

/// What QEMU calls the host's side of an interface.
pub(super) fn netdev(tap: &str) -> String {
    format!("net-{tap}")
}

/// What it calls the guest's side.
fn device(tap: &str) -> String {
    format!("nic-{tap}")
}

/// The values of `-netdev` and `-device` of an interface that the machine starts with.
pub(super) fn options(nic: &Nic, index: usize, vhost: bool) -> (String, String) {
    let vhost = if vhost { "on" } else { "off" };
    let (tap, mac) = (super::escape(&nic.tap), super::escape(&nic.mac));
    let mtu = match nic.mtu {
        0 => String::new(),
        mtu => format!(",host_mtu={mtu}"),
    };
    let netdev = netdev(&tap);
    (
        format!("tap,id={netdev},ifname={tap},script=no,downscript=no,vhost={vhost}"),
        format!(
            "virtio-net-pci,id={},bus={},netdev={netdev},mac={mac},romfile={mtu}",
            device(&tap),
            place(index),
        ),
    )
}

/// The host's side of an interface, as `netdev_add` takes it.
pub(crate) fn tap(nic: &Nic, vhost: bool) -> Value {
    json!({
        "type": "tap", "id": netdev(&nic.tap), "ifname": nic.tap,
        "script": "no", "downscript": "no", "vhost": vhost,
    })
}

/// What the process has plugged in.
///
/// Errors: it can't be talked to, or says what is not understood.
pub(crate) async fn look(qmp: &Qmp) -> Result<Plugs, ControlError> {
    let listed = qmp
        .ask("qom-list", json!({ "path": "/machine/peripheral" }))
        .await?;
    let listed = listed.as_array().into_iter().flatten();
    let names: BTreeSet<&str> = listed.filter_map(|it| it.get("name")?.as_str()).collect();
    let mut plugs = Plugs::default();
    let mut taken = BTreeSet::new();
    // There is no command for netdevs but the one for people.
    let network = json!({ "command-line": "info network" });
    let network = qmp.ask("human-monitor-command", network).await?;
    for (tap, has_device) in taps(network.as_str().unwrap_or_default()) {
        let device = device(&tap);
        let held = match (names.contains(device.as_str()), has_device) {
            (true, _) => {
                let parent = json!({ "path": format!("/machine/peripheral/{device}"), "property": "parent_bus" });
                let bus = qmp.ask("qom-get", parent).await?;
                // Of a port and its bus, which has the same name.
                let bus = bus.as_str().and_then(|path| path.rsplit('/').next());
                taken.extend(bus.map(str::to_owned));
                Held::Plugged
            }
            (false, true) => Held::Fixed,
            (false, false) => Held::Bare,
        };
        plugs.held.insert(tap, held);
    }
    let places: Vec<String> = (0..MOST).map(place).collect();
    let places = places
        .into_iter()
        .filter(|place| names.contains(place.as_str()));
    let places: Vec<String> = places.collect();
    plugs.has_places = !places.is_empty();
    plugs.free = places
        .into_iter()
        .filter(|place| !taken.contains(place))
        .collect();
    Ok(plugs)
}

/// The TAPs in the answer to `info network`, and whether a device is on each. A device's line is followed by that of
/// its other side, which begins with a backslash (`print_net_client` in QEMU's `net/net.c`).
fn taps(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let other_side = line.trim_start().strip_prefix('\\');
        let client = other_side.unwrap_or(line).trim();
        let Some((name, about)) = client.split_once(": ") else {
            continue;
        };
        let is = |kind: &str| about.split(',').any(|part| part == kind);
        if is("type=nic") {
            continue;
        }
        // A release before this one called them by number.
        let tap = name.strip_prefix("net-").or_else(|| {
            about
                .split(',')
                .find_map(|part| part.strip_prefix("ifname="))
        });
        if let Some(tap) = tap {
            found.push((tap.to_owned(), other_side.is_some()));
        }
    }
    found
}

/// Plugs an interface into a place. What of it is there already is left as it is.
///
/// Errors: QEMU refuses, with its reason.
pub(crate) async fn plug(
    qmp: &Qmp,
    nic: &Nic,
    netdev_of: Value,
    place: &str,
) -> Result<(), ControlError> {
    let held = look(qmp).await?.held.get(&nic.tap).copied();
    if held.is_none() {
        qmp.ask("netdev_add", netdev_of).await?;
    }
    if !matches!(held, None | Some(Held::Bare)) {
        return Ok(());
    }
    let mut arguments = json!({
        "driver": "virtio-net-pci", "id": device(&nic.tap), "bus": place,
        "netdev": netdev(&nic.tap), "mac": nic.mac, "romfile": "",
    });
    if nic.mtu != 0 {
        arguments["host_mtu"] = nic.mtu.into();
    }
    qmp.ask("device_add", arguments).await?;
    Ok(())
}

/// Begins to take an interface out: asks the guest to let go of it, or, once it has, closes the host's side.
///
/// Errors: QEMU refuses, with its reason.
pub(crate) async fn unplug(qmp: &Qmp, tap: &str) -> Result<(), ControlError> {
    match look(qmp).await?.held.get(tap) {
        Some(Held::Plugged) => match qmp.ask("device_del", json!({ "id": device(tap) })).await {
            // It has been asked already, and QEMU asks again only some seconds later.
            Err(ControlError::Refused { reason, .. })
                if reason.contains("already in the process") =>
            {
                Ok(())
            }
            other => other.map(drop),
        },
        Some(Held::Bare) => qmp
            .ask("netdev_del", json!({ "id": netdev(tap) }))
            .await
            .map(drop),
        Some(Held::Fixed) | None => Ok(()),
    }
}
