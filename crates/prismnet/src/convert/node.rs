use std::net::{IpAddr, Ipv4Addr};

use photon_api::prismnet::v1 as pb;

use super::port::device_type;
use super::security_group_rule;
use crate::app::{
    Desired, DesiredGateway, DesiredGroup, DesiredPeering, DesiredRoute, DesiredSubnet, DesiredVpc,
    Transit, Way,
};
use crate::model::{GatewayHost, Peering, Port, TRANSIT, TRANSIT_GATEWAY, TRANSIT_ROUTER};

/// What should exist on a host, as it is told.
pub fn desired(desired: &Desired<'_>) -> pb::DesiredNetwork {
    pb::DesiredNetwork {
        revision: desired.revision,
        tunnel_address: desired.tunnel_address.map(|address| address.to_string()),
        vpcs: desired.vpcs.iter().map(desired_vpc).collect(),
        gateways: desired.gateways.iter().map(desired_gateway).collect(),
        peerings: desired.peerings.iter().map(desired_peering).collect(),
        ..pb::DesiredNetwork::default()
    }
}

/// What a host says of its interfaces in external networks.
pub fn gateway_host(request: &pb::WatchDesiredRequest) -> GatewayHost {
    GatewayHost {
        name: request.node.clone(),
        external_networks: request.external_networks.iter().cloned().collect(),
    }
}

fn desired_gateway(desired: &DesiredGateway<'_>) -> pb::DesiredGateway {
    let DesiredGateway {
        gateway,
        vpc,
        network,
        floating_ips,
    } = desired;
    let floating = floating_ips.iter().filter_map(|it| {
        Some(pb::DesiredFloatingIp {
            ip_address: it.address.to_string(),
            fixed_ip_address: it.association?.fixed.to_string(),
        })
    });
    pb::DesiredGateway {
        id: gateway.id.to_string(),
        vpc_id: vpc.id.to_string(),
        vpc_cidr: vpc.cidr.to_string(),
        external_network_id: network.id.to_string(),
        external_network: network.name.clone(),
        external_cidr: network.cidr.to_string(),
        external_gateway: network.gateway.to_string(),
        addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
        floating_ips: floating.collect(),
        inside_mac: gateway.inside_mac().to_string(),
        outside_mac: gateway.outside_mac().to_string(),
    }
}

/// The segment to the gateway, as a subnet without ports, in which the gateway is one of another host if it is.
fn transit(transit: &Transit<'_>) -> pb::DesiredSubnet {
    let gateway = transit.gateway;
    let elsewhere = transit.elsewhere.map(|end| pb::RemotePort {
        id: gateway.id.to_string(),
        mac_address: gateway.inside_mac().to_string(),
        ip_address: TRANSIT_GATEWAY.to_string(),
        ipv6_address: String::new(),
        tunnel_address: end.to_string(),
    });
    pb::DesiredSubnet {
        id: gateway.id.to_string(),
        cidr: TRANSIT.to_string(),
        gateway: TRANSIT_ROUTER.to_string(),
        vni: gateway.transit_vni,
        remote_ports: elsewhere.into_iter().collect(),
        default_via: TRANSIT_GATEWAY.to_string(),
        ..pb::DesiredSubnet::default()
    }
}

fn desired_vpc(desired: &DesiredVpc<'_>) -> pb::DesiredVpc {
    let mut subnets: Vec<_> = desired.subnets.iter().map(desired_subnet).collect();
    subnets.extend(desired.transit.as_ref().map(transit));
    // Lists are in the order of their ids.
    subnets.sort_by(|one, other| one.id.cmp(&other.id));
    pb::DesiredVpc {
        id: desired.vpc.id.to_string(),
        table: desired.vpc.table,
        subnets,
        groups: desired.groups.iter().map(desired_group).collect(),
        routes: desired.routes.iter().map(desired_route).collect(),
        ..pb::DesiredVpc::default()
    }
}

fn desired_peering(desired: &DesiredPeering<'_>) -> pb::DesiredPeering {
    let side = |side: &Peering| pb::DesiredPeeringSide {
        id: side.id.to_string(),
        vpc_id: side.vpc_id.to_string(),
        cidr: side.cidr.to_string(),
    };
    pb::DesiredPeering {
        id: desired.asker.id.to_string(),
        sides: vec![side(desired.asker), side(desired.asked)],
    }
}

fn desired_route(desired: &DesiredRoute<'_>) -> pb::DesiredRoute {
    use pb::desired_route::Way as Wire;
    pb::DesiredRoute {
        id: desired.route.id.to_string(),
        destination: desired.route.destination.to_string(),
        way: match desired.way {
            Way::Port(address) => Some(Wire::PortAddress(address.to_string())),
            Way::NatGateway => Some(Wire::NatGateway(true)),
            Way::Nowhere => None,
        },
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
        no_source_check: !port.source_check,
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
