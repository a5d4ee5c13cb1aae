//! The domain's types: what a VPC, a subnet, a port and a security group are, and the rules that one of them
//! alone must keep. Nothing here knows of wire or store.

mod cidr;
mod default_network;
mod node;
mod port;
mod security_group;
mod subnet;
mod vpc;

pub use cidr::{parse_subnet_cidr, parse_subnet_ipv6_cidr, parse_vpc_cidr, parse_vpc_ipv6_cidr};
pub use default_network::{DEFAULT_CIDR, DEFAULT_NETWORK, NetworkSettings, free_range};
pub use node::Node;
pub use port::{
    Attachment, DeviceType, NewAttachment, NewPort, Port, PortChanges, PortStatus,
    validate_device_id, validate_node,
};
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
    /// What an organization says of networks.
    pub const SETTINGS: Kind = of("settings", "network settings");
    /// Hosts.
    pub const NODES: Kind = of("nodes", "node");
}
