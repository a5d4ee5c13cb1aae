//! Names of addresses (RFC 1035 section 3.5, RFC 3596 section 2.5), and which zones they are in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use ipnet::IpNet;

/// How many zones a network may be made of: a public IPv4 network whose prefix ends one bit after an octet.
const MOST_ZONES: usize = 128;

/// What is nobody's on the Internet, so that no question about it may leave (RFC 6303 section 4, RFC 6890).
const PRIVATE: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "fd00::/8",
    "fe80::/10",
    "::/127",
];

/// The zones of addresses that are nobody's on the Internet.
pub fn private() -> impl Iterator<Item = Name> {
    let networks = PRIVATE.iter().filter_map(|text| text.parse::<IpNet>().ok());
    // 172.16.0.0/12 is sixteen, each a zone of its own.
    let sixteen = (16..32).map(|n| IpNet::new_assert(Ipv4Addr::new(172, n, 0, 0).into(), 16));
    let hundred = (64..128).map(|n| IpNet::new_assert(Ipv4Addr::new(100, n, 0, 0).into(), 16));
    networks.chain(sixteen).chain(hundred).flat_map(zones)
}

/// The zones that hold a network's addresses and no others, as far as that can be.
pub fn zones(network: IpNet) -> Vec<Name> {
    match network {
        IpNet::V4(network) => {
            let aligned = network.prefix_len().div_ceil(8).max(1) * 8;
            let Ok(parts) = network.subnets(aligned.min(32)) else {
                return Vec::new();
            };
            let name = |part: ipnet::Ipv4Net| labels(part.network().into(), aligned / 8);
            parts.take(MOST_ZONES).filter_map(name).collect()
        }
        IpNet::V6(network) => {
            let aligned = network.prefix_len().div_ceil(4).max(1) * 4;
            let Ok(parts) = network.subnets(aligned.min(128)) else {
                return Vec::new();
            };
            let name = |part: ipnet::Ipv6Net| labels(part.network().into(), aligned / 4);
            parts.take(MOST_ZONES).filter_map(name).collect()
        }
    }
}

/// The name of an address.
pub fn name(address: IpAddr) -> Option<Name> {
    labels(address, if address.is_ipv4() { 4 } else { 32 })
}

/// The name of the first `count` octets or half octets of an address.
fn labels(address: IpAddr, count: u8) -> Option<Name> {
    let (mut labels, end) = match address {
        IpAddr::V4(address) => (octets(address), "in-addr"),
        IpAddr::V6(address) => (half_octets(address), "ip6"),
    };
    labels.truncate(count.into());
    labels.reverse();
    let text = format!("{}.{end}.arpa.", labels.join("."));
    Name::from_ascii(text).ok()
}

fn octets(address: Ipv4Addr) -> Vec<String> {
    address.octets().iter().map(u8::to_string).collect()
}

fn half_octets(address: Ipv6Addr) -> Vec<String> {
    let octets = address.octets();
    let halves = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    halves.map(|half| format!("{half:x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(network: &str) -> Vec<String> {
        let zones = zones(network.parse().unwrap());
        zones.iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn addresses_have_names_in_reverse() {
        let v4 = name("10.1.2.3".parse().unwrap()).unwrap();
        assert_eq!(v4.to_ascii(), "3.2.1.10.in-addr.arpa.");
        let v6 = name("fd00:1::2".parse().unwrap()).unwrap();
        assert_eq!(
            v6.to_ascii(),
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."
        );
    }

    #[test]
    fn a_network_has_the_zones_of_its_addresses() {
        assert_eq!(texts("10.0.0.0/8"), ["10.in-addr.arpa."]);
        assert_eq!(texts("10.1.2.0/24"), ["2.1.10.in-addr.arpa."]);
        assert_eq!(
            texts("198.18.4.0/23"),
            ["4.18.198.in-addr.arpa.", "5.18.198.in-addr.arpa."]
        );
        assert_eq!(texts("10.1.2.16/28").len(), 16);
        assert_eq!(texts("fd00::/8"), ["d.f.ip6.arpa."]);
        assert_eq!(
            texts("fd00:1:2:3::/64"),
            ["3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."]
        );
        let private: Vec<String> = private().map(|name| name.to_ascii()).collect();
        for zone in [
            "10.in-addr.arpa.",
            "31.172.in-addr.arpa.",
            "8.e.f.ip6.arpa.",
        ] {
            assert!(private.contains(&zone.to_owned()), "{zone}: {private:?}");
        }
    }
}
