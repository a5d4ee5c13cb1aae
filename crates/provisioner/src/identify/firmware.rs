//! Which machine it is that firmware boots.

use photon_resource::Mac;

use super::agree;
use crate::model::{Key, Machine, SmbiosUuid, State};

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
pub(super) fn swapped(uuid: SmbiosUuid) -> SmbiosUuid {
    SmbiosUuid::from_bytes(uuid.to_bytes_le())
}
