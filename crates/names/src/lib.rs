//! What the guests of a VPC are answered: its automatic names, their addresses, the zones of its project, what is nobody's.
//!
//! [`Contents`] are what there is, [`View`] is the index that is asked. The agent of each host answers guests from one, and the
//! server tells people by the same what guests get. Pure: no socket, no file, no clock.

mod reverse;
mod view;
mod zone;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

pub use view::{Resolved, View, readable};

/// What there is in a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Whose addresses have names in the VPC alone.
    pub networks: Vec<IpNet>,
    /// Names below the suffix, and their addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Domains of the VPC's project.
    pub zones: Vec<Domain>,
}

/// A domain of a project and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Without a dot at the end.
    pub name: String,
    pub record_sets: Vec<RecordSet>,
}

/// The records of one name and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// Below the domain's; empty: the domain's own.
    pub name: String,
    /// The type's number in DNS.
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    /// As DNS carries it.
    pub values: Vec<Vec<u8>>,
}
