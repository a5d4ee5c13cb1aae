//! Networks that a tenant may use, as a tenant writes them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{Ipv4Net, Ipv6Net};
use photon_resource::Error;

/// IPv4 ranges that no tenant network may touch: they have a meaning of their own on every host
/// (RFC 6890, and 240.0.0.0/4 which Linux does not route).
const IPV4_REFUSED: [(Ipv4Net, &str); 5] = [
    (ipv4(0, 0, 8), "0.0.0.0/8 means 'this network'"),
    (ipv4(127, 0, 8), "127.0.0.0/8 is loopback"),
    (ipv4(169, 254, 16), "169.254.0.0/16 is link-local"),
    (ipv4(224, 0, 4), "224.0.0.0/4 is multicast"),
    (ipv4(240, 0, 4), "240.0.0.0/4 is reserved"),
];

/// IPv6 ranges of which tenant networks may be: unique local and global unicast (RFC 4193, RFC 4291).
const IPV6_ACCEPTED: [Ipv6Net; 2] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3),
];

const fn ipv4(first: u8, second: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), prefix)
}

/// The IPv4 range of a VPC, /8 to /28.
pub fn parse_vpc_cidr(text: &str) -> Result<Ipv4Net, Error> {
    parse_ipv4("cidr", text, 8..=28, "10.0.0.0/16")
}

/// The IPv4 range of a subnet, /8 to /29.
pub fn parse_subnet_cidr(text: &str) -> Result<Ipv4Net, Error> {
    parse_ipv4("cidr", text, 8..=29, "10.0.1.0/24")
}

/// The IPv4 range of an external network, /8 to /30.
pub fn parse_external_cidr(text: &str) -> Result<Ipv4Net, Error> {
    parse_ipv4("cidr", text, 8..=30, "203.0.113.0/24")
}

/// What a route is for: an IPv4 network, /0 to /32.
pub fn parse_destination(text: &str) -> Result<Ipv4Net, Error> {
    let net: Ipv4Net = text.parse().map_err(|_| {
        let expected = "an IPv4 network in CIDR form, /0 to /32, such as 192.168.0.0/16 (IPv6 has no routes yet)";
        Error::invalid("destination", text, expected)
    })?;
    if net.trunc() != net {
        let expected = format!("the network's own address: {}", net.trunc());
        return Err(Error::invalid("destination", text, expected));
    }
    // What is wider may be: the kernel sends nothing to these ranges by it.
    match IPV4_REFUSED
        .iter()
        .find(|(refused, _)| refused.contains(&net))
    {
        Some((_, why)) => {
            let expected = format!("a unicast network such as 192.168.0.0/16; {why}");
            Err(Error::invalid("destination", text, expected))
        }
        None => Ok(net),
    }
}

/// The IPv6 range of a VPC, /32 to /64; `None` if `text` is empty.
pub fn parse_vpc_ipv6_cidr(text: &str) -> Result<Option<Ipv6Net>, Error> {
    parse_ipv6("ipv6_cidr", text, 32..=64, "fd00:1::/48")
}

/// The IPv6 range of a subnet: a /64, which stateless configuration needs (RFC 4862); `None` if `text` is empty.
pub fn parse_subnet_ipv6_cidr(text: &str) -> Result<Option<Ipv6Net>, Error> {
    parse_ipv6("ipv6_cidr", text, 64..=64, "fd00:1:0:1::/64")
}

fn parse_ipv4(
    field: &str,
    text: &str,
    prefixes: RangeInclusive<u8>,
    example: &str,
) -> Result<Ipv4Net, Error> {
    let (low, high) = (*prefixes.start(), *prefixes.end());
    let net: Ipv4Net = text.parse().map_err(|_| {
        Error::invalid(
            field,
            text,
            format!("an IPv4 network in CIDR form, /{low} to /{high}, such as {example}"),
        )
    })?;
    if !prefixes.contains(&net.prefix_len()) {
        return Err(Error::invalid(
            field,
            text,
            format!("a prefix length of /{low} to /{high}"),
        ));
    }
    if net.trunc() != net {
        return Err(Error::invalid(
            field,
            text,
            format!("the network's own address: {}", net.trunc()),
        ));
    }
    for (refused, why) in IPV4_REFUSED {
        if refused.contains(&net) || net.contains(&refused) {
            return Err(Error::invalid(
                field,
                text,
                format!("a unicast network such as {example}; {why}"),
            ));
        }
    }
    Ok(net)
}

fn parse_ipv6(
    field: &str,
    text: &str,
    prefixes: RangeInclusive<u8>,
    example: &str,
) -> Result<Option<Ipv6Net>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let (low, high) = (*prefixes.start(), *prefixes.end());
    let size = if low == high {
        format!("/{low}")
    } else {
        format!("/{low} to /{high}")
    };
    let net: Ipv6Net = text.parse().map_err(|_| {
        Error::invalid(
            field,
            text,
            format!("empty, or an IPv6 network in CIDR form, {size}, such as {example}"),
        )
    })?;
    if !prefixes.contains(&net.prefix_len()) {
        return Err(Error::invalid(
            field,
            text,
            format!("a prefix length of {size}"),
        ));
    }
    if net.trunc() != net {
        return Err(Error::invalid(
            field,
            text,
            format!("the network's own address: {}", net.trunc()),
        ));
    }
    if !IPV6_ACCEPTED.iter().any(|range| range.contains(&net)) {
        return Err(Error::invalid(
            field,
            text,
            format!("a network of fc00::/7 or 2000::/3, such as {example}"),
        ));
    }
    Ok(Some(net))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_networks_are_accepted() {
        for text in ["10.0.0.0/8", "10.0.0.0/16", "192.168.7.16/28", "8.8.8.0/24"] {
            assert_eq!(parse_vpc_cidr(text).unwrap().to_string(), text);
        }
        assert!(parse_subnet_cidr("10.0.0.8/29").is_ok());
        assert_eq!(parse_vpc_ipv6_cidr("").unwrap(), None);
        for text in ["fd00:1::/48", "2001:db8::/32"] {
            assert_eq!(
                parse_vpc_ipv6_cidr(text).unwrap().unwrap().to_string(),
                text
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (
                "",
                "cidr '' is not valid: expected an IPv4 network in CIDR form, /8 to /28, such as 10.0.0.0/16",
            ),
            ("10.0.0.0", "IPv4 network in CIDR form"),
            ("10.0.0.0/33", "IPv4 network in CIDR form"),
            ("fd00::/48", "IPv4 network in CIDR form"),
            ("10.0.0.0/7", "a prefix length of /8 to /28"),
            ("10.0.0.0/29", "a prefix length of /8 to /28"),
            (
                "10.0.0.1/16",
                "cidr '10.0.0.1/16' is not valid: expected the network's own address: 10.0.0.0/16",
            ),
            ("0.0.0.0/8", "this network"),
            ("127.0.0.0/16", "loopback"),
            ("169.254.1.0/24", "link-local"),
            // It holds the link-local range.
            ("169.0.0.0/8", "link-local"),
            ("224.0.0.0/8", "multicast"),
            ("239.1.0.0/16", "multicast"),
            ("255.255.255.0/24", "reserved"),
        ];
        for (text, expected) in cases {
            let error = parse_vpc_cidr(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let cases = [
            ("fd00::/65", "/32 to /64"),
            ("fd00::1/64", "the network's own address: fd00::/64"),
            ("fe80::/64", "fc00::/7 or 2000::/3"),
            ("ff02::/64", "fc00::/7 or 2000::/3"),
            ("::/64", "fc00::/7 or 2000::/3"),
            ("10.0.0.0/16", "IPv6 network"),
        ];
        for (text, expected) in cases {
            let error = parse_vpc_ipv6_cidr(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse_subnet_ipv6_cidr("fd00::/63").is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = parse_vpc_cidr(&text);
            let _ = parse_vpc_ipv6_cidr(&text);
        }

        #[test]
        fn what_is_accepted_is_a_unicast_network(a: u8, b: u8, c: u8, d: u8, prefix in 0u8..40) {
            if let Ok(net) = parse_subnet_cidr(&format!("{a}.{b}.{c}.{d}/{prefix}")) {
                prop_assert!((8..=29).contains(&net.prefix_len()));
                prop_assert_eq!(net.network(), net.addr());
                for address in [net.network(), net.broadcast()] {
                    prop_assert!(!address.is_loopback() && !address.is_multicast());
                    prop_assert!(!address.is_link_local() && !address.is_broadcast());
                    prop_assert!((1..240).contains(&address.octets()[0]));
                }
            }
        }
    }
}
