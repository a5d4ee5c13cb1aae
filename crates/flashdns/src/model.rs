//! The domain's types: what others keep, as far as names come of it. Nothing here knows of the wire.

use std::net::IpAddr;

use ipnet::IpNet;
use photon_resource::{OrgId, PortId, ProjectId, SubnetId, VmId, VpcId};

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: SubnetId,
    pub vpc_id: VpcId,
    /// IPv4, and IPv6 if it has that.
    pub networks: Vec<IpNet>,
    /// Where guests ask: one for each network.
    pub gateways: Vec<IpAddr>,
}

/// A port that a VM has on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub id: PortId,
    pub vpc_id: VpcId,
    pub vm_id: VmId,
    pub node: String,
    pub addresses: Vec<IpAddr>,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    pub id: VmId,
    pub org_id: OrgId,
    pub project_id: ProjectId,
    pub name: String,
    /// Of its interfaces, in their order.
    pub ports: Vec<PortId>,
}

/// The types of resources.
pub mod kind {
    use photon_resource::Kind;

    /// Hosts.
    pub const NODES: Kind = Kind {
        service: "dns",
        plural: "nodes",
        noun: "node",
    };
}
