//! Ethernet addresses, in whatever spelling firmware, kernels and people use.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::Error;

/// The Ethernet address of one interface: of a machine, of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The first three octets of the addresses of tenants' ports: locally administered, unicast, and known in the
    /// field as the prefix of cloud ports.
    pub const PREFIX: [u8; 3] = [0xfa, 0x16, 0x3e];

    /// A port's address: [`Self::PREFIX`] and the low 24 bits of `tail`.
    pub const fn generated(tail: u32) -> Self {
        let [_, a, b, c] = tail.to_be_bytes();
        Self([Self::PREFIX[0], Self::PREFIX[1], Self::PREFIX[2], a, b, c])
    }

    /// The six octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address that a host with this MAC gives itself in `network` (a /64: its last 64 bits don't count): modified
    /// EUI-64, RFC 4291 appendix A.
    pub fn ipv6_in(self, network: Ipv6Addr) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let interface = u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
        let prefix = u128::from(network) & !u128::from(u64::MAX);
        Ipv6Addr::from(prefix | u128::from(interface))
    }

    /// The link-local address that an interface with this MAC has.
    pub fn link_local(self) -> Ipv6Addr {
        self.ipv6_in(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0))
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Mac {
    type Err = Error;

    /// `52:54:00:12:34:56`, `52-54-00-12-34-56`, `5254.0012.3456`, `525400123456`, and pxelinux's
    /// `01-52-54-00-12-34-56` (01: Ethernet, RFC 826), in either case.
    ///
    /// Errors: `InvalidArgument`, also for an address that is no single interface's: a group's (IEEE 802: the low bit
    /// of the first octet) or all zeros.
    fn from_str(text: &str) -> Result<Self, Error> {
        octets(text)
            .filter(|octets| octets[0] & 1 == 0 && *octets != [0; 6])
            .map(Self)
            .ok_or_else(|| {
                Error::invalid(
                    "mac",
                    text,
                    "the address of one interface, such as 52:54:00:12:34:56, 52-54-00-12-34-56 or 5254.0012.3456",
                )
            })
    }
}

fn octets(text: &str) -> Option<[u8; 6]> {
    let (separator, group) = match text.bytes().find(|byte| b":-.".contains(byte)) {
        None => (None, 12),
        Some(b'.') => (Some('.'), 4),
        Some(byte) => (Some(char::from(byte)), 2),
    };
    let mut groups: Vec<&str> = match separator {
        None => vec![text],
        Some(separator) => text.split(separator).collect(),
    };
    if separator == Some('-') && groups.len() == 7 && groups[0] == "01" {
        groups.remove(0);
    }
    if groups.len() * group != 12 {
        return None;
    }
    let mut octets = [0; 6];
    let mut at = 0;
    for text in groups {
        if text.len() != group || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for pair in text.as_bytes().chunks(2) {
            // Two ASCII hex digits, checked above.
            octets[at] = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            at += 1;
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_spellings_are_one_address() {
        for text in [
            "52:54:00:ab:cd:ef",
            "52:54:00:AB:CD:EF",
            "52-54-00-ab-cd-ef",
            "01-52-54-00-ab-cd-ef",
            "5254.00ab.cdef",
            "525400ABCDEF",
        ] {
            let mac: Mac = text.parse().unwrap();
            assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef", "{text}");
        }
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:01",
            "52:54:00:ab:cd:e",
            "52:54-00:ab:cd:ef",
            "02-52-54-00-ab-cd-ef",
            "52:54:00:ab:cd:eg",
            "5254.00ab",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+2:54:00:ab:cd:ef",
        ] {
            let error = text.parse::<Mac>().unwrap_err().to_string();
            assert!(error.contains("52:54:00:12:34:56"), "{text}: {error}");
        }
    }

    #[test]
    fn the_interface_identifier_is_modified_eui_64() {
        let mac: Mac = "fa:16:3e:12:34:56".parse().unwrap();
        assert_eq!(
            mac.ipv6_in("fd00:0:0:7::".parse().unwrap()),
            "fd00::7:f816:3eff:fe12:3456".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!(
            mac.link_local(),
            "fe80::f816:3eff:fe12:3456".parse::<Ipv6Addr>().unwrap()
        );
    }

    proptest! {
        #[test]
        fn a_generated_address_reads_back(tail: u32) {
            let mac = Mac::generated(tail);
            prop_assert!(mac.to_string().starts_with("fa:16:3e:"));
            prop_assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        }

        #[test]
        fn every_spelling_reads_back(octets: [u8; 6], upper: bool) {
            let mut octets = octets;
            octets[0] &= 0xfe;
            prop_assume!(octets != [0; 6]);
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            let by = |size: usize, separator: &str| {
                let groups: Vec<String> = hex.as_bytes().chunks(size)
                    .map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
                groups.join(separator)
            };
            for mut text in [by(2, ":"), by(2, "-"), format!("01-{}", by(2, "-")), by(4, "."), hex.clone()] {
                if upper {
                    text = text.to_uppercase();
                }
                let mac: Mac = text.parse().unwrap();
                prop_assert_eq!(mac.octets(), octets, "{}", text);
                prop_assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
            }
        }

        #[test]
        fn parsing_never_panics(text in "[0-9a-fA-F:.é-]{0,24}") {
            let _ = text.parse::<Mac>();
        }
    }
}
