//! What should exist on a host, understood: every value here has been checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use photon_resource::{
    ExternalNetworkId, Mac, NatGatewayId, PeeringId, PortId, SecurityGroupId, SubnetId, VpcId,
};
use photon_resource::{
    bridge_name, external_bridge_name, gateway_namespace, inside_name, outside_name, peering_name,
    tap_name, vrf_name, vxlan_name,
};
use sha2::{Digest, Sha256};

/// Everything that should exist on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The control plane's revision that this is as of.
    pub revision: u64,
    /// VPCs with a port or their gateway on this host, and those that have a peering with one that has a port here.
    pub vpcs: Vec<Vpc>,
    /// NAT gateways that are on this host.
    pub gateways: Vec<Gateway>,
    /// Peerings of VPCs with a port on this host.
    pub peerings: Vec<Peering>,
}

impl Desired {
    /// All ports, with their VPC and subnet.
    pub fn ports(&self) -> impl Iterator<Item = (&Vpc, &Subnet, &Port)> {
        self.vpcs.iter().flat_map(|vpc| {
            vpc.subnets
                .iter()
                .flat_map(move |subnet| subnet.ports.iter().map(move |port| (vpc, subnet, port)))
        })
    }
}

/// A routing domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Routing table of its VRF: of no other VPC on this host.
    pub table: u32,
    /// Conntrack zone of its connections: of no other VPC on this host, see [`zones`].
    pub zone: u16,
    /// Its subnets, also those without a port on this host: it routes to them itself.
    pub subnets: Vec<Subnet>,
    /// The security groups that its ports here are in, and those that their rules name.
    pub groups: BTreeMap<SecurityGroupId, Group>,
    /// Where it sends what is for addresses that are not in its subnets. None is within a subnet.
    pub routes: BTreeMap<Ipv4Net, Way>,
}

/// Two VPCs whose guests reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// The side that asked, and the other.
    pub sides: [PeeringSide; 2],
}

/// One side of a peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeeringSide {
    /// Its id.
    pub id: PeeringId,
    /// Its VPC.
    pub vpc: VpcId,
    /// That VPC's range: it has no address in common with the other side's.
    pub net: Ipv4Net,
}

impl Peering {
    /// The id by which hosts know it.
    pub fn id(&self) -> PeeringId {
        self.sides[0].id
    }
}

impl PeeringSide {
    /// Name of the interface in its VPC.
    pub fn interface(&self) -> String {
        peering_name(self.id)
    }
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the port of this address, on whatever host.
    Port(Ipv4Addr),
    /// To the VPC's NAT gateway.
    NatGateway,
    /// Nowhere.
    Nowhere,
}

impl Vpc {
    /// Name of its VRF.
    pub fn vrf(&self) -> String {
        vrf_name(self.id)
    }
}

/// A conntrack zone for each VPC: not 0, which is the host's own. Zones have 16 bits, so they can't be the
/// VPCs' tables. It depends on the id alone, so that it is the same after a restart, unless two VPCs of a host
/// want the same: then the one with the greater id gets the next free one. Should the other go later, this
/// one's connections are tracked anew, which established TCP survives (`nf_conntrack_tcp_loose`).
pub fn zones(vpcs: &BTreeSet<VpcId>) -> BTreeMap<VpcId, u16> {
    let mut taken = BTreeSet::new();
    vpcs.iter()
        .take(usize::from(u16::MAX))
        .map(|id| {
            let digest = Sha256::digest(id.uuid().as_bytes());
            let mut zone = u16::from_be_bytes([digest[6], digest[7]]).max(1);
            while !taken.insert(zone) {
                zone = zone.checked_add(1).unwrap_or(1);
            }
            (*id, zone)
        })
        .collect()
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its IPv4 network.
    pub net: Ipv4Net,
    /// The router's and DHCP server's address in it.
    pub gateway: Ipv4Addr,
    /// Whether ports get their address by DHCP.
    pub dhcp: bool,
    /// Name servers to give out, IPv4 by DHCP and IPv6 by router advertisement.
    pub dns: Vec<IpAddr>,
    /// Its IPv6 /64 and the router's address in it.
    pub v6: Option<(Ipv6Net, Ipv6Addr)>,
    /// Ports on this host.
    pub ports: Vec<Port>,
    /// How it goes on on other hosts; `None`: it does not.
    pub tunnel: Option<Tunnel>,
    /// Ports on other hosts. None without a tunnel.
    pub remote_ports: Vec<RemotePort>,
    /// Of a VPC's segment to its gateway: the gateway's address in it, by which the VPC reaches what is outside. `None`: it is
    /// a tenant's.
    pub default_via: Option<Ipv4Addr>,
}

/// A subnet's way to other hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// VXLAN network identifier: of no other subnet in the cloud. 24 bits, not 0.
    pub vni: u32,
    /// This host's end.
    pub local: Ipv4Addr,
}

/// A port on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePort {
    /// Its MAC.
    pub mac: Mac,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if its subnet has IPv6.
    pub address6: Option<Ipv6Addr>,
    /// Its host's end of the tunnels.
    pub host: Ipv4Addr,
}

impl Subnet {
    /// Name of its bridge.
    pub fn bridge(&self) -> String {
        bridge_name(self.id)
    }

    /// Name of its tunnel.
    pub fn vxlan(&self) -> String {
        vxlan_name(self.id)
    }

    /// The gateway's MAC: from the subnet's id, so that it is the same on every host and a VM that moves
    /// keeps its neighbour. Locally administered, unicast.
    pub fn gateway_mac(&self) -> Mac {
        let digest = Sha256::digest(self.id.uuid().as_bytes());
        Mac::from([
            0x02, digest[11], digest[12], digest[13], digest[14], digest[15],
        ])
    }
}

/// A NAT gateway on this host: a network namespace with a leg in the VPC's segment to it and one in the external network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its id, which is that of the segment too.
    pub id: NatGatewayId,
    /// Its VPC's network.
    pub inside: Ipv4Net,
    /// The external network.
    pub external: ExternalNetworkId,
    /// Its name, by which the host's interface in it is known.
    pub external_name: String,
    /// The external network's range and router.
    pub outside: Ipv4Net,
    /// See `outside`.
    pub router: Ipv4Addr,
    /// Addresses of guests that have no floating IP. Never empty.
    pub addresses: Vec<Ipv4Addr>,
    /// Floating IPs, and whom they lead to.
    pub floating: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// MAC of the leg inside.
    pub inside_mac: Mac,
    /// MAC of the leg outside.
    pub outside_mac: Mac,
}

impl Gateway {
    /// Name of its namespace, and of its units.
    pub fn namespace(&self) -> String {
        gateway_namespace(self.id)
    }

    /// The segment to it, among its VPC's subnets.
    pub fn transit(&self) -> SubnetId {
        self.id.uuid().into()
    }

    /// The host's end of the leg inside.
    pub fn inside_leg(&self) -> String {
        inside_name(self.id)
    }

    /// The host's end of the leg outside.
    pub fn outside_leg(&self) -> String {
        outside_name(self.id)
    }

    /// The bridge of its external network.
    pub fn external_bridge(&self) -> String {
        external_bridge_name(self.external)
    }

    /// All addresses that it has outside.
    pub fn outside_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let floating = self.floating.keys();
        self.addresses.iter().chain(floating).copied()
    }
}

/// A guest's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its id.
    pub id: PortId,
    /// Its MAC.
    pub mac: Mac,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if its subnet has IPv6.
    pub address6: Option<Ipv6Addr>,
    /// The security groups that filter it.
    pub groups: BTreeSet<SecurityGroupId>,
    /// Whether it may send from its own addresses alone.
    pub source_check: bool,
    /// The unix uid and gid that may open its TAP.
    pub owner: u32,
    /// The largest packet of the device, in bytes. 0: not more than Ethernet's usual 1500.
    pub mtu: u32,
}

impl Port {
    /// Name of its TAP.
    pub fn tap(&self) -> String {
        tap_name(self.id)
    }
}

/// A security group: what its rules allow, and who is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What may come in.
    pub ingress: Vec<Rule>,
    /// What may go out.
    pub egress: Vec<Rule>,
    /// Addresses of all its ports, on any host.
    pub members: BTreeSet<IpAddr>,
}

/// Allows something; what no rule allows is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which protocol.
    pub protocol: Protocol,
    /// Who is on the other side.
    pub remote: Remote,
}

/// A protocol, with the destination ports of those that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Any.
    Any,
    /// TCP to these ports (inclusive).
    Tcp(u16, u16),
    /// UDP to these ports (inclusive).
    Udp(u16, u16),
    /// ICMP with IPv4, ICMPv6 with IPv6.
    Icmp,
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Anybody.
    Any,
    /// Addresses of a network.
    Net(IpNet),
    /// Members of a security group of the VPC.
    Group(SecurityGroupId),
}
