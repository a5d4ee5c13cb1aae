use std::net::{IpAddr, Ipv4Addr};

use photon_api::prismnet::v1 as pb;

use super::port::device_type;
use super::security_group_rule;
use crate::app::{Desired, DesiredGroup, DesiredSubnet, DesiredVpc};
use crate::model::Port;

/// What should exist on a host, as it is told.
pub fn desired(desired: &Desired<'_>) -> pb::DesiredNetwork {
    pb::DesiredNetwork {
        revision: desired.revision,
        tunnel_address: desired.tunnel_address.map(|address| address.to_string()),
        vpcs: desired.vpcs.iter().map(desired_vpc).collect(),
        ..pb::DesiredNetwork::default()
    }
}

fn desired_vpc(desired: &DesiredVpc<'_>) -> pb::DesiredVpc {
    pb::DesiredVpc {
        id: desired.vpc.id.to_string(),
        table: desired.vpc.table,
        subnets: desired.subnets.iter().map(desired_subnet).collect(),
        groups: desired.groups.iter().map(desired_group).collect(),
        ..pb::DesiredVpc::default()
    }
}

fn desired_subnet(desired: &DesiredSubnet<'_>) -> pb::DesiredSubnet {
    let subnet = desired.subnet;
    let ipv6 = subnet.ipv6;
    pb::DesiredSubnet {
        id: subnet.id.to_string(),
        cidr: subnet.cidr.to_string(),
        gateway: subnet.gateway.to_string(),
        dhcp_enabled: subnet.dhcp_enabled,
        dns_servers: subnet.dns_servers.iter().map(IpAddr::to_string).collect(),
        ipv6_cidr: ipv6.map(|ipv6| ipv6.cidr.to_string()).unwrap_or_default(),
        ipv6_gateway: ipv6
            .map(|ipv6| ipv6.gateway.to_string())
            .unwrap_or_default(),
        vni: subnet.vni,
        ports: desired
            .ports
            .iter()
            .map(|port| desired_port(port))
            .collect(),
        remote_ports: desired
            .remote_ports
            .iter()
            .map(|(port, end)| remote_port(port, *end))
            .collect(),
        ..pb::DesiredSubnet::default()
    }
}

fn remote_port(port: &Port, end: Ipv4Addr) -> pb::RemotePort {
    pb::RemotePort {
        id: port.id.to_string(),
        mac_address: port.mac.to_string(),
        ip_address: port.address.to_string(),
        ipv6_address: port
            .ipv6_address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        tunnel_address: end.to_string(),
    }
}

fn desired_port(port: &Port) -> pb::DesiredPort {
    let mut wire = pb::DesiredPort {
        id: port.id.to_string(),
        mac_address: port.mac.to_string(),
        ip_address: port.address.to_string(),
        ipv6_address: port
            .ipv6_address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        security_group_ids: port
            .security_groups
            .iter()
            .map(ToString::to_string)
            .collect(),
        hostname: port.meta.name.clone(),
        ..pb::DesiredPort::default()
    };
    if let Some(attachment) = &port.attachment {
        wire.device_id.clone_from(&attachment.device_id);
        wire.set_device_type(device_type(attachment.device_type));
        wire.mtu = attachment.mtu;
    }
    wire
}

fn desired_group(group: &DesiredGroup<'_>) -> pb::DesiredGroup {
    pb::DesiredGroup {
        id: group.id.to_string(),
        rules: group.rules.iter().map(security_group_rule).collect(),
        member_addresses: group.members.iter().map(IpAddr::to_string).collect(),
        ..pb::DesiredGroup::default()
    }
}
