//! A floating IP: an address of an external network for one port.

use std::net::Ipv4Addr;

use photon_resource::{Error, ExternalNetworkId, FloatingIpId, Meta, NewMeta, PortId, VpcId};

/// An address that a project has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatingIp {
    pub id: FloatingIpId,
    pub meta: Meta,
    pub external_network_id: ExternalNetworkId,
    pub address: Ipv4Addr,
    /// The port that it leads to.
    pub association: Option<Association>,
}

/// The port that has a floating IP. Its address does not change as long as it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association {
    pub port_id: PortId,
    pub vpc_id: VpcId,
    /// The port's address in its VPC.
    pub fixed: Ipv4Addr,
}

/// A floating IP to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFloatingIp {
    pub meta: NewMeta,
    /// Id or name of the external network; empty: the only one.
    pub external_network: String,
    /// Asked-for address as text; empty: any.
    pub address: String,
}

impl NewFloatingIp {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.meta.validate()
    }
}
