//! A host, as the others reach it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use photon_resource::{Error, ResourceName, Scope, validate_resource_name};

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

/// As many external networks as a host may have interfaces in.
const MAX_EXTERNAL: usize = 16;

/// A host with interfaces in external networks: gateways to them may be on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayHost {
    pub name: String,
    /// Names of the external networks, as its operator wrote them.
    pub external_networks: BTreeSet<String>,
}

impl GatewayHost {
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        let all = &self.external_networks;
        if all.len() > MAX_EXTERNAL {
            let given = format!("{} names", all.len());
            let expected = format!("at most {MAX_EXTERNAL}");
            return Err(Error::invalid("external_networks", given, expected));
        }
        all.iter()
            .try_for_each(|name| validate_resource_name("external_networks", name))
    }
}
