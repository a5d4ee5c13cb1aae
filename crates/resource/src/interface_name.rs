//! Names of network interfaces on a host: two letters and 11 hex digits, 13 characters (the kernel allows
//! 15, `IFNAMSIZ` less the terminator).

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{PortId, SubnetId, VpcId};

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
        ];
        for name in &names {
            assert_eq!(name.len(), 13, "{name}");
        }
        assert_eq!(names[0][2..], names[3][2..]);
    }
}
