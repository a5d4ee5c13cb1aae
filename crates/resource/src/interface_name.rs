//! Names of network interfaces on a host: two letters and 11 hex digits, 13 characters (the kernel allows
//! 15, `IFNAMSIZ` less the terminator).

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{ExternalNetworkId, NatGatewayId, PeeringId, PortId, SubnetId, VpcId};

fn name(prefix: &str, id: Uuid) -> String {
    let digest = Sha256::digest(id.as_bytes());
    let mut name = format!("{prefix}{}", hex::encode(&digest[..6]));
    name.truncate(prefix.len() + 11);
    name
}

/// The VRF of a VPC.
pub fn vrf_name(vpc: VpcId) -> String {
    name("pv", vpc.uuid())
}

/// The bridge of a subnet.
pub fn bridge_name(subnet: SubnetId) -> String {
    name("pb", subnet.uuid())
}

/// The VXLAN device of a subnet.
pub fn vxlan_name(subnet: SubnetId) -> String {
    name("px", subnet.uuid())
}

/// The TAP of a port.
pub fn tap_name(port: PortId) -> String {
    name("pt", port.uuid())
}

/// The network namespace of a NAT gateway.
pub fn gateway_namespace(gateway: NatGatewayId) -> String {
    name("pn", gateway.uuid())
}

/// The host's end of a NAT gateway's leg in its VPC.
pub fn inside_name(gateway: NatGatewayId) -> String {
    name("pi", gateway.uuid())
}

/// The host's end of a NAT gateway's leg in the external network.
pub fn outside_name(gateway: NatGatewayId) -> String {
    name("po", gateway.uuid())
}

/// The bridge of an external network.
pub fn external_bridge_name(network: ExternalNetworkId) -> String {
    name("pe", network.uuid())
}

/// The end of a peering in the VPC of one of its sides.
pub fn peering_name(side: PeeringId) -> String {
    name("pr", side.uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_by_kind() {
        let uuid = Uuid::new_v4();
        let names = [
            vrf_name(uuid.into()),
            bridge_name(uuid.into()),
            vxlan_name(uuid.into()),
            tap_name(uuid.into()),
            gateway_namespace(uuid.into()),
            inside_name(uuid.into()),
            outside_name(uuid.into()),
            external_bridge_name(uuid.into()),
            peering_name(uuid.into()),
        ];
        for name in &names {
            assert_eq!(name.len(), 13, "{name}");
        }
        assert_eq!(names[0][2..], names[3][2..]);
    }
}
