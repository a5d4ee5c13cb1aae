//! The domain's types: what a VPC, a subnet, a port, a security group and the ways out are, and the rules that one of them
//! alone must keep. Nothing here knows of wire or store.

mod cidr;
mod default_network;
mod external_network;
mod floating_ip;
mod nat_gateway;
mod node;
mod peering;
mod port;
mod route;
mod security_group;
mod subnet;
mod vpc;

pub use cidr::{
    parse_destination, parse_external_cidr, parse_subnet_cidr, parse_subnet_ipv6_cidr,
    parse_vpc_cidr, parse_vpc_ipv6_cidr,
};
pub use default_network::{DEFAULT_CIDR, DEFAULT_NETWORK, NetworkSettings, free_range};
pub use external_network::{
    AddressRange, ExternalNetwork, ExternalNetworkChanges, NewExternalNetwork,
};
pub use floating_ip::{Association, FloatingIp, NewFloatingIp};
pub use nat_gateway::{NatGateway, NewNatGateway, TRANSIT, TRANSIT_GATEWAY, TRANSIT_ROUTER};
pub use node::{GatewayHost, Node};
pub use peering::{
    MAX_PEERINGS, NewPeering, OtherSide, Peer, Peering, PeeringState, in_the_way, overlap,
};
pub use port::{
    Attachment, DeviceType, NewAttachment, NewPort, Port, PortChanges, PortStatus,
    validate_device_id, validate_node,
};
pub use route::{DISABLE_SOURCE_CHECK, MAX_ROUTES, NewRoute, NewRouteTarget, Route, RouteTarget};
pub use security_group::{
    DEFAULT_GROUP, Direction, MAX_RULES, NewRule, NewSecurityGroup, PortRange, Remote, Rule,
    SecurityGroup, SecurityGroupChanges, Traffic,
};
pub use subnet::{Ipv6Subnet, NewSubnet, Subnet, SubnetChanges, validate_dns_servers};
pub use vpc::{NewVpc, Vpc};

/// The types of resources.
pub mod kind {
    use photon_resource::Kind;

    const fn of(plural: &'static str, noun: &'static str) -> Kind {
        Kind {
            service: "network",
            plural,
            noun,
        }
    }

    /// Virtual private clouds.
    pub const VPCS: Kind = of("vpcs", "VPC");
    /// Subnets.
    pub const SUBNETS: Kind = of("subnets", "subnet");
    /// Ports.
    pub const PORTS: Kind = of("ports", "port");
    /// Security groups.
    pub const SECURITY_GROUPS: Kind = of("securityGroups", "security group");
    /// Networks beside the cloud.
    pub const EXTERNAL_NETWORKS: Kind = of("externalNetworks", "external network");
    /// Ways out of VPCs.
    pub const NAT_GATEWAYS: Kind = of("natGateways", "NAT gateway");
    /// Addresses of external networks for ports.
    pub const FLOATING_IPS: Kind = of("floatingIps", "floating IP");
    /// VPCs whose guests reach each other.
    pub const PEERINGS: Kind = of("peerings", "peering");
    /// Routes of VPCs.
    pub const ROUTES: Kind = of("routes", "route");
    /// What an organization says of networks.
    pub const SETTINGS: Kind = of("settings", "network settings");
    /// Hosts.
    pub const NODES: Kind = of("nodes", "node");
}
