//! What a machine is made of, and by what it is known again.

use std::fmt;

use uuid::Uuid;

use photon_resource::{Mac, is_hidden};

/// How many interfaces of a machine are kept.
pub const MOST_INTERFACES: usize = 64;
/// By how many of its MAC addresses a machine is found: with all that is read and written for each, a change stays
/// within what one transaction may ([`flaredb::MAX_OPS`]).
const MOST_MAC_KEYS: usize = 24;
/// How many characters of any text that a machine tells are kept.
const LONGEST_TEXT: usize = 128;

/// What firmware says where its maker has filled in nothing: such a value does not tell a machine from others. This is
/// the only such list, and a help: what is not in it shows itself ([`crate::identify`]). It only grows, or a stored
/// machine would be contradicted by its own report.
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
    "default_string",
    "$(default_string)",
    "enter serial",
    "serialnumber",
    "serial number",
    "to be filled by oem",
    "type1productserial",
    "01234567890123456789ab",
];

/// UUIDs that boards without one of their own are known to show.
const SHARED_UUIDS: &[&str] = &[
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
];

/// The UUID of a machine's firmware, which is not its id here.
pub type SmbiosUuid = Uuid;

/// What a machine says that it is made of, checked and cut to size. Not proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// `None`: it has none that tells it from others.
    pub serial: Option<String>,
    /// `None`: it has none that tells it from others.
    pub uuid: Option<SmbiosUuid>,
    pub manufacturer: String,
    pub product: String,
    pub cpus: u32,
    pub memory_mib: u64,
    pub interfaces: Vec<Interface>,
    pub disks: Vec<Disk>,
    /// The public key of its netboot image's SSH server, one line; empty: not told.
    pub ssh_host_key: String,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mac: Mac,
    pub up: bool,
    pub speed_mbps: u32,
    /// It hangs at USB, as the card that a BMC shows its host: in every server of a model that one may have the same
    /// address.
    pub usb: bool,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub device: String,
    pub size_bytes: u64,
    pub model: String,
    pub serial: String,
    pub rotational: bool,
}

/// Something by which a machine is known again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Its firmware's UUID.
    Uuid(SmbiosUuid),
    /// Its serial number.
    Serial(String),
    /// One of its MAC addresses.
    Mac(Mac),
}

impl Hardware {
    /// All by which it is known again, the most telling first.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::with_capacity(2 + self.interfaces.len());
        keys.extend(self.uuid.map(Key::Uuid));
        keys.extend(self.serial.clone().map(Key::Serial));
        let mut macs: Vec<Key> = self.macs().map(Key::Mac).collect();
        macs.sort();
        macs.dedup();
        macs.truncate(MOST_MAC_KEYS);
        keys.extend(macs);
        keys
    }

    /// The MAC addresses by which it is known again: without those at USB, if it has others.
    pub fn macs(&self) -> impl Iterator<Item = Mac> {
        let only_usb = self.interfaces.iter().all(|it| it.usb);
        let interfaces = self.interfaces.iter();
        let telling = interfaces.filter(move |it| only_usb || !it.usb);
        telling.map(|it| it.mac)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Key::Serial(serial) => write!(f, "serial number '{serial}'"),
            Key::Mac(mac) => write!(f, "MAC address {mac}"),
        }
    }
}

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

/// One line, without hidden characters, cut to size.
pub fn plain(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| if is_hidden(c) { ' ' } else { c })
        .take(LONGEST_TEXT)
        .collect();
    kept.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
