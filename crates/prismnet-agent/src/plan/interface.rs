//! Interfaces as they should be, and whether one that is there is so.

use std::collections::BTreeSet;

use ipnet::IpNet;
use photon_host::links::{BridgePort, Kind, Link};
use photon_resource::Mac;

use super::desired::{Port, Subnet, Tunnel, Vpc};
use super::limits::Limits;
use super::peering::End;
use super::{metadata_filter, networkd, tunnel};

/// An interface as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub kind: Kind,
    pub master: Option<String>,
    mac: Option<Mac>,
    addresses: BTreeSet<IpNet>,
    /// `None`: whatever it is.
    bridge_port: Option<BridgePort>,
    mtu: Option<u32>,
}

impl Interface {
    pub fn is(&self, link: &Link) -> bool {
        link.kind == self.kind
            && link.up
            && link.master == self.master
            && (self.addresses.is_subset(&link.addresses) || self.is_alone(link))
            && self.mac.is_none_or(|mac| link.mac == Some(mac.octets()))
            && (self.bridge_port.is_none() || link.bridge_port == self.bridge_port)
            && self.mtu.is_none_or(|mtu| link.mtu == mtu)
    }

    /// Whether nothing is plugged in there: networkd gives a bridge its addresses when it has a carrier. A gateway's comes
    /// when its segment is there, so who waited for the addresses first would wait for ever.
    fn is_alone(&self, link: &Link) -> bool {
        self.kind == Kind::Bridge && !link.carrier
    }
}

/// A VPC's routing domain.
pub(super) fn vrf(vpc: &Vpc, limits: Limits) -> Interface {
    Interface {
        kind: Kind::Vrf { table: vpc.table },
        master: None,
        mac: None,
        addresses: metadata_filter::addresses(limits),
        bridge_port: None,
        mtu: None,
    }
}

/// One end of a peering.
pub(super) fn peering_end(end: &End<'_>, mtu: u32) -> Interface {
    Interface {
        kind: Kind::Other,
        master: Some(end.vpc.vrf()),
        mac: None,
        addresses: IpNet::new(end.address.into(), 31).into_iter().collect(),
        bridge_port: None,
        mtu: Some(networkd::end_mtu(end, mtu)),
    }
}

/// The bridge of an external network.
pub(super) fn external() -> Interface {
    Interface {
        kind: Kind::Bridge,
        master: None,
        mac: None,
        addresses: BTreeSet::new(),
        bridge_port: None,
        mtu: None,
    }
}

/// A port's.
pub(super) fn tap(subnet: &Subnet, port: &Port, mtu: u32) -> Interface {
    Interface {
        kind: Kind::Tun,
        master: Some(subnet.bridge()),
        mac: None,
        addresses: BTreeSet::new(),
        bridge_port: None,
        mtu: networkd::tap_mtu(subnet, port, mtu),
    }
}

/// A subnet's way to other hosts.
pub(super) fn vxlan(bridge: &str, end: &Tunnel, mtu: u32) -> Interface {
    Interface {
        kind: Kind::Vxlan(tunnel::device(end)),
        master: Some(bridge.to_owned()),
        mac: None,
        addresses: BTreeSet::new(),
        bridge_port: Some(tunnel::BRIDGE_PORT),
        mtu: Some(mtu),
    }
}

/// A subnet's bridge.
pub(super) fn segment(vrf: &str, subnet: &Subnet, mtu: u32) -> Interface {
    let mut addresses = BTreeSet::new();
    // Prefix lengths are those of the subnet's own networks.
    addresses.extend(IpNet::new(subnet.gateway.into(), subnet.net.prefix_len()));
    if let Some((net, gateway)) = subnet.v6 {
        addresses.extend(IpNet::new(gateway.into(), net.prefix_len()));
    }
    Interface {
        kind: Kind::Bridge,
        master: Some(vrf.to_owned()),
        mac: Some(subnet.gateway_mac()),
        addresses,
        bridge_port: None,
        mtu: networkd::bridge_mtu(subnet, mtu),
    }
}

/// Whether an interface's name is one that only we give: `photon_resource`'s prefixes and 11 hex digits.
pub(super) fn is_ours(name: &str) -> bool {
    ["pv", "pb", "px", "pt", "pe", "pi", "po", "pr"]
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|rest| {
            rest.len() == 11
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_that_nothing_is_plugged_into_is_not_waited_for() {
        let wanted = Interface {
            addresses: BTreeSet::from(["169.254.64.1/24".parse().unwrap()]),
            ..external()
        };
        let mut link = Link {
            index: 1,
            name: "pb00000000001".into(),
            kind: Kind::Bridge,
            master: None,
            bridge_port: None,
            mtu: 1500,
            mac: None,
            up: true,
            carrier: false,
            addresses: BTreeSet::new(),
        };
        assert!(wanted.is(&link));
        link.carrier = true;
        assert!(!wanted.is(&link));
        link.addresses.clone_from(&wanted.addresses);
        assert!(wanted.is(&link));
    }
}
