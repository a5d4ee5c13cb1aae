use std::time::SystemTime;

use photon_resource::Mac;
use proptest::prelude::*;
use uuid::Uuid;

use super::firmware::swapped;
use super::*;
use crate::model::{Disk, Interface};

fn mac(n: u8) -> Mac {
    format!("52:54:00:00:00:{n:02x}").parse().unwrap()
}

fn hardware(uuid: u8, serial: u8, macs: &[u8]) -> Hardware {
    Hardware {
        uuid: (uuid > 0).then(|| Uuid::from_u128(uuid.into())),
        serial: (serial > 0).then(|| format!("S{serial}")),
        interfaces: macs
            .iter()
            .map(|n| Interface {
                name: format!("eth{n}"),
                mac: mac(*n),
                up: true,
                speed_mbps: 1000,
                usb: false,
            })
            .collect(),
        ..Hardware::default()
    }
}

fn known(hardware: Hardware) -> Machine {
    let address = "192.0.2.9".parse().unwrap();
    Machine::discovered(hardware, address, SystemTime::UNIX_EPOCH)
}

fn found(report: &Hardware, machines: &[Machine]) -> Found {
    let mut holders = Vec::new();
    for key in report.keys() {
        // Of several, the store's index has the first that took the key.
        let holder = machines
            .iter()
            .find(|machine| machine.hardware.keys().contains(&key));
        holders.extend(holder.map(|machine| (key, machine)));
    }
    identify(report, &holders)
}

fn with_disks(mut hardware: Hardware, serials: &[&str]) -> Hardware {
    hardware.disks = serials
        .iter()
        .map(|serial| Disk {
            device: "/dev/sda".into(),
            size_bytes: 1 << 40,
            model: String::new(),
            serial: (*serial).to_owned(),
            rotational: false,
        })
        .collect();
    hardware
}

fn with_usb(mut hardware: Hardware, mac: u8) -> Hardware {
    let card = Interface {
        usb: true,
        ..super::tests::hardware(0, 0, &[mac]).interfaces[0].clone()
    };
    hardware.interfaces.push(card);
    hardware
}

/// Pairs of inventories and what they are of, whichever was seen first.
#[test]
fn two_boards_are_two_machines_and_one_board_is_one() {
    use Outcome::{Contradiction, One, Two};
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Outcome {
        One,
        Two,
        Contradiction,
    }
    let pairs = [
        (
            "the same",
            hardware(1, 1, &[1, 2]),
            hardware(1, 1, &[1, 2]),
            One,
        ),
        (
            "a new network card",
            hardware(1, 1, &[1]),
            hardware(1, 1, &[2]),
            One,
        ),
        (
            "one card of two is new",
            hardware(1, 1, &[1, 2]),
            hardware(1, 1, &[1, 3]),
            One,
        ),
        (
            "a new network card, and a disk more",
            with_disks(hardware(1, 1, &[1]), &["A"]),
            with_disks(hardware(1, 1, &[2]), &["A", "B"]),
            One,
        ),
        (
            "every disk is new",
            with_disks(hardware(1, 1, &[1]), &["A"]),
            with_disks(hardware(1, 1, &[1]), &["B"]),
            One,
        ),
        (
            "firmware tells nothing any more",
            hardware(1, 1, &[1, 2]),
            hardware(0, 0, &[2]),
            One,
        ),
        (
            "firmware tells its UUID only",
            hardware(1, 1, &[1]),
            hardware(1, 0, &[1]),
            One,
        ),
        (
            "a card more, without a serial number",
            hardware(1, 0, &[1]),
            hardware(1, 0, &[1, 2]),
            One,
        ),
        (
            "a sample UUID, no serial number",
            hardware(1, 0, &[1]),
            hardware(1, 0, &[2]),
            Two,
        ),
        (
            "a sample UUID, serial numbers of their own",
            hardware(1, 1, &[1]),
            hardware(1, 2, &[2]),
            Two,
        ),
        (
            "a sample UUID, one without serial number",
            hardware(1, 1, &[1]),
            hardware(1, 0, &[2]),
            Two,
        ),
        (
            "a sample serial number",
            hardware(1, 1, &[1]),
            hardware(2, 1, &[2]),
            Two,
        ),
        (
            "a sample serial number, no UUID",
            hardware(0, 1, &[1]),
            hardware(0, 1, &[2]),
            Two,
        ),
        (
            "sample UUID and serial number, disks of their own",
            with_disks(hardware(1, 1, &[1]), &["A"]),
            with_disks(hardware(1, 1, &[2]), &["B"]),
            Two,
        ),
        (
            "a BMC's card",
            hardware(1, 1, &[1, 9]),
            hardware(2, 2, &[2, 9]),
            Two,
        ),
        (
            "a BMC's card and a sample UUID",
            hardware(1, 1, &[1, 9]),
            hardware(1, 2, &[2, 9]),
            Two,
        ),
        (
            "a BMC's card and a sample serial number",
            hardware(1, 1, &[1, 9]),
            hardware(2, 1, &[2, 9]),
            Two,
        ),
        (
            "a BMC's card, sample UUID, no serial number",
            hardware(1, 0, &[1, 9]),
            hardware(1, 0, &[2, 9]),
            Two,
        ),
        (
            "a BMC's card and nothing else",
            hardware(0, 0, &[1, 9]),
            hardware(0, 0, &[2, 9]),
            Two,
        ),
        (
            "a BMC's card at USB, a card of one board not seen",
            with_usb(hardware(1, 1, &[1]), 9),
            with_usb(hardware(2, 2, &[2]), 9),
            Two,
        ),
        (
            "a USB card is all there is",
            with_usb(hardware(1, 0, &[]), 9),
            with_usb(hardware(1, 0, &[]), 9),
            One,
        ),
        (
            "nothing in common",
            hardware(1, 1, &[1]),
            hardware(2, 2, &[2]),
            Two,
        ),
        (
            "the only card in another mainboard",
            hardware(1, 1, &[1]),
            hardware(2, 2, &[1]),
            Contradiction,
        ),
        (
            "the UUID is another",
            hardware(1, 1, &[1]),
            hardware(2, 1, &[1]),
            Contradiction,
        ),
        (
            "the serial number is another",
            hardware(1, 1, &[1]),
            hardware(1, 2, &[1]),
            Contradiction,
        ),
    ];
    for (what, first, second, expected) in pairs {
        for (seen, report) in [(&first, &second), (&second, &first)] {
            let machines = [known(seen.clone())];
            let outcome = match found(report, &machines) {
                Found::New => Two,
                Found::Known(id) if id == machines[0].id => One,
                Found::Contradiction { machines: told, .. } if told == [machines[0].id] => {
                    Contradiction
                }
                other => panic!("{what}: {other:?}"),
            };
            assert_eq!(outcome, expected, "{what}");
            // Whoever is known is known again, also beside the other.
            if expected == Two {
                let machines = [known(seen.clone()), known(report.clone())];
                assert_eq!(
                    found(seen, &machines),
                    Found::Known(machines[0].id),
                    "{what}"
                );
                assert_eq!(
                    found(report, &machines),
                    Found::Known(machines[1].id),
                    "{what}"
                );
            }
        }
    }
}

/// A host must not be told to netboot because of its neighbour, nor a new board to start from a disk.
#[test]
fn firmware_boots_the_machine_that_fits_best() {
    let asked = |uuid: u8, serial: u8, card: u8| Asked {
        uuid: hardware(uuid, 0, &[]).uuid,
        serial: hardware(0, serial, &[]).serial,
        mac: (card > 0).then(|| mac(card)),
    };
    let machine = known(hardware(1, 1, &[1, 2]));
    for (told, boots) in [
        (asked(1, 1, 1), true),
        (asked(1, 1, 9), true),
        (asked(0, 0, 2), true),
        (asked(1, 0, 0), true),
        (asked(0, 1, 0), true),
        (asked(9, 1, 1), true),
        (asked(1, 0, 9), false),
        (asked(0, 1, 9), false),
        (asked(1, 9, 9), false),
        (asked(9, 9, 1), false),
        (asked(0, 0, 0), false),
    ] {
        assert_eq!(fits(&told, &machine).is_some(), boots, "{told:?}");
    }
    let mut old = asked(1, 0, 1);
    old.uuid = old.uuid.map(swapped);
    assert!(fits(&old, &machine).is_some(), "the other order of bytes");
    let neighbour = known(hardware(1, 1, &[3]));
    assert!(fits(&asked(1, 1, 3), &neighbour) > fits(&asked(1, 1, 3), &machine));
    let mut retired = known(hardware(1, 1, &[3]));
    retired.state = State::Retired;
    assert!(fits(&asked(1, 1, 3), &retired) < fits(&asked(1, 1, 3), &machine));
}

#[test]
fn a_moved_part_is_a_contradiction_that_names_both() {
    let machines = [known(hardware(1, 1, &[1])), known(hardware(2, 2, &[2]))];
    let Found::Contradiction {
        machines: told,
        reason,
    } = found(&hardware(1, 1, &[1, 2]), &machines)
    else {
        panic!("two machines' keys in one report")
    };
    let mut both = vec![machines[0].id, machines[1].id];
    both.sort();
    assert_eq!(told, both);
    for machine in &machines {
        assert!(reason.contains(&machine.id.to_string()), "{reason}");
    }
    // A network card of the first in a mainboard that nobody knows.
    let moved = found(&hardware(3, 3, &[1]), &machines);
    assert!(
        matches!(&moved, Found::Contradiction { machines: told, .. } if *told == [machines[0].id]),
        "{moved:?}"
    );
}

#[test]
fn a_retired_machine_gives_its_parts_away() {
    let mut old = known(hardware(1, 1, &[1]));
    old.state = State::Retired;
    let machines = [old, known(hardware(2, 2, &[2]))];
    assert_eq!(
        found(&hardware(2, 2, &[1, 2]), &machines),
        Found::Known(machines[1].id)
    );
    assert_eq!(found(&hardware(3, 3, &[1]), &machines), Found::New);
    assert_eq!(
        found(&hardware(1, 1, &[1]), &machines),
        Found::Known(machines[0].id)
    );
}

proptest! {
    /// Whatever is reported, a known machine is never mistaken for one whose firmware says otherwise.
    #[test]
    fn firmware_is_never_contradicted(
        known_as in prop::collection::vec((0_u8..4, 0_u8..4, prop::collection::vec(1_u8..6, 1..3), any::<bool>()), 0..4),
        report in (0_u8..4, 0_u8..4, prop::collection::vec(1_u8..6, 1..3)),
    ) {
        let machines: Vec<Machine> = known_as.iter().map(|(uuid, serial, macs, retired)| {
            let mut machine = known(hardware(*uuid, *serial, macs));
            if *retired {
                machine.state = State::Retired;
            }
            machine
        }).collect();
        let report = hardware(report.0, report.1, &report.2);
        if let Found::Known(id) = found(&report, &machines) {
            let known = &machines.iter().find(|machine| machine.id == id).unwrap().hardware;
            let uuid = agree(report.uuid.as_ref(), known.uuid.as_ref());
            let serial = agree(report.serial.as_ref(), known.serial.as_ref());
            prop_assert!(uuid != Some(false) && serial != Some(false));
            let card = report.macs().any(|mac| known.macs().any(|other| mac == other));
            prop_assert!(card || (uuid, serial) == (Some(true), Some(true)), "known by something");
        }
    }
}
