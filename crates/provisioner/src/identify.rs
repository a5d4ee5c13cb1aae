//! Which of the known machines a report is of.

use crate::model::{Hardware, Key, Machine, MachineId, State};

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

/// Which machine `hardware` is, given who is known (`holders`) under each of its keys.
///
/// A retired machine gives way to one that is not: parts of it may have moved on.
pub fn identify(hardware: &Hardware, holders: &[(Key, &Machine)]) -> Found {
    let active: Vec<&(Key, &Machine)> = holders
        .iter()
        .filter(|(_, machine)| machine.state != State::Retired)
        .collect();
    let Some((_, first)) = active.first() else {
        // Still the machine that was taken out, unless its firmware says otherwise.
        return holders
            .iter()
            .find(|(_, machine)| firmware_contradiction(hardware, machine).is_none())
            .map_or(Found::New, |(_, machine)| Found::Known(machine.id));
    };
    if let Some((key, other)) = active.iter().find(|(_, machine)| machine.id != first.id) {
        let (first_key, _) = active[0];
        let mut machines: Vec<MachineId> = active.iter().map(|(_, machine)| machine.id).collect();
        machines.sort();
        machines.dedup();
        return Found::Contradiction {
            machines,
            reason: format!(
                "a report has the {first_key} of machine '{}' and the {key} of machine '{}': if a part has moved, \
                 retire the machine that it was taken from",
                first.called(),
                other.called()
            ),
        };
    }
    match firmware_contradiction(hardware, first) {
        Some(why) => Found::Contradiction {
            machines: vec![first.id],
            reason: format!(
                "a report has the {} of machine '{}', but {why}: if a part has moved or the mainboard was replaced, \
                 retire that machine",
                active[0].0,
                first.called()
            ),
        },
        None => Found::Known(first.id),
    }
}

/// What the firmware says that is not `machine`'s.
fn firmware_contradiction(hardware: &Hardware, machine: &Machine) -> Option<String> {
    let known = &machine.hardware;
    match (hardware.uuid, known.uuid) {
        (Some(told), Some(known)) if told != known => {
            return Some(format!("UUID {told}, not {known}"));
        }
        _ => {}
    }
    match (&hardware.serial, &known.serial) {
        (Some(told), Some(known)) if told != known => {
            Some(format!("serial number '{told}', not '{known}'"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use photon_resource::Mac;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::Interface;

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
            // Of several, the store's index has the last that took the key.
            let holder = machines
                .iter()
                .rev()
                .find(|machine| machine.hardware.keys().contains(&key));
            holders.extend(holder.map(|machine| (key, machine)));
        }
        identify(report, &holders)
    }

    #[test]
    fn a_machine_is_known_again_by_any_of_its_keys() {
        let machine = known(hardware(1, 1, &[1, 2]));
        let machines = [machine];
        for report in [
            hardware(1, 1, &[1, 2]),
            hardware(0, 0, &[2]),
            hardware(0, 1, &[9]),
            hardware(1, 0, &[9]),
        ] {
            assert_eq!(found(&report, &machines), Found::Known(machines[0].id));
        }
        assert_eq!(found(&hardware(2, 2, &[3]), &machines), Found::New);
        assert_eq!(found(&hardware(0, 0, &[3]), &machines), Found::New);
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
                let machine = machines.iter().find(|machine| machine.id == id).unwrap();
                prop_assert!(firmware_contradiction(&report, machine).is_none());
                let shared = report.keys().into_iter().any(|key| machine.hardware.keys().contains(&key));
                prop_assert!(shared, "known by something");
            }
        }
    }
}
