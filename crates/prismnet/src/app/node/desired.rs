//! What should exist on a host, as the inventory has it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use flaredb::Revision;
use photon_resource::SecurityGroupId;

use super::peerings::DesiredPeering;
use super::routes::DesiredRoute;
use crate::model::{ExternalNetwork, FloatingIp, NatGateway, Port, Rule, Subnet, Vpc};

/// What should exist on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct Desired<'a> {
    pub revision: Revision,
    /// The host's end of the tunnels; `None`: it has none.
    pub tunnel_address: Option<Ipv4Addr>,
    /// Only those with a port or their gateway on the host, and those that have a peering with one that has a port there, in
    /// the order of their ids.
    pub vpcs: Vec<DesiredVpc<'a>>,
    /// Those that are on the host, in the order of their ids.
    pub gateways: Vec<DesiredGateway<'a>>,
    /// Those of VPCs with a port on the host, in the order of the ids of the sides that asked.
    pub peerings: Vec<DesiredPeering<'a>>,
}

/// A NAT gateway on its host.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredGateway<'a> {
    pub gateway: &'a NatGateway,
    pub vpc: &'a Vpc,
    pub network: &'a ExternalNetwork,
    /// Of ports of the VPC, in the order of their addresses.
    pub floating_ips: Vec<&'a FloatingIp>,
}

/// A VPC's segment to its gateway, on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct Transit<'a> {
    pub gateway: &'a NatGateway,
    /// The end of the tunnels of the gateway's host; `None`: it is this host.
    pub elsewhere: Option<Ipv4Addr>,
}

/// A VPC on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredVpc<'a> {
    pub vpc: &'a Vpc,
    /// All: the host routes between them itself.
    pub subnets: Vec<DesiredSubnet<'a>>,
    /// Those of the host's ports, and those that their rules name.
    pub groups: Vec<DesiredGroup<'a>>,
    /// The way to its gateway; `None`: it has none, or none that this host reaches, or it is here for a peering alone.
    pub transit: Option<Transit<'a>>,
    /// In the order of their ids.
    pub routes: Vec<DesiredRoute<'a>>,
}

/// A subnet on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredSubnet<'a> {
    pub subnet: &'a Subnet,
    /// Those attached on the host.
    pub ports: Vec<&'a Port>,
    /// Those on other hosts, with these hosts' ends of the tunnels. None if this host has no end itself.
    pub remote_ports: Vec<(&'a Port, Ipv4Addr)>,
}

/// A security group as a host needs it.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredGroup<'a> {
    pub id: SecurityGroupId,
    /// Empty for a group that no port of the host has and only a rule names.
    pub rules: &'a [Rule],
    /// Addresses of all ports of the group in this VPC, on any host or none. A port of another VPC that has the
    /// group is no member here: its address means something else in this routing domain.
    pub members: BTreeSet<IpAddr>,
}
