//! What only PrismNET's server can be told.

use ipnet::Ipv4Net;
use photon_catalog::quota::{Defaults, Quantity};
use photon_program::{ComponentSettings, Invalid};
use photon_resource::Error;

use crate::model::{DEFAULT_CIDR, parse_vpc_cidr};

/// What is counted, and what a project and an organization may have of it.
pub const QUANTITIES: [Quantity; 10] = [
    quantity("vpcs", 20),
    quantity("subnets", 200),
    quantity("ports", 1000),
    quantity("security_groups", 200),
    quantity("security_group_rules", 5000),
    // Elements of the sets in the filter of every host with a port of the group.
    quantity("security_group_cells", 20_000),
    quantity("nat_gateways", 5),
    quantity("floating_ips", 20),
    quantity("routes", 500),
    quantity("peerings", 50),
];

const fn quantity(name: &'static str, per_project: u64) -> Quantity {
    Quantity {
        name,
        per_project: Some(per_project),
        per_organization: 5 * per_project,
    }
}

/// Section `[prismnet]` of the settings file; an unknown key is refused.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What may be of what is counted.
    pub quota: Defaults,
    /// The range of the VPCs that are made as default networks, /8 to /28; those that are there keep theirs.
    pub default_network_cidr: Ipv4Net,
    /// Whether hosts have a resolver at their gateways, as hosts with `flashdns-agent`: devices of subnets without name servers
    /// are told of it.
    pub resolver: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quota: Defaults::default(),
            default_network_cidr: DEFAULT_CIDR,
            resolver: true,
        }
    }
}

impl ComponentSettings for Settings {
    fn validate(&self) -> Result<(), Invalid> {
        self.quota.check("prismnet.quota", &QUANTITIES)?;
        let cidr = self.default_network_cidr.to_string();
        match parse_vpc_cidr(&cidr) {
            Err(Error::InvalidArgument { expected, .. }) => {
                let key = "prismnet.default_network_cidr";
                Err(Invalid::new(key, cidr, expected))
            }
            // Reading a range refuses it in no other way.
            _ => Ok(()),
        }
    }
}
