//! The section `[prismnet-agent]`: what a port and a VPC may take of this host (decision 0033), and what its network to
//! other hosts carries.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use photon_program::{ComponentSettings, Invalid};
use serde::Deserialize;

use crate::plan::{
    Egress, FASTEST, Limits, MOST_CONNECTIONS, MOST_NAT_CONNECTIONS, MOST_PACKETS, OVERHEAD,
};
use crate::program::COMPONENT;

/// The least that a tunnel must carry: IPv6's least MTU (RFC 8200 section 5).
const LEAST_MTU: u32 = 1280 + OVERHEAD;
/// The most: what a TAP takes (`drivers/net/tun.c`).
const MOST_MTU: u32 = 65_521;

/// Of limits, 0 is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// What a port may send, and what it may be sent, in bytes per second.
    port_bytes_per_second: u64,
    /// The same, in packets per second.
    port_packets_per_second: u64,
    /// Whether guests have a resolver at their gateways: `flashdns-agent` runs on this host. Guests of subnets without name
    /// servers are told of it.
    resolver: bool,
    /// What a port may ask it, in packets per second.
    port_queries_per_second: u64,
    /// Whether guests are told what they are, at 169.254.169.254: `plasmavmc-metadata` runs on this host.
    metadata: bool,
    /// About how many connections of a VPC this host tracks.
    vpc_connections: u32,
    /// The largest packet that the network between hosts carries, in bytes. Guests' are by 50 smaller. Of all hosts the same.
    underlay_mtu: u32,
    /// The host's interface (or VLAN) in each external network, by that one's name: it is the cloud's alone, and the host has no
    /// address on it. A host with any is one of those that NAT gateways are on.
    external_interfaces: BTreeMap<String, String>,
    /// Networks that no guest reaches by a NAT gateway: the cluster's own.
    protected_networks: BTreeSet<Ipv4Net>,
    /// How many connections one guest may have by a NAT gateway.
    nat_connections: u32,
}

/// Half of what one address can carry to one destination: 65,536 less the ports below 1024, which NAT does not give.
const NAT_CONNECTIONS: u32 = 32_256;

impl Default for Section {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            port_bytes_per_second: limits.port_bytes_per_second,
            port_packets_per_second: limits.port_packets_per_second,
            resolver: limits.resolver,
            port_queries_per_second: limits.port_queries_per_second,
            metadata: limits.metadata,
            vpc_connections: limits.vpc_connections,
            underlay_mtu: 1500,
            external_interfaces: BTreeMap::new(),
            protected_networks: BTreeSet::new(),
            nat_connections: NAT_CONNECTIONS,
        }
    }
}

impl Section {
    /// The largest packet between hosts, in bytes.
    pub fn underlay_mtu(&self) -> u32 {
        self.underlay_mtu
    }

    /// Of NAT gateways.
    pub fn egress(&self) -> Egress {
        Egress {
            interfaces: self.external_interfaces.clone(),
            protected: self.protected_networks.clone(),
            connections: self.nat_connections,
        }
    }

    /// What the plan is made with.
    pub fn limits(&self) -> Limits {
        Limits {
            port_bytes_per_second: self.port_bytes_per_second,
            port_packets_per_second: self.port_packets_per_second,
            resolver: self.resolver,
            port_queries_per_second: self.port_queries_per_second,
            metadata: self.metadata,
            vpc_connections: self.vpc_connections,
            ..Limits::NONE
        }
    }
}

impl ComponentSettings for Section {
    fn validate(&self) -> Result<(), Invalid> {
        for (key, value, most) in [
            ("port_bytes_per_second", self.port_bytes_per_second, FASTEST),
            (
                "port_packets_per_second",
                self.port_packets_per_second,
                MOST_PACKETS,
            ),
            (
                "port_queries_per_second",
                self.port_queries_per_second,
                MOST_PACKETS,
            ),
            (
                "vpc_connections",
                self.vpc_connections.into(),
                MOST_CONNECTIONS.into(),
            ),
            (
                "nat_connections",
                self.nat_connections.into(),
                MOST_NAT_CONNECTIONS.into(),
            ),
        ] {
            if value > most {
                let key = format!("{}.{key}", COMPONENT.name);
                return Err(Invalid::new(key, value, format!("0 to {most}")));
            }
        }
        if !(LEAST_MTU..=MOST_MTU).contains(&self.underlay_mtu) {
            let key = format!("{}.underlay_mtu", COMPONENT.name);
            let expected = format!("{LEAST_MTU} to {MOST_MTU}");
            return Err(Invalid::new(key, self.underlay_mtu, expected));
        }
        let key = format!("{}.external_interfaces", COMPONENT.name);
        let mut taken = BTreeSet::new();
        for interface in self.external_interfaces.values() {
            // It is a part of the name of a file (IFNAMSIZ of linux/if.h, `dev_valid_name` of net/core/dev.c).
            let valid = (1..=15).contains(&interface.len())
                && interface
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !valid || !taken.insert(interface) {
                let expected =
                    "a name of an interface for each external network, such as enp3s0.100";
                return Err(Invalid::new(key, interface, expected));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_can_not_reckon_with_is_refused_by_name() {
        let most = Section {
            port_bytes_per_second: FASTEST,
            port_packets_per_second: MOST_PACKETS,
            resolver: true,
            port_queries_per_second: MOST_PACKETS,
            vpc_connections: MOST_CONNECTIONS,
            underlay_mtu: MOST_MTU,
            nat_connections: MOST_NAT_CONNECTIONS,
            external_interfaces: [("uplink".to_owned(), "enp3s0.100".to_owned())].into(),
            ..Section::default()
        };
        assert_eq!(most.validate(), Ok(()));
        let more = Section {
            port_bytes_per_second: FASTEST + 1,
            ..most.clone()
        };
        let error = more.validate().unwrap_err();
        assert_eq!(error.key, "prismnet-agent.port_bytes_per_second");
        for underlay_mtu in [1329, MOST_MTU + 1] {
            let wrong = Section {
                underlay_mtu,
                ..most.clone()
            };
            let error = wrong.validate().unwrap_err();
            assert_eq!(error.key, "prismnet-agent.underlay_mtu");
        }
        for interface in ["", "a/b", "sixteen-letters-1"] {
            let mut wrong = most.clone();
            wrong.external_interfaces = [("uplink".to_owned(), interface.to_owned())].into();
            let error = wrong.validate().unwrap_err();
            assert_eq!(error.key, "prismnet-agent.external_interfaces");
        }
    }
}
