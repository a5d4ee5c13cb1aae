//! What this host should answer, understood: every value here has been read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
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
    /// Whose addresses have names in the VPC alone.
    pub networks: Vec<IpNet>,
    /// Names below the suffix, and their addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Domains of the VPC's project.
    pub zones: Vec<Zone>,
}

/// A domain and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Without a dot at the end.
    pub name: String,
    pub record_sets: Vec<RecordSet>,
}

/// The records of one name and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// Below the zone's; empty: the zone's own.
    pub name: String,
    /// The type's number in DNS.
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    /// As DNS carries it.
    pub values: Vec<Vec<u8>>,
}
