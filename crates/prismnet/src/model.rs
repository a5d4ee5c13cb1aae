//! The domain's types: what a VPC, a subnet, a port and a security group are, and the rules that one of them
//! alone must keep. Nothing here knows of wire or store.

mod cidr;
mod mac;
mod meta;
mod port;
mod security_group;
mod subnet;
mod vpc;

pub use cidr::{parse_subnet_cidr, parse_subnet_ipv6_cidr, parse_vpc_cidr, parse_vpc_ipv6_cidr};
pub use mac::Mac;
pub use meta::{Changes, Labels, Meta, NewMeta};
pub use port::{
    Attachment, DeviceType, NewAttachment, NewPort, Port, PortChanges, PortStatus,
    validate_device_id, validate_node,
};
pub use security_group::{
    DEFAULT_GROUP, Direction, MAX_RULES, NewRule, NewSecurityGroup, PortRange, Remote, Rule,
    SecurityGroup, Traffic,
};
pub use subnet::{Ipv6Subnet, NewSubnet, Subnet, SubnetChanges, validate_dns_servers};
pub use vpc::{NewVpc, Vpc};

/// Types of resources as they stand in resource names and policies.
pub mod kind {
    /// Virtual private clouds.
    pub const VPCS: &str = "vpcs";
    /// Subnets.
    pub const SUBNETS: &str = "subnets";
    /// Ports.
    pub const PORTS: &str = "ports";
    /// Security groups.
    pub const SECURITY_GROUPS: &str = "securityGroups";
    /// Hosts.
    pub const NODES: &str = "nodes";
}
