//! A host, as the others reach it.

use std::net::Ipv4Addr;

use photon_resource::{ResourceName, Scope};

use super::kind;

/// A host with an end of the tunnels that carry VPCs from host to host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Its end: the address in its certificate.
    pub tunnel_address: Ipv4Addr,
}

impl Node {
    pub fn resource_name(name: &str) -> ResourceName {
        kind::NODES.name(Scope::System, name)
    }
}
