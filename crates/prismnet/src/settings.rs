//! What only PrismNET's server can be told.

use photon_catalog::quota::{Defaults, Quantity};
use photon_program::{ComponentSettings, Invalid};

/// What is counted, and what a project and an organization may have of it.
pub const QUANTITIES: [Quantity; 6] = [
    quantity("vpcs", 20),
    quantity("subnets", 200),
    quantity("ports", 1000),
    quantity("security_groups", 200),
    quantity("security_group_rules", 5000),
    // Elements of the sets in the filter of every host with a port of the group.
    quantity("security_group_cells", 20_000),
];

const fn quantity(name: &'static str, per_project: u64) -> Quantity {
    Quantity {
        name,
        per_project: Some(per_project),
        per_organization: 5 * per_project,
    }
}

/// Section `[prismnet]` of the settings file; an unknown key is refused.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What may be of what is counted.
    pub quota: Defaults,
}

impl ComponentSettings for Settings {
    fn validate(&self) -> Result<(), Invalid> {
        self.quota.check("prismnet.quota", &QUANTITIES)
    }
}
