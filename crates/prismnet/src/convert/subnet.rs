use std::net::IpAddr;

use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id_or_name, timestamp};
use photon_resource::Error;

use crate::model::{
    NewSubnet, Subnet, SubnetChanges, kind, parse_subnet_cidr, parse_subnet_ipv6_cidr,
};

/// Errors: `InvalidArgument`.
pub fn new_subnet(tenant: Tenant, request: pb::CreateSubnetRequest) -> Result<NewSubnet, Error> {
    let vpc = id_or_name("vpc_id", kind::VPCS.noun, request.vpc_id)?;
    let cidr = parse_subnet_cidr(&request.cidr)?;
    let ipv6 = parse_subnet_ipv6_cidr(&request.ipv6_cidr)?;
    Ok(NewSubnet {
        vpc,
        cidr,
        gateway: NewSubnet::parse_gateway(cidr, &request.gateway)?,
        dhcp_enabled: request.dhcp_enabled.unwrap_or(true),
        dns_servers: dns_servers(&request.dns_servers)?,
        ipv6: NewSubnet::parse_ipv6(ipv6, &request.ipv6_gateway)?,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// Errors: `InvalidArgument`.
pub fn subnet_changes(request: pb::UpdateSubnetRequest) -> Result<SubnetChanges, Error> {
    Ok(SubnetChanges {
        dhcp_enabled: request.dhcp_enabled,
        dns_servers: request
            .dns_servers
            .map(|servers| dns_servers(&servers.addresses))
            .transpose()?,
        common: changes(
            request.name,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
    })
}

fn dns_servers(servers: &[String]) -> Result<Vec<IpAddr>, Error> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| Error::invalid("dns_servers", text, "IPv4 or IPv6 addresses"))
    };
    servers.iter().map(parse).collect()
}

/// A subnet as clients see it.
pub fn subnet(subnet: &Subnet) -> pb::Subnet {
    let meta = subnet.meta.clone();
    let ipv6 = subnet.ipv6;
    pb::Subnet {
        id: subnet.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        vpc_id: subnet.vpc_id.to_string(),
        name: meta.name,
        description: meta.description,
        cidr: subnet.cidr.to_string(),
        gateway: subnet.gateway.to_string(),
        dhcp_enabled: subnet.dhcp_enabled,
        dns_servers: subnet.dns_servers.iter().map(IpAddr::to_string).collect(),
        ipv6_cidr: ipv6.map(|ipv6| ipv6.cidr.to_string()).unwrap_or_default(),
        ipv6_gateway: ipv6
            .map(|ipv6| ipv6.gateway.to_string())
            .unwrap_or_default(),
        vni: subnet.vni,
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
