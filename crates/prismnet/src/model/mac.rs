//! Ethernet addresses of ports.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;
use photon_resource::Error;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The first three octets of every generated address: locally administered, unicast, and known in the
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

    /// The address that a host with this MAC gives itself in `net` (a /64): modified EUI-64, RFC 4291
    /// appendix A.
    pub fn ipv6_in(self, net: Ipv6Net) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let interface = u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
        let prefix = u128::from(net.network()) & !u128::from(u64::MAX);
        Ipv6Addr::from(prefix | u128::from(interface))
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

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(
                "mac_address",
                text,
                "six octets in hex such as fa:16:3e:00:00:01",
            )
        };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(wrong)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_interface_identifier_is_modified_eui_64() {
        let mac: Mac = "fa:16:3e:12:34:56".parse().unwrap();
        let net = "fd00:0:0:7::/64".parse().unwrap();
        assert_eq!(
            mac.ipv6_in(net),
            "fd00::7:f816:3eff:fe12:3456".parse::<Ipv6Addr>().unwrap()
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
        fn parsing_never_panics(text in "[0-9a-fA-F:é]{0,20}") {
            let _ = text.parse::<Mac>();
        }
    }
}
