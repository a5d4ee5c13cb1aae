//! Tunnels between hosts: a VXLAN device (RFC 7348) in each subnet's bridge, and all that it and the bridge must know of the
//! ports elsewhere.
//!
//! Nothing is learnt from what comes and nothing is flooded, so that what does not stand here does not leave the host:
//! a MAC leads to one host, and who asks for the neighbour at an address is answered by the bridge. Broadcast and multicast
//! stay on their host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use photon_host::forwarding::Entry;
use photon_host::links::{BridgePort, Vxlan};

use super::desired::{Desired, RemotePort, Subnet, Tunnel};

/// UDP port of VXLAN (IANA; RFC 7348 section 5).
pub const PORT: u16 = 4789;

/// What a frame of Ethernet over IPv4 costs beside its packet, in bytes: outer IPv4 (20), UDP (8), VXLAN (8), inner Ethernet
/// (14). RFC 7348 section 5.
pub const OVERHEAD: u32 = 50;

/// How the bridge treats its tunnel.
pub const BRIDGE_PORT: BridgePort = BridgePort {
    learning: false,
    unicast_flood: false,
    multicast_flood: false,
    neighbour_suppression: true,
};

/// The device as it should be.
pub fn device(tunnel: &Tunnel) -> Vxlan {
    Vxlan {
        vni: tunnel.vni,
        local: Some(tunnel.local),
        port: PORT,
        learning: false,
    }
}

/// What all bridges and tunnels are told.
pub fn entries(desired: &Desired) -> BTreeSet<Entry> {
    let subnets = desired.vpcs.iter().flat_map(|vpc| &vpc.subnets);
    let remote = subnets.flat_map(|subnet| {
        let ports = subnet.remote_ports.iter();
        ports.flat_map(|port| of(subnet, port))
    });
    remote.collect()
}

/// The host's kernel routes to guests of other hosts by the same neighbours: it can't find them itself, for they answer to
/// the gateway's MAC, which is that of the bridge on their own host.
fn of(subnet: &Subnet, port: &RemotePort) -> Vec<Entry> {
    let mac = port.mac.octets();
    let device = subnet.vxlan();
    let mut entries = vec![
        Entry::Tunnel {
            device: device.clone(),
            mac,
            to: port.host,
        },
        Entry::Port { device, mac },
    ];
    let mut addresses = vec![IpAddr::V4(port.address)];
    if let Some(address) = port.address6 {
        addresses.extend([address, port.mac.link_local()].map(IpAddr::V6));
    }
    entries.extend(addresses.into_iter().map(|address| Entry::Neighbour {
        device: subnet.bridge(),
        address,
        mac,
    }));
    entries
}
