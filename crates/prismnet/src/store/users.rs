//! Who uses what, so that nothing is deleted under its users.

use photon_catalog::Users;
use photon_resource::{ExternalNetworkId, SecurityGroupId, SubnetId, VpcId};

/// The subnets of a VPC.
pub fn subnets_of_vpc(vpc: VpcId) -> Users {
    Users::new(format!("vpc-subnet/{vpc}/"), format!("vpc-users/{vpc}"))
}

/// The ports of a subnet.
pub fn ports_of_subnet(subnet: SubnetId) -> Users {
    Users::new(
        format!("subnet-port/{subnet}/"),
        format!("subnet-users/{subnet}"),
    )
}

/// The ports in a security group.
pub fn ports_of_group(group: SecurityGroupId) -> Users {
    Users::new(
        format!("group-port/{group}/"),
        format!("group-users/{group}"),
    )
}

/// The other groups whose rules name a security group.
pub fn rules_of_group(group: SecurityGroupId) -> Users {
    Users::new(
        format!("group-rule/{group}/"),
        format!("group-users/{group}"),
    )
}

/// The NAT gateways with addresses of an external network.
pub fn gateways_on(network: ExternalNetworkId) -> Users {
    Users::new(
        format!("external-gateway/{network}/"),
        format!("external-users/{network}"),
    )
}

/// The floating IPs of an external network.
pub fn floating_ips_of(network: ExternalNetworkId) -> Users {
    Users::new(
        format!("external-floating/{network}/"),
        format!("external-users/{network}"),
    )
}

/// The floating IPs that ports of a VPC have.
pub fn floating_ips_in(vpc: VpcId) -> Users {
    Users::new(
        format!("vpc-floating/{vpc}/"),
        format!("vpc-floating-users/{vpc}"),
    )
}
