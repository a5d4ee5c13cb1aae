//! The network that a project gets without asking for one: a VPC and a subnet, known by their name alone.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use photon_resource::OrgId;

/// What the VPC and the subnet are called.
pub const DEFAULT_NETWORK: &str = "default";

/// The VPC's range, unless the operator says otherwise: as AWS has it, and seldom that of a rack or a home.
pub const DEFAULT_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 0, 0), 16);

/// How large the subnet is, if the VPC is larger: 4,093 ports, and room for 15 more such subnets in a /16.
const PREFIX: u8 = 20;

/// What an organization says of networks in its projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    pub org_id: OrgId,
    /// Whether its projects get a default network.
    pub default_networks: bool,
}

impl NetworkSettings {
    /// As long as nobody has said anything.
    pub fn unsaid(org_id: OrgId) -> Self {
        Self {
            org_id,
            default_networks: true,
        }
    }
}

/// The first part of a VPC's range that a default subnet can have beside others. `None`: there is no room.
pub fn free_range(vpc: Ipv4Net, others: &[Ipv4Net]) -> Option<Ipv4Net> {
    let overlaps = |range: &Ipv4Net| {
        others
            .iter()
            .any(|it| it.contains(range) || range.contains(it))
    };
    // Never fails: the prefix is the VPC's own at least.
    let mut ranges = vpc.subnets(PREFIX.max(vpc.prefix_len())).ok()?;
    ranges.find(|range| !overlaps(range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{parse_subnet_cidr, parse_vpc_cidr};

    #[track_caller]
    fn gets(vpc: &str, others: &[&str], expected: Option<&str>) {
        let others: Vec<Ipv4Net> = others.iter().map(|it| it.parse().unwrap()).collect();
        let range = free_range(vpc.parse().unwrap(), &others);
        assert_eq!(range.map(|it| it.to_string()).as_deref(), expected, "{vpc}");
    }

    #[test]
    fn a_default_subnet_takes_the_first_room_that_there_is() {
        gets("172.31.0.0/16", &[], Some("172.31.0.0/20"));
        gets("172.31.0.0/16", &["172.31.0.0/20"], Some("172.31.16.0/20"));
        gets("172.31.0.0/16", &["172.31.17.8/29"], Some("172.31.0.0/20"));
        gets(
            "172.31.0.0/16",
            &["172.31.15.0/24", "172.31.16.0/23"],
            Some("172.31.32.0/20"),
        );
        gets("172.31.0.0/16", &["172.31.0.0/16"], None);
        gets("10.0.0.0/28", &[], Some("10.0.0.0/28"));
        gets("10.0.0.0/28", &["10.0.0.8/29"], None);
    }

    #[test]
    fn the_default_range_is_one_that_a_tenant_may_have() {
        let vpc = parse_vpc_cidr(&DEFAULT_CIDR.to_string()).unwrap();
        let subnet = free_range(vpc, &[]).unwrap();
        assert_eq!(parse_subnet_cidr(&subnet.to_string()).unwrap(), subnet);
    }
}
