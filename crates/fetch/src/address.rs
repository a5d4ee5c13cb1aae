//! Which addresses a tenant's URL may lead to.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;

/// What is not of the internet: IANA's registries of special-purpose addresses (RFC 6890), multicast, and what is not
/// given out. `modules/units/photon-fetch@.service` forbids the same to the program.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    // Of IPv6, only 2000::/3 is given out.
    "::/3",
    "4000::/2",
    "8000::/1",
    // With what stands for other addresses: Teredo and 6to4.
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
];

static SPECIAL_NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = SPECIAL.iter().map(|network| network.parse());
    networks
        .collect::<Result<_, _>>()
        .expect("a table of networks, which a test reads")
});

/// Where downloads may go: the internet, and what the operator allows beside it.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    allowed: Arc<[IpNet]>,
}

impl Reach {
    /// The internet and these networks.
    pub fn with(allowed: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
        }
    }

    /// Whether an address is within reach.
    pub fn has(&self, address: IpAddr) -> bool {
        // ::ffff:10.0.0.1 is 10.0.0.1.
        let address = match address {
            IpAddr::V6(address) => mapped(address),
            address => address,
        };
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        within(&self.allowed) || !within(&SPECIAL_NETWORKS)
    }
}

fn mapped(address: Ipv6Addr) -> IpAddr {
    address
        .to_ipv4_mapped()
        .map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_is_within_reach_and_the_cloud_is_not() {
        let reach = Reach::default();
        for public in [
            "1.1.1.1",
            "151.101.2.132",
            "2606:4700::1111",
            "2a04:4e42::644",
        ] {
            assert!(reach.has(public.parse().unwrap()), "{public}");
        }
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2002:a00:1::",
            "2001:0:a00:1::",
        ];
        for address in special {
            assert!(!reach.has(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_operator_allows_a_network_of_his_own() {
        let reach = Reach::with(["10.20.0.0/16".parse().unwrap()]);
        assert!(reach.has("10.20.3.4".parse().unwrap()));
        assert!(reach.has("::ffff:10.20.3.4".parse().unwrap()));
        assert!(!reach.has("10.21.0.1".parse().unwrap()));
    }

    #[test]
    fn the_unit_forbids_the_same() {
        let unit = include_str!("../../../modules/units/photon-fetch@.service");
        let denied: Vec<&str> = unit
            .lines()
            .filter_map(|line| line.strip_prefix("IPAddressDeny="))
            .flat_map(str::split_whitespace)
            .collect();
        assert_eq!(denied, SPECIAL);
    }
}
