//! Between what is told over the wire and what the rules know.

use std::time::SystemTime;

use photon_api::inventory::Report;
use photon_api::provisioner::v1;
use photon_resource::{Error, Mac};
use uuid::Uuid;

use crate::model::{Disk, Hardware, Interface, Machine, MachineIdentity, State};

/// How many interfaces and disks of a machine are kept.
const MOST_INTERFACES: usize = 64;
const MOST_DISKS: usize = 256;
/// How many characters of any text that a machine tells are kept.
const LONGEST_TEXT: usize = 128;

/// What firmware says where its maker has filled in nothing: such a value does not tell a machine from others.
const PLACEHOLDERS: &[&str] = &[
    "none",
    "n/a",
    "na",
    "null",
    "default string",
    "not specified",
    "not available",
    "not applicable",
    "unspecified",
    "unknown",
    "invalid",
    "system serial number",
    "chassis serial number",
    "serial",
    "oem",
    "o.e.m.",
    "to be filled by o.e.m.",
    "to be filled by o.e.m",
    "0123456789",
    "123456789",
    "1234567890",
    "empty",
];

/// UUIDs that boards without one of their own are known to show.
const SHARED_UUIDS: &[&str] = &[
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
];

/// A serial number that tells a machine from others.
pub fn serial(text: &str) -> Option<String> {
    let text = plain(text);
    let same = |c: char| text.chars().all(|other| other == c);
    let placeholder = PLACEHOLDERS.contains(&text.to_ascii_lowercase().as_str());
    let useless = text.chars().count() < 3
        || placeholder
        || ['0', '1', 'f', 'F', 'x', 'X', '.', '-', '*', '_', ' ']
            .into_iter()
            .any(same);
    (!useless).then_some(text)
}

/// A firmware's UUID that tells a machine from others.
pub fn smbios_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text.trim()).ok()?;
    let shared = SHARED_UUIDS.contains(&uuid.to_string().as_str());
    (!uuid.is_nil() && !uuid.is_max() && !shared).then_some(uuid)
}

/// One line, without control characters, cut to size.
fn plain(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_TEXT)
        .collect();
    kept.trim().to_owned()
}

/// Reads a report.
///
/// Errors: `InvalidArgument` if a MAC address is none, if there is no interface, or if there are too many of something.
pub fn hardware(report: &Report) -> Result<Hardware, Error> {
    if report.interfaces.is_empty() || report.interfaces.len() > MOST_INTERFACES {
        return Err(Error::invalid(
            "interfaces",
            format!("{} interfaces", report.interfaces.len()),
            format!("1 to {MOST_INTERFACES}"),
        ));
    }
    if report.disks.len() > MOST_DISKS {
        let told = format!("{} disks", report.disks.len());
        return Err(Error::invalid(
            "disks",
            told,
            format!("at most {MOST_DISKS}"),
        ));
    }
    let mut interfaces = Vec::with_capacity(report.interfaces.len());
    for it in &report.interfaces {
        interfaces.push(Interface {
            name: plain(&it.name),
            mac: it.mac.trim().parse()?,
            up: it.up,
            speed_mbps: it.speed_mbps,
        });
    }
    // In an order that does not change from report to report.
    interfaces.sort_by(|a, b| (a.mac, &a.name).cmp(&(b.mac, &b.name)));
    let disks = report.disks.iter().map(|it| Disk {
        device: plain(&it.device),
        size_bytes: it.size_bytes,
        model: plain(&it.model),
        serial: plain(&it.serial),
        rotational: it.rotational,
    });
    let mut disks: Vec<Disk> = disks.collect();
    disks.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(Hardware {
        serial: serial(&report.serial),
        uuid: smbios_uuid(&report.uuid),
        manufacturer: plain(&report.manufacturer),
        product: plain(&report.product),
        cpus: report.cpus,
        memory_mib: report.memory_mib,
        interfaces,
        disks,
        ssh_host_key: ssh_host_key(&report.ssh_host_key)?,
    })
}

/// A public key as in a `.pub` file, without its comment.
fn ssh_host_key(text: &str) -> Result<String, Error> {
    let wrong = || {
        Error::invalid(
            "ssh_host_key",
            text,
            "one line as in a .pub file: type and base64",
        )
    };
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = match (words.next(), words.next()) {
        (None, _) => return Ok(String::new()),
        (Some(kind), Some(key)) => (kind, key),
        (Some(_), None) => return Err(wrong()),
    };
    let kind_ok = kind
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
    let key_ok = key
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    if !kind_ok || !key_ok || kind.len() > 64 || key.len() > 2048 {
        return Err(wrong());
    }
    Ok(format!("{kind} {key}"))
}

/// Reads which machine a host says that it runs on.
///
/// Errors: `InvalidArgument` if a MAC address is none, or if there are too many.
pub fn identity(wire: &v1::MachineIdentity) -> Result<MachineIdentity, Error> {
    if wire.macs.len() > MOST_INTERFACES {
        let told = format!("{} addresses", wire.macs.len());
        return Err(Error::invalid(
            "identity.macs",
            told,
            format!("at most {MOST_INTERFACES}"),
        ));
    }
    let macs: Result<Vec<Mac>, Error> = wire.macs.iter().map(|mac| mac.trim().parse()).collect();
    Ok(MachineIdentity {
        serial: serial(&wire.serial),
        uuid: smbios_uuid(&wire.uuid),
        macs: macs?,
    })
}

/// A machine for people.
pub fn machine_to_wire(machine: &Machine) -> v1::Machine {
    let certificate = machine.certificate.as_ref();
    let text =
        |address: Option<std::net::IpAddr>| address.map(|it| it.to_string()).unwrap_or_default();
    v1::Machine {
        id: machine.id.to_string(),
        state: state_to_wire(machine.state).into(),
        name: machine.name.clone().unwrap_or_default(),
        inventory: Some(inventory_to_wire(&machine.hardware)),
        reported_address: text(machine.reported_address),
        address: text(machine.address),
        reason: machine.reason.clone(),
        log_tail: machine.log_tail.clone(),
        conflicts: machine.conflicts.clone(),
        created_at: Some(machine.created_at.into()),
        updated_at: Some(machine.updated_at.into()),
        state_changed_at: Some(machine.state_changed_at.into()),
        reported_at: Some(machine.reported_at.into()),
        certificate_serial: certificate.map(|it| it.serial.clone()).unwrap_or_default(),
        certificate_expires_at: certificate.map(|it| it.expires_at.into()),
        installed_at: machine.installed_at.map(SystemTime::into),
        version: machine.version.clone(),
        revision: machine.revision,
    }
}

fn inventory_to_wire(hardware: &Hardware) -> v1::Inventory {
    v1::Inventory {
        serial: hardware.serial.clone().unwrap_or_default(),
        uuid: hardware.uuid.map(|it| it.to_string()).unwrap_or_default(),
        manufacturer: hardware.manufacturer.clone(),
        product: hardware.product.clone(),
        cpus: hardware.cpus,
        memory_mib: hardware.memory_mib,
        interfaces: hardware
            .interfaces
            .iter()
            .map(|it| v1::MachineInterface {
                name: it.name.clone(),
                mac: it.mac.to_string(),
                up: it.up,
                speed_mbps: it.speed_mbps,
            })
            .collect(),
        disks: hardware
            .disks
            .iter()
            .map(|it| v1::MachineDisk {
                device: it.device.clone(),
                size_bytes: it.size_bytes,
                model: it.model.clone(),
                serial: it.serial.clone(),
                rotational: it.rotational,
            })
            .collect(),
    }
}

fn state_to_wire(state: State) -> v1::MachineState {
    match state {
        State::Discovered => v1::MachineState::Discovered,
        State::Approved => v1::MachineState::Approved,
        State::Installing => v1::MachineState::Installing,
        State::Joined => v1::MachineState::Joined,
        State::Ready => v1::MachineState::Ready,
        State::Failed => v1::MachineState::Failed,
        State::Retired => v1::MachineState::Retired,
    }
}

/// A state to look for; `None`: any.
///
/// Errors: `InvalidArgument` for a number that is none.
pub fn state_from_wire(state: i32) -> Result<Option<State>, Error> {
    let wire = v1::MachineState::try_from(state);
    let wire = wire.map_err(|_| Error::invalid("state", state, "a MachineState"))?;
    Ok(State::ALL
        .into_iter()
        .find(|state| state_to_wire(*state) == wire))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use photon_api::inventory;

    fn report(macs: &[&str]) -> Report {
        Report {
            interfaces: macs
                .iter()
                .map(|mac| inventory::Interface {
                    name: "eth0".into(),
                    mac: (*mac).to_owned(),
                    ..Default::default()
                })
                .collect(),
            ..Report::default()
        }
    }

    #[test]
    fn what_firmware_fills_in_by_default_identifies_nothing() {
        for text in [
            "",
            "  ",
            "0",
            "00000000",
            "To Be Filled By O.E.M.",
            "Default string",
            "Not Specified",
            "System Serial Number",
            "FFFFFFFF",
        ] {
            assert_eq!(serial(text), None, "{text}");
        }
        assert_eq!(serial(" 7CQ1\u{7}23 \n").as_deref(), Some("7CQ1 23"));
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "03000200-0400-0500-0006-000700080009",
            "Not Settable",
        ] {
            assert_eq!(smbios_uuid(text), None, "{text}");
        }
        let upper = "4C4C4544-0042-3510-8051-B7C04F4D3932";
        assert_eq!(
            smbios_uuid(upper).unwrap().to_string(),
            upper.to_ascii_lowercase()
        );
    }

    #[test]
    fn a_report_that_can_not_be_kept_is_refused_by_field() {
        for (report, field) in [
            (report(&[]), "interfaces"),
            (report(&["52:54:00:00:00:01"; 65]), "interfaces"),
            (report(&["52:54:00:00:00"]), "mac"),
            (
                Report {
                    disks: vec![inventory::Disk::default(); 257],
                    ..report(&["52:54:00:00:00:01"])
                },
                "disks",
            ),
            (
                Report {
                    ssh_host_key: "ssh-ed25519 AAAA\";reboot".into(),
                    ..report(&["52:54:00:00:00:01"])
                },
                "ssh_host_key",
            ),
        ] {
            let error = hardware(&report).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_machine_tells_is_kept_in_bounds(
            serial in ".{0,300}", uuid in ".{0,60}", vendor in ".{0,300}", model in "\\PC{0,300}", key in ".{0,100}",
        ) {
            let report = Report {
                serial,
                uuid,
                manufacturer: vendor,
                disks: vec![inventory::Disk { model, ..Default::default() }],
                ssh_host_key: key,
                ..report(&["52-54-00-00-00-01"])
            };
            let json = serde_json::to_vec(&report).unwrap();
            let read: Report = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&read, &report);
            if let Ok(hardware) = hardware(&read) {
                for text in [&hardware.manufacturer, &hardware.disks[0].model, &hardware.ssh_host_key]
                    .into_iter().chain(&hardware.serial)
                {
                    prop_assert!(text.chars().count() <= 2200 && !text.chars().any(char::is_control));
                }
                prop_assert!(!hardware.keys().is_empty());
                // Read once more, it is the same.
                let again = hardware.serial.as_deref().and_then(super::serial);
                prop_assert_eq!(again, hardware.serial);
            }
        }

        #[test]
        fn any_json_is_read_or_refused(text in "\\{(\"(serial|cpus|interfaces|disks)\":(1|\"a\"|\\[\\]|\\{\\}|null),?){0,3}\\}") {
            if let Ok(report) = serde_json::from_str::<Report>(&text) {
                let _ = hardware(&report);
            }
        }
    }
}
