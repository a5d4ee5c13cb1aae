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

mod firmware;
#[cfg(test)]
mod tests;

use crate::model::{Hardware, Key, Machine, MachineId, State};

pub use firmware::{Asked, fits};

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
