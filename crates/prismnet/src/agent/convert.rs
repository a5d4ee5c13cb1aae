//! The API's desired state to ours. What is not understood is left out and named: a port that can't be made
//! is reported, a rule that can't be read allows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use photon_api::prismnet::v1 as api;
use photon_resource::{Mac, SecurityGroupId, SubnetId, VmId};

use crate::plan::{Desired, Group, Port, Protocol, Remote, Rule, Subnet, Vpc, zones};

/// Routing tables below are the kernel's and the operator's (`ip-route(8)`: 253 to 255 and names).
const FIRST_TABLE: u32 = 1000;

/// What was understood, and which ports can't be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Understood {
    /// What should exist.
    pub desired: Desired,
    /// Port id as given, and why there will be no such port.
    pub refused: BTreeMap<String, String>,
}

/// Understands a whole desired state.
pub fn desired(message: &api::DesiredNetwork) -> Understood {
    let mut reader = Reader::default();
    let mut vpcs: Vec<Vpc> = message
        .vpcs
        .iter()
        .filter_map(|vpc| {
            let result = reader.vpc(vpc);
            let ports = vpc.subnets.iter().flat_map(|subnet| &subnet.ports);
            reader.refuse(result, ports)
        })
        .collect();
    let zones = zones(&vpcs.iter().map(|vpc| vpc.id).collect());
    vpcs.retain_mut(|vpc| {
        // There is one for each of the first 65535.
        let zone = zones.get(&vpc.id).copied();
        vpc.zone = zone.unwrap_or_default();
        zone.is_some()
    });
    Understood {
        desired: Desired {
            revision: message.revision,
            vpcs,
        },
        refused: reader.refused,
    }
}

#[derive(Default)]
struct Reader {
    refused: BTreeMap<String, String>,
    tables: BTreeSet<u32>,
    names: BTreeSet<String>,
}

fn parse<T: FromStr>(what: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("the control plane sent {what} '{text}', which is not one"))
}

impl Reader {
    /// Passes on what is right, and notes for the ports of what is wrong why there won't be any.
    fn refuse<'a, T>(
        &mut self,
        result: Result<T, String>,
        ports: impl Iterator<Item = &'a api::DesiredPort>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                tracing::warn!("left out of the desired state: {reason}");
                self.refused
                    .extend(ports.map(|port| (port.id.clone(), reason.clone())));
                None
            }
        }
    }

    fn own_name(&mut self, name: String) -> Result<(), String> {
        if self.names.insert(name.clone()) {
            Ok(())
        } else {
            Err(format!("the interface name {name} is taken by another"))
        }
    }

    fn vpc(&mut self, vpc: &api::DesiredVpc) -> Result<Vpc, String> {
        let table = vpc.table;
        if table < FIRST_TABLE {
            return Err(format!(
                "routing table {table} of VPC {} is below {FIRST_TABLE}",
                vpc.id
            ));
        }
        let mut result = Vpc {
            id: parse("VPC id", &vpc.id)?,
            table,
            // Given when all are known.
            zone: 0,
            subnets: Vec::new(),
            groups: vpc.groups.iter().filter_map(group).collect(),
        };
        if !self.tables.insert(table) {
            return Err(format!("routing table {table} belongs to two VPCs"));
        }
        self.own_name(result.vrf())?;
        result.subnets = vpc
            .subnets
            .iter()
            .filter_map(|subnet| {
                let read = self.subnet(subnet);
                self.refuse(read, subnet.ports.iter())
            })
            .collect();
        Ok(result)
    }

    fn subnet(&mut self, subnet: &api::DesiredSubnet) -> Result<Subnet, String> {
        let id: SubnetId = parse("subnet id", &subnet.id)?;
        let net: Ipv4Net = parse("subnet CIDR", &subnet.cidr)?;
        let gateway: Ipv4Addr = parse("gateway", &subnet.gateway)?;
        if !net.contains(&gateway) {
            return Err(format!("gateway {gateway} is not inside {net}"));
        }
        let v6 = if subnet.ipv6_cidr.is_empty() {
            None
        } else {
            let net: Ipv6Net = parse("IPv6 CIDR", &subnet.ipv6_cidr)?;
            let gateway: Ipv6Addr = parse("IPv6 gateway", &subnet.ipv6_gateway)?;
            if net.prefix_len() != 64 || !net.contains(&gateway) {
                return Err(format!(
                    "IPv6 network {net} with gateway {gateway} is no /64 that contains it"
                ));
            }
            Some((net.trunc(), gateway))
        };
        let dns = subnet
            .dns_servers
            .iter()
            .filter_map(|server| {
                server
                    .parse::<IpAddr>()
                    .inspect_err(|_| tracing::warn!(server, "not an address: no name server"))
                    .ok()
            })
            .collect();
        let mut result = Subnet {
            id,
            net: net.trunc(),
            gateway,
            dhcp: subnet.dhcp_enabled,
            dns,
            v6,
            ports: Vec::new(),
        };
        self.own_name(result.bridge())?;
        result.ports = subnet
            .ports
            .iter()
            .filter_map(|port| {
                let read = self.port(&result, port);
                self.refuse(read, std::iter::once(port))
            })
            .collect();
        Ok(result)
    }

    fn port(&mut self, subnet: &Subnet, port: &api::DesiredPort) -> Result<Port, String> {
        let address: Ipv4Addr = parse("port address", &port.ip_address)?;
        if !subnet.net.contains(&address) || address == subnet.gateway {
            return Err(format!(
                "port address {address} is not a host's in {}",
                subnet.net
            ));
        }
        let address6 = match (subnet.v6, port.ipv6_address.as_str()) {
            (None, _) | (_, "") => None,
            (Some((net, _)), text) => {
                let address: Ipv6Addr = parse("IPv6 port address", text)?;
                if !net.contains(&address) {
                    return Err(format!("IPv6 port address {address} is not inside {net}"));
                }
                Some(address)
            }
        };
        let device: VmId = parse("device id", &port.device_id)?;
        let result = Port {
            id: parse("port id", &port.id)?,
            mac: mac(&port.mac_address)?,
            address,
            address6,
            groups: port
                .security_group_ids
                .iter()
                .filter_map(|id| id.parse().ok())
                .collect(),
            owner: device.unix_uid(),
        };
        self.own_name(result.tap())?;
        Ok(result)
    }
}

fn mac(text: &str) -> Result<Mac, String> {
    text.parse()
        .map_err(|_| format!("the control plane sent MAC '{text}', which is not a unicast MAC"))
}

fn group(group: &api::DesiredGroup) -> Option<(SecurityGroupId, Group)> {
    let id: SecurityGroupId = group
        .id
        .parse()
        .inspect_err(|_| tracing::warn!(id = group.id, "not a security group's id"))
        .ok()?;
    let mut result = Group {
        members: group
            .member_addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect(),
        ..Group::default()
    };
    for wire in &group.rules {
        match rule(wire) {
            Some((api::Direction::Ingress, rule)) => result.ingress.push(rule),
            Some((_, rule)) => result.egress.push(rule),
            None => tracing::warn!(
                group = group.id,
                rule = wire.id,
                "rule not understood: it allows nothing"
            ),
        }
    }
    Some((id, result))
}

fn rule(rule: &api::SecurityGroupRule) -> Option<(api::Direction, Rule)> {
    let direction = match rule.direction() {
        api::Direction::Unspecified => return None,
        other => other,
    };
    let ports = match (rule.port_min, rule.port_max) {
        (0, 0) => (0, u16::MAX),
        (low, high) => {
            let (low, high) = (u16::try_from(low).ok()?, u16::try_from(high).ok()?);
            (low <= high).then_some((low, high))?
        }
    };
    let protocol = match rule.protocol() {
        api::Protocol::Unspecified => return None,
        api::Protocol::Any => Protocol::Any,
        api::Protocol::Tcp => Protocol::Tcp(ports.0, ports.1),
        api::Protocol::Udp => Protocol::Udp(ports.0, ports.1),
        api::Protocol::Icmp => Protocol::Icmp,
    };
    let remote = match (rule.remote_cidr.as_str(), rule.remote_group_id.as_str()) {
        ("", "") => Remote::Any,
        (cidr, "") => Remote::Net(cidr.parse::<IpNet>().ok()?),
        ("", group) => Remote::Group(group.parse().ok()?),
        _ => return None,
    };
    Some((direction, Rule { protocol, remote }))
}
