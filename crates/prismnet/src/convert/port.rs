use std::net::IpAddr;

use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id, id_or_name, optional_id, timestamp};
use photon_resource::{Error, PortId};

use crate::app::PortFilter;
use crate::model::{
    DeviceType, NewAttachment, NewPort, Port, PortChanges, PortStatus, Subnet, kind,
    validate_device_id,
};

/// Longest message of a report that is kept.
const MAX_MESSAGE: usize = 1024;

/// Errors: `InvalidArgument`.
pub fn new_port(tenant: Tenant, request: pb::CreatePortRequest) -> Result<NewPort, Error> {
    Ok(NewPort {
        subnet: id_or_name("subnet_id", kind::SUBNETS.noun, request.subnet_id)?,
        address: request.ip_address,
        ipv6_address: request.ipv6_address,
        security_groups: request.security_group_ids,
        source_check: request.source_check.unwrap_or(true),
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// What an update changes.
pub fn port_changes(request: pb::UpdatePortRequest) -> PortChanges {
    PortChanges {
        security_groups: request.security_group_ids.map(|groups| groups.ids),
        source_check: request.source_check,
        common: changes(
            request.name,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
    }
}

/// Errors: `InvalidArgument`.
pub fn port_filter(request: &pb::ListPortsRequest) -> Result<PortFilter, Error> {
    if !request.device_id.is_empty() {
        validate_device_id(&request.device_id)?;
    }
    Ok(PortFilter {
        vpc: optional_id("vpc_id", &request.vpc_id)?,
        subnet: optional_id("subnet_id", &request.subnet_id)?,
        device_id: request.device_id.clone(),
    })
}

/// Errors: `InvalidArgument`.
pub fn attachment(request: &pb::AttachPortRequest) -> Result<NewAttachment, Error> {
    let device_type = match pb::DeviceType::try_from(request.device_type) {
        Ok(pb::DeviceType::Vm) => DeviceType::Vm,
        Ok(pb::DeviceType::LoadBalancer) => DeviceType::LoadBalancer,
        Ok(pb::DeviceType::Unspecified) | Err(_) => {
            return Err(Error::invalid(
                "device_type",
                request.device_type,
                "DEVICE_TYPE_VM or DEVICE_TYPE_LOAD_BALANCER",
            ));
        }
    };
    Ok(NewAttachment {
        device_id: request.device_id.clone(),
        device_type,
        node: request.node.clone(),
        mtu: request.mtu,
    })
}

/// What a host reports of one port. Errors: `InvalidArgument`.
pub fn report(report: pb::PortReport) -> Result<(PortId, PortStatus), Error> {
    let status = match pb::PortStatus::try_from(report.status) {
        Ok(pb::PortStatus::Active) => PortStatus::Active,
        Ok(pb::PortStatus::Error) => {
            PortStatus::Error(report.message.chars().take(MAX_MESSAGE).collect())
        }
        _ => {
            return Err(Error::invalid(
                "status",
                report.status,
                "PORT_STATUS_ACTIVE or PORT_STATUS_ERROR",
            ));
        }
    };
    Ok((id("port_id", &report.port_id)?, status))
}

pub(super) fn device_type(device_type: DeviceType) -> pb::DeviceType {
    match device_type {
        DeviceType::Vm => pb::DeviceType::Vm,
        DeviceType::LoadBalancer => pb::DeviceType::LoadBalancer,
    }
}

/// What the port's device is to have of the subnet; where there is a `resolver`, its gateways for name servers if it has none.
pub fn port_addressing(port: &Port, subnet: &Subnet, resolver: bool) -> pb::PortAddressing {
    let ipv6 = port.ipv6_address.zip(subnet.ipv6);
    let gateway6 = ipv6.map(|(_, ipv6)| IpAddr::V6(ipv6.gateway));
    let gateways = [Some(IpAddr::V4(subnet.gateway)), gateway6];
    let of_hosts = gateways
        .into_iter()
        .flatten()
        .filter(|_| resolver && subnet.dns_servers.is_empty());
    pb::PortAddressing {
        address: format!("{}/{}", port.address, subnet.cidr.prefix_len()),
        gateway: subnet.gateway.to_string(),
        dhcp_enabled: subnet.dhcp_enabled,
        dns_servers: subnet
            .dns_servers
            .iter()
            .copied()
            .chain(of_hosts)
            .map(|server| server.to_string())
            .collect(),
        ipv6_address: ipv6
            .map(|(address, ipv6)| format!("{address}/{}", ipv6.cidr.prefix_len()))
            .unwrap_or_default(),
        ipv6_gateway: ipv6
            .map(|(_, ipv6)| ipv6.gateway.to_string())
            .unwrap_or_default(),
        mtu: port.mtu(),
    }
}

/// A port as clients see it.
pub fn port(port: &Port) -> pb::Port {
    let meta = port.meta.clone();
    let mut wire = pb::Port {
        id: port.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        vpc_id: port.vpc_id.to_string(),
        subnet_id: port.subnet_id.to_string(),
        name: meta.name,
        description: meta.description,
        ip_address: port.address.to_string(),
        ipv6_address: port
            .ipv6_address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        mac_address: port.mac.to_string(),
        security_group_ids: port
            .security_groups
            .iter()
            .map(ToString::to_string)
            .collect(),
        source_check: port.source_check,
        interface_name: port.interface_name().unwrap_or_default(),
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
        ..pb::Port::default()
    };
    wire.set_status(pb::PortStatus::Detached);
    if let Some(attachment) = &port.attachment {
        wire.device_id.clone_from(&attachment.device_id);
        wire.set_device_type(device_type(attachment.device_type));
        wire.node.clone_from(&attachment.node);
        let (status, message) = match &attachment.status {
            PortStatus::Building => (pb::PortStatus::Building, ""),
            PortStatus::Active => (pb::PortStatus::Active, ""),
            PortStatus::Error(message) => (pb::PortStatus::Error, message.as_str()),
        };
        wire.set_status(status);
        wire.status_message = message.to_owned();
    }
    wire
}
