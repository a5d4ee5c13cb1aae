//! A subnet of a VPC: a broadcast domain with a gateway.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use photon_resource::{Changes, Error, Meta, NewMeta, SubnetId, VpcId};

use super::Vpc;

/// As many name servers as DHCP gives out: more than resolvers read (`resolv.conf(5)`: three), and the
/// option stays small.
const MAX_DNS_SERVERS: usize = 8;

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: SubnetId,
    pub vpc_id: VpcId,
    pub meta: Meta,
    pub cidr: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub dhcp_enabled: bool,
    pub dns_servers: Vec<IpAddr>,
    pub ipv6: Option<Ipv6Subnet>,
    /// VXLAN network identifier, unique in the cloud: 1 to 2^24 - 1.
    pub vni: u32,
}

/// The IPv6 part of a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Subnet {
    /// A /64.
    pub cidr: Ipv6Net,
    pub gateway: Ipv6Addr,
}

/// A subnet to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubnet {
    pub meta: NewMeta,
    /// Id or name of the VPC.
    pub vpc: String,
    pub cidr: Ipv4Net,
    pub gateway: Ipv4Addr,
    pub dhcp_enabled: bool,
    pub dns_servers: Vec<IpAddr>,
    pub ipv6: Option<Ipv6Subnet>,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetChanges {
    pub common: Changes,
    pub dhcp_enabled: Option<bool>,
    pub dns_servers: Option<Vec<IpAddr>>,
}

impl NewSubnet {
    /// The IPv4 gateway: `text`, or the first host address if empty.
    pub fn parse_gateway(cidr: Ipv4Net, text: &str) -> Result<Ipv4Addr, Error> {
        let first = Ipv4Addr::from(u32::from(cidr.network()) + 1);
        if text.is_empty() {
            return Ok(first);
        }
        let last = Ipv4Addr::from(u32::from(cidr.broadcast()) - 1);
        text.parse()
            .ok()
            .filter(|gateway| (first..=last).contains(gateway))
            .ok_or_else(|| {
                Error::invalid(
                    "gateway",
                    text,
                    format!(
                        "empty, or an address of {cidr} other than its network and broadcast address: {first} to {last}"
                    ),
                )
            })
    }

    /// The IPv6 part: the gateway is `text`, or the first address after the network's own if empty.
    pub fn parse_ipv6(cidr: Option<Ipv6Net>, text: &str) -> Result<Option<Ipv6Subnet>, Error> {
        let Some(cidr) = cidr else {
            if text.is_empty() {
                return Ok(None);
            }
            return Err(Error::invalid(
                "ipv6_gateway",
                text,
                "empty, unless ipv6_cidr is given",
            ));
        };
        let first = Ipv6Addr::from(u128::from(cidr.network()) + 1);
        if text.is_empty() {
            return Ok(Some(Ipv6Subnet {
                cidr,
                gateway: first,
            }));
        }
        // The network's own address is the subnet-router anycast address (RFC 4291, 2.6.1).
        let gateway = text
            .parse()
            .ok()
            .filter(|gateway| cidr.contains(gateway) && *gateway != cidr.network())
            .ok_or_else(|| {
                Error::invalid(
                    "ipv6_gateway",
                    text,
                    format!(
                        "empty, or an address of {cidr} other than {}",
                        cidr.network()
                    ),
                )
            })?;
        Ok(Some(Ipv6Subnet { cidr, gateway }))
    }

    /// Whether the subnet fits into the VPC. Errors: `InvalidArgument` naming the VPC's range.
    pub fn fits(&self, vpc: &Vpc) -> Result<(), Error> {
        if !vpc.cidr.contains(&self.cidr) {
            return Err(Error::invalid(
                "cidr",
                self.cidr,
                format!("a network inside VPC '{}' ({})", vpc.meta.name, vpc.cidr),
            ));
        }
        match (self.ipv6, vpc.ipv6_cidr) {
            (Some(own), None) => Err(Error::invalid(
                "ipv6_cidr",
                own.cidr,
                format!("empty: VPC '{}' has no ipv6_cidr", vpc.meta.name),
            )),
            (Some(own), Some(range)) if !range.contains(&own.cidr) => Err(Error::invalid(
                "ipv6_cidr",
                own.cidr,
                format!("a network inside VPC '{}' ({range})", vpc.meta.name),
            )),
            _ => Ok(()),
        }
    }
}

/// Checks the list of name servers.
pub fn validate_dns_servers(servers: &[IpAddr]) -> Result<(), Error> {
    if servers.len() > MAX_DNS_SERVERS {
        return Err(Error::invalid(
            "dns_servers",
            format!("{} addresses", servers.len()),
            format!("at most {MAX_DNS_SERVERS}"),
        ));
    }
    let mut seen = BTreeSet::new();
    for server in servers {
        let usable =
            !server.is_unspecified() && !server.is_loopback() && !server.is_multicast() && {
                // A broadcast address can't answer.
                *server != IpAddr::V4(Ipv4Addr::BROADCAST)
            };
        if !usable {
            return Err(Error::invalid(
                "dns_servers",
                server,
                "unicast addresses that a guest can reach",
            ));
        }
        if !seen.insert(server) {
            return Err(Error::invalid("dns_servers", server, "each address once"));
        }
    }
    Ok(())
}

impl Subnet {
    /// Whether any address belongs to both.
    pub fn overlaps(&self, cidr: Ipv4Net, ipv6: Option<Ipv6Net>) -> bool {
        let ipv4 = self.cidr.contains(&cidr) || cidr.contains(&self.cidr);
        // All are /64, so they overlap when they are equal.
        ipv4 || matches!((self.ipv6, ipv6), (Some(own), Some(other)) if own.cidr == other)
    }

    /// Reads an asked-for IPv4 address. Errors: `InvalidArgument` when it is no address of the subnet that a
    /// port may have.
    pub fn parse_address(&self, text: &str) -> Result<Ipv4Addr, Error> {
        let wrong = |expected: String| Error::invalid("ip_address", text, expected);
        let address: Ipv4Addr = text
            .parse()
            .map_err(|_| wrong(format!("empty, or an IPv4 address of {}", self.cidr)))?;
        if !self.cidr.contains(&address) {
            return Err(wrong(format!(
                "an address of subnet '{}' ({})",
                self.meta.name, self.cidr
            )));
        }
        let reserved = [
            (self.cidr.network(), "the network's own address"),
            (self.cidr.broadcast(), "the broadcast address"),
            (self.gateway, "the gateway"),
        ];
        match reserved.iter().find(|(taken, _)| *taken == address) {
            Some((_, what)) => Err(wrong(format!(
                "another address of {}: this is {what}",
                self.cidr
            ))),
            None => Ok(address),
        }
    }

    /// Reads an asked-for IPv6 address, as [`Self::parse_address`].
    pub fn parse_ipv6_address(&self, text: &str) -> Result<Ipv6Addr, Error> {
        let wrong = |expected: String| Error::invalid("ipv6_address", text, expected);
        let Some(Ipv6Subnet { cidr, gateway }) = self.ipv6 else {
            return Err(wrong(format!(
                "empty: subnet '{}' has no IPv6",
                self.meta.name
            )));
        };
        let address: Ipv6Addr = text
            .parse()
            .map_err(|_| wrong(format!("empty, or an IPv6 address of {cidr}")))?;
        if !cidr.contains(&address) {
            return Err(wrong(format!(
                "an address of subnet '{}' ({cidr})",
                self.meta.name
            )));
        }
        if address == cidr.network() || address == gateway {
            let what = if address == gateway {
                "the gateway"
            } else {
                "the routers' anycast address"
            };
            return Err(wrong(format!("another address of {cidr}: this is {what}")));
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests;
