//! A virtual private cloud: a routing domain of its own.

use ipnet::{Ipv4Net, Ipv6Net};
use photon_resource::{Meta, NewMeta, VpcId};

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    pub id: VpcId,
    pub meta: Meta,
    pub cidr: Ipv4Net,
    pub ipv6_cidr: Option<Ipv6Net>,
    /// Routing table of its VRF on every host; unique in the cloud.
    pub table: u32,
}

/// A VPC to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVpc {
    pub meta: NewMeta,
    pub cidr: Ipv4Net,
    pub ipv6_cidr: Option<Ipv6Net>,
}
