//! Between what is told over the wire and what the rules know.

use std::time::SystemTime;

use photon_api::inventory::Report;
use photon_api::provisioner::v1;
use photon_resource::Error;

use crate::app::{Approval, Joining};
use crate::model::{
    Disk, Hardware, Interface, MOST_INTERFACES, Machine, State, plain, serial, smbios_uuid,
    validate_host_name,
};

/// How many disks of a machine are kept.
const MOST_DISKS: usize = 256;

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
            usb: it.usb,
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

/// A host's wish to join. Which machine it says that it runs on is read where that counts.
pub fn joining(wire: v1::EnrolRequest) -> Joining {
    let identity = wire.identity.unwrap_or_default();
    Joining {
        token: wire.token,
        certificate_request_pem: wire.certificate_request_pem,
        serial: identity.serial,
        uuid: identity.uuid,
        macs: identity.macs,
    }
}

/// What an operator approves.
///
/// Errors: `InvalidArgument`.
pub fn approval(request: &v1::ApproveMachineRequest) -> Result<Approval, Error> {
    validate_host_name(&request.name)?;
    Ok(Approval {
        name: request.name.clone(),
        address: request.address.clone(),
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
