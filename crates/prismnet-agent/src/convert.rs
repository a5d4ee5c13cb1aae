//! The API's desired state to ours. What is not understood is left out and named: a port that can't be made
//! is reported, a rule that can't be read allows nothing.

mod routing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use photon_api::prismnet::v1 as api;
use photon_resource::{Mac, SecurityGroupId, SubnetId, VmId, gateway_namespace};

use crate::plan::{
    Desired, Gateway, Group, Port, Protocol, Remote, RemotePort, Rule, Subnet, Tunnel, Vpc, zones,
};

/// Routing tables below are the kernel's and the operator's (`ip-route(8)`: 253 to 255 and names).
const FIRST_TABLE: u32 = 1000;

/// What was understood, and which ports can't be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What should exist.
    pub desired: Desired,
    /// Which store its revision is of.
    pub store_epoch: String,
    /// Port id as given, and why there will be no such port.
    pub refused: BTreeMap<String, Refused>,
}

/// What a TAP takes: 64 KiB less the Ethernet header (`tun_net_initialize` in drivers/net/tun.c).
const LARGEST_MTU: u32 = 65_521;

/// Why something is not made. The text is also the report to the tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the control plane sent {what} '{text}', which is not one")]
    NotOne { what: &'static str, text: String },
    #[error("routing table {table} of VPC {vpc} is below {FIRST_TABLE}")]
    ReservedTable { table: u32, vpc: String },
    #[error("routing table {0} belongs to two VPCs")]
    TableTaken(u32),
    #[error("the interface name {0} is taken by another")]
    NameTaken(String),
    #[error("gateway {gateway} is not inside {net}")]
    Gateway { gateway: Ipv4Addr, net: Ipv4Net },
    #[error("IPv6 network {net} with gateway {gateway} is no /64 that contains it")]
    Gateway6 { gateway: Ipv6Addr, net: Ipv6Net },
    #[error("port address {address} is not a host's in {net}")]
    Address { address: Ipv4Addr, net: Ipv4Net },
    #[error("IPv6 port address {address} is not inside {net}")]
    Address6 { address: Ipv6Addr, net: Ipv6Net },
    #[error("the VPCs of a peering have addresses in common: {one} and {other}")]
    Overlap { one: Ipv4Net, other: Ipv4Net },
    #[error("MTU {0} is not 1280 to {LARGEST_MTU}")]
    Mtu(u32),
    #[error("the control plane sent MAC '{0}', which is not a unicast MAC")]
    Mac(String),
}

/// Understands a whole desired state.
pub fn parse(message: &api::DesiredNetwork) -> Parsed {
    let mut reader = Reader {
        tunnel_end: tunnel_end(message),
        ..Reader::default()
    };
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
    let gateways = message.gateways.iter();
    let gateways = gateways
        .filter_map(|gateway| {
            let read = reader.gateway(gateway);
            // There is no port whose report would say so.
            read.inspect_err(|reason| {
                tracing::warn!(gateway = gateway.id, "no such gateway: {reason}");
            })
            .ok()
        })
        .collect();
    let peerings = message.peerings.iter();
    let peerings = peerings
        .filter_map(|peering| {
            let read = routing::peering(&mut reader, peering);
            read.inspect_err(|reason| {
                tracing::warn!(peering = peering.id, "no such peering: {reason}");
            })
            .ok()
        })
        .collect();
    Parsed {
        desired: Desired {
            revision: message.revision,
            vpcs,
            gateways,
            peerings,
        },
        store_epoch: message.store_epoch.clone(),
        refused: reader.refused,
    }
}

/// The host's end of tunnels; one that can't be read is none.
fn tunnel_end(message: &api::DesiredNetwork) -> Option<Ipv4Addr> {
    let text = message.tunnel_address.as_deref().unwrap_or_default();
    if text.is_empty() {
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        tracing::warn!(text, "not an IPv4 address: no tunnels to other hosts");
    }
    address
}

#[derive(Default)]
struct Reader {
    tunnel_end: Option<Ipv4Addr>,
    vnis: BTreeSet<u32>,
    refused: BTreeMap<String, Refused>,
    tables: BTreeSet<u32>,
    names: BTreeSet<String>,
}

fn value<T: FromStr>(what: &'static str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|_| Refused::NotOne {
        what,
        text: text.to_owned(),
    })
}

impl Reader {
    /// Passes on what is right, and notes for the ports of what is wrong why there won't be any.
    fn refuse<'a, T>(
        &mut self,
        result: Result<T, Refused>,
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

    fn own_name(&mut self, name: String) -> Result<(), Refused> {
        if self.names.insert(name.clone()) {
            Ok(())
        } else {
            Err(Refused::NameTaken(name))
        }
    }

    fn vpc(&mut self, vpc: &api::DesiredVpc) -> Result<Vpc, Refused> {
        let table = vpc.table;
        if table < FIRST_TABLE {
            return Err(Refused::ReservedTable {
                table,
                vpc: vpc.id.clone(),
            });
        }
        let mut result = Vpc {
            id: value("VPC id", &vpc.id)?,
            table,
            // Given when all are known.
            zone: 0,
            subnets: Vec::new(),
            groups: vpc.groups.iter().filter_map(group).collect(),
            routes: BTreeMap::new(),
        };
        if !self.tables.insert(table) {
            return Err(Refused::TableTaken(table));
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
        let routes = vpc.routes.iter();
        result.routes = routes
            .filter_map(|it| routing::route(&result.subnets, it))
            .collect();
        Ok(result)
    }

    fn subnet(&mut self, subnet: &api::DesiredSubnet) -> Result<Subnet, Refused> {
        let id: SubnetId = value("subnet id", &subnet.id)?;
        let net: Ipv4Net = value("subnet CIDR", &subnet.cidr)?;
        let gateway: Ipv4Addr = value("gateway", &subnet.gateway)?;
        if !net.contains(&gateway) {
            return Err(Refused::Gateway { gateway, net });
        }
        let v6 = if subnet.ipv6_cidr.is_empty() {
            None
        } else {
            let net: Ipv6Net = value("IPv6 CIDR", &subnet.ipv6_cidr)?;
            let gateway: Ipv6Addr = value("IPv6 gateway", &subnet.ipv6_gateway)?;
            if net.prefix_len() != 64 || !net.contains(&gateway) {
                return Err(Refused::Gateway6 { gateway, net });
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
            tunnel: self.tunnel(subnet.vni),
            remote_ports: Vec::new(),
            default_via: default_via(subnet, net)?,
        };
        self.own_name(result.bridge())?;
        if result.tunnel.is_some() {
            self.own_name(result.vxlan())?;
            let ports = subnet.remote_ports.iter();
            result.remote_ports = ports
                .filter_map(|port| remote_port(&result, port))
                .collect();
        }
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

    fn gateway(&mut self, gateway: &api::DesiredGateway) -> Result<Gateway, Refused> {
        let result = Gateway {
            id: value("NAT gateway's id", &gateway.id)?,
            inside: value("VPC's network", &gateway.vpc_cidr)?,
            external: value("external network's id", &gateway.external_network_id)?,
            external_name: gateway.external_network.clone(),
            outside: value("external network's range", &gateway.external_cidr)?,
            router: value("external network's router", &gateway.external_gateway)?,
            addresses: gateway
                .addresses
                .iter()
                .map(|address| value("address of a NAT gateway", address))
                .collect::<Result<_, _>>()?,
            floating: gateway
                .floating_ips
                .iter()
                .map(|it| {
                    let address = value("floating IP", &it.ip_address)?;
                    Ok((
                        address,
                        value("address behind a floating IP", &it.fixed_ip_address)?,
                    ))
                })
                .collect::<Result<_, Refused>>()?,
            inside_mac: mac(&gateway.inside_mac)?,
            outside_mac: mac(&gateway.outside_mac)?,
        };
        if result.addresses.is_empty() {
            return Err(Refused::NotOne {
                what: "address of a NAT gateway",
                text: String::new(),
            });
        }
        self.own_name(gateway_namespace(result.id))?;
        Ok(result)
    }

    /// The way to other hosts of a subnet with this network identifier.
    fn tunnel(&mut self, vni: u32) -> Option<Tunnel> {
        let local = self.tunnel_end?;
        if !(1..1 << 24).contains(&vni) || !self.vnis.insert(vni) {
            tracing::warn!(vni, "not a VXLAN network identifier of its own: no tunnel");
            return None;
        }
        Some(Tunnel { vni, local })
    }

    fn port(&mut self, subnet: &Subnet, port: &api::DesiredPort) -> Result<Port, Refused> {
        let address: Ipv4Addr = value("port address", &port.ip_address)?;
        if !subnet.net.contains(&address) || address == subnet.gateway {
            return Err(Refused::Address {
                address,
                net: subnet.net,
            });
        }
        let address6 = match (subnet.v6, port.ipv6_address.as_str()) {
            (None, _) | (_, "") => None,
            (Some((net, _)), text) => {
                let address: Ipv6Addr = value("IPv6 port address", text)?;
                if !net.contains(&address) {
                    return Err(Refused::Address6 { address, net });
                }
                Some(address)
            }
        };
        let device: VmId = value("device id", &port.device_id)?;
        let result = Port {
            id: value("port id", &port.id)?,
            mac: mac(&port.mac_address)?,
            address,
            address6,
            groups: port
                .security_group_ids
                .iter()
                .filter_map(|id| id.parse().ok())
                .collect(),
            source_check: !port.no_source_check,
            owner: device.unix_uid(),
            mtu: match port.mtu {
                mtu @ (0 | 1280..=LARGEST_MTU) => mtu,
                mtu => return Err(Refused::Mtu(mtu)),
            },
        };
        self.own_name(result.tap())?;
        Ok(result)
    }
}

/// Where a segment that is no tenant's leads.
fn default_via(subnet: &api::DesiredSubnet, net: Ipv4Net) -> Result<Option<Ipv4Addr>, Refused> {
    if subnet.default_via.is_empty() {
        return Ok(None);
    }
    let address: Ipv4Addr = value("NAT gateway's address", &subnet.default_via)?;
    match net.contains(&address) {
        true => Ok(Some(address)),
        false => Err(Refused::Address { address, net }),
    }
}

/// One that can't be understood is not reached.
fn remote_port(subnet: &Subnet, port: &api::RemotePort) -> Option<RemotePort> {
    let understood = || {
        let address: Ipv4Addr = value("address of a port elsewhere", &port.ip_address)?;
        if !subnet.net.contains(&address) || address == subnet.gateway {
            let net = subnet.net;
            return Err(Refused::Address { address, net });
        }
        let address6 = match (subnet.v6, port.ipv6_address.as_str()) {
            (None, _) | (_, "") => None,
            (Some((net, gateway)), text) => {
                let address: Ipv6Addr = value("IPv6 address of a port elsewhere", text)?;
                if !net.contains(&address) || address == gateway {
                    return Err(Refused::Address6 { address, net });
                }
                Some(address)
            }
        };
        Ok(RemotePort {
            mac: mac(&port.mac_address)?,
            address,
            address6,
            host: value("tunnel's other end", &port.tunnel_address)?,
        })
    };
    understood()
        .inspect_err(|reason: &Refused| {
            tracing::warn!(port = port.id, "a port elsewhere is not reached: {reason}");
        })
        .ok()
}

fn mac(text: &str) -> Result<Mac, Refused> {
    text.parse().map_err(|_| Refused::Mac(text.to_owned()))
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
