//! What this host should answer, understood: every value here has been read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use photon_names::Contents;
use photon_resource::VpcId;

/// Everything that this host's guests are to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// What all automatic names end with.
    pub suffix: String,
    /// VPCs with a port on this host.
    pub vpcs: BTreeMap<VpcId, Arc<Vpc>>,
}

/// What the guests of a VPC are to be answered, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vpc {
    /// Where they ask.
    pub gateways: Vec<IpAddr>,
    /// What there is.
    pub contents: Contents,
}
