//! A NAT gateway: the way out of one VPC.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use photon_resource::{Error, ExternalNetworkId, Meta, NatGatewayId, NewMeta, VpcId};

/// As many addresses as one gateway may have.
const ADDRESSES: RangeInclusive<usize> = 1..=8;

/// A NAT gateway. A VPC has at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatGateway {
    pub id: NatGatewayId,
    pub meta: Meta,
    pub vpc_id: VpcId,
    pub external_network_id: ExternalNetworkId,
    /// What guests come from who have no floating IP. Never empty.
    pub addresses: Vec<Ipv4Addr>,
    /// VXLAN network identifier of the segment between the VPC's hosts and the gateway's; unique in the cloud.
    pub transit_vni: u32,
}

/// A NAT gateway to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNatGateway {
    pub meta: NewMeta,
    /// Id or name of the VPC.
    pub vpc: String,
    /// Id or name of the external network; empty: the only one.
    pub external_network: String,
    /// How many addresses it takes.
    pub address_count: usize,
}

impl NewNatGateway {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.meta.validate()?;
        if !ADDRESSES.contains(&self.address_count) {
            let expected = format!("{} to {}, or 0 for one", ADDRESSES.start(), ADDRESSES.end());
            let given = self.address_count;
            return Err(Error::invalid("address_count", given, expected));
        }
        Ok(())
    }
}
