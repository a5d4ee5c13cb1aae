//! Which of the known machines a report is of.
//!
//! No list says which UUIDs, serial numbers and MAC addresses vendors give to many boards: such a value shows itself by
//! what it is told together with (decision 0031). Of two inventories:
//!
//! | UUID and serial number | MAC addresses | verdict |
//! | --- | --- | --- |
//! | both agree | any, or the disks are not all others | the same machine: its network card may be new |
//! | else | none in common | two machines |
//! | else | some in common, and each has some of its own | two machines: a BMC's card, or a moved one |
//! | nothing differs | those of one are all among the other's | the same machine |
//! | something differs | those of one are all among the other's | a contradiction: a part has moved |

use std::collections::HashSet;

use photon_resource::Mac;

use crate::model::{Hardware, Key, Machine, MachineId, SmbiosUuid, State};

/// What a report is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A machine that nobody has seen yet.
    New,
    /// This one.
    Known(MachineId),
    /// It can't be: what it says of itself contradicts what is known of these.
    Contradiction {
        machines: Vec<MachineId>,
        reason: String,
    },
}

/// What two inventories are of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Two,
    /// Neither can be told: what differs.
    Contradiction(String),
}

/// Whether two tell the same; `None`: one of them tells nothing.
fn agree<T: PartialEq>(told: Option<&T>, known: Option<&T>) -> Option<bool> {
    Some(told? == known?)
}

fn compare(told: &Hardware, known: &Hardware) -> Verdict {
    let uuid = agree(told.uuid.as_ref(), known.uuid.as_ref());
    let serial = agree(told.serial.as_ref(), known.serial.as_ref());
    let told_macs: HashSet<Mac> = told.macs().collect();
    let known_macs: HashSet<Mac> = known.macs().collect();
    let apart = told_macs.is_disjoint(&known_macs);
    if uuid == Some(true) && serial == Some(true) {
        // Even both may be a vendor's samples. Whoever replaces the network card does not replace every disk, too.
        return match apart && other_disks(told, known) {
            true => Verdict::Two,
            false => Verdict::Same,
        };
    }
    let nested = told_macs.is_subset(&known_macs) || known_macs.is_subset(&told_macs);
    if apart || !nested {
        return Verdict::Two;
    }
    match (&told.uuid, &known.uuid, &told.serial, &known.serial) {
        (Some(told), Some(known), ..) if told != known => {
            Verdict::Contradiction(format!("UUID {told}, not {known}"))
        }
        (.., Some(told), Some(known)) if told != known => {
            Verdict::Contradiction(format!("serial number '{told}', not '{known}'"))
        }
        _ => Verdict::Same,
    }
}

/// Whether both tell serial numbers of disks, and none in common.
fn other_disks(told: &Hardware, known: &Hardware) -> bool {
    let serials = |hardware: &Hardware| -> HashSet<String> {
        let serials = hardware.disks.iter().map(|disk| disk.serial.clone());
        serials.filter(|serial| !serial.is_empty()).collect()
    };
    let (told, known) = (serials(told), serials(known));
    !told.is_empty() && !known.is_empty() && told.is_disjoint(&known)
}

/// Which machine `hardware` is, given who is known (`holders`) under each of its keys.
///
/// A retired machine gives way to one that is not: parts of it may have moved on.
pub fn identify(hardware: &Hardware, holders: &[(Key, &Machine)]) -> Found {
    let mut retired = None;
    let mut concerned: Vec<(&Key, &Machine, Option<String>)> = Vec::new();
    for (key, machine) in holders {
        let verdict = compare(hardware, &machine.hardware);
        if machine.state == State::Retired {
            // Still the machine that was taken out, unless it is clearly another.
            retired = retired.or((verdict == Verdict::Same).then_some(machine.id));
            continue;
        }
        if concerned.iter().any(|(_, other, _)| other.id == machine.id) {
            continue;
        }
        match verdict {
            Verdict::Same => concerned.push((key, *machine, None)),
            Verdict::Contradiction(why) => concerned.push((key, *machine, Some(why))),
            Verdict::Two => {}
        }
    }
    let machines = concerned.iter().map(|(_, machine, _)| machine.id).collect();
    match concerned.as_slice() {
        [] => retired.map_or(Found::New, Found::Known),
        [(_, machine, None)] => Found::Known(machine.id),
        [(key, machine, Some(why))] => Found::Contradiction {
            machines,
            reason: format!(
                "a report has the {key} of machine '{}', but {why}: if a part has moved or the mainboard was \
                 replaced, retire that machine",
                machine.called()
            ),
        },
        [(first_key, first, _), (key, other, _), ..] => Found::Contradiction {
            machines,
            reason: format!(
                "a report has the {first_key} of machine '{}' and the {key} of machine '{}': if a part has moved, \
                 retire the machine that it was taken from",
                first.called(),
                other.called()
            ),
        },
    }
}

/// How firmware names the machine that it boots. What it does not tell, or what tells no machine from another, is `None`.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub uuid: Option<SmbiosUuid>,
    pub serial: Option<String>,
    /// Of the card that it boots by.
    pub mac: Option<Mac>,
}

impl Asked {
    /// All by which the machine may be known.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        keys.extend(self.uuid.map(Key::Uuid));
        keys.extend(self.serial.clone().map(Key::Serial));
        keys.extend(self.mac.map(Key::Mac));
        keys
    }
}

/// How well `machine` fits what firmware says that it boots, the more the better; `None`: it is another machine. One that
/// is not retired goes before one that is.
///
/// Less strict than a report: whoever has the card, and nothing of whose firmware agrees or differs, is it. Nothing but
/// the netboot image follows from a mistake.
pub fn fits(asked: &Asked, machine: &Machine) -> Option<impl Ord + use<>> {
    let known = &machine.hardware;
    let uuid = match (asked.uuid, known.uuid) {
        (Some(told), Some(known)) => Some(told == known || told == swapped(known)),
        _ => None,
    };
    let serial = agree(asked.serial.as_ref(), known.serial.as_ref());
    let has = |mac: &Mac| known.interfaces.iter().any(|it| it.mac == *mac);
    let mac = asked.mac.as_ref().map(has);
    let (agrees, differs) = (
        uuid == Some(true) || serial == Some(true),
        uuid == Some(false) || serial == Some(false),
    );
    let fits = match mac {
        Some(true) => agrees || !differs,
        Some(false) => uuid == Some(true) && serial == Some(true),
        None => agrees && !differs,
    };
    let of = |agrees: Option<bool>| agrees == Some(true);
    fits.then(|| {
        (
            machine.state != State::Retired,
            of(mac),
            of(uuid),
            of(serial),
        )
    })
}

/// As firmware older than SMBIOS 2.6 has it: the first three fields in the other order of bytes (SMBIOS 3.7, 7.2.1).
fn swapped(uuid: SmbiosUuid) -> SmbiosUuid {
    SmbiosUuid::from_bytes(uuid.to_bytes_le())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use photon_resource::Mac;
    use proptest::prelude::*;
    use uuid::Uuid;

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
}
