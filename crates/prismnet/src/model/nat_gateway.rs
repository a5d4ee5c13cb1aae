//! A NAT gateway: the way out of one VPC.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use photon_resource::{Error, ExternalNetworkId, Mac, Meta, NatGatewayId, NewMeta, VpcId};

/// As many addresses as one gateway may have.
const ADDRESSES: RangeInclusive<usize> = 1..=8;

/// The segment between the hosts of a VPC and its gateway: a range that no VPC may have (link-local, RFC 3927).
pub const TRANSIT: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 64, 0), 24);
/// The router of every host in it.
pub const TRANSIT_ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 1);
/// The gateway in it.
pub const TRANSIT_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 2);

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

impl NatGateway {
    /// MAC of its leg in the transit segment.
    pub fn inside_mac(&self) -> Mac {
        self.mac(0x02)
    }

    /// MAC of its leg in the external network.
    pub fn outside_mac(&self) -> Mac {
        self.mac(0x06)
    }

    /// From the id, of which these bytes are random: the same on every host. Locally administered, unicast.
    fn mac(&self, first: u8) -> Mac {
        let bytes = self.id.uuid().into_bytes();
        Mac::from([first, bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]])
    }
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
