use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::{Changes, Error};

use crate::model::{NewVpc, Vpc, parse_vpc_cidr, parse_vpc_ipv6_cidr};

/// Errors: `InvalidArgument`.
pub fn new_vpc(tenant: Tenant, request: pb::CreateVpcRequest) -> Result<NewVpc, Error> {
    Ok(NewVpc {
        cidr: parse_vpc_cidr(&request.cidr)?,
        ipv6_cidr: parse_vpc_ipv6_cidr(&request.ipv6_cidr)?,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// What an update changes.
pub fn vpc_changes(request: pb::UpdateVpcRequest) -> Changes {
    changes(
        request.name,
        request.description,
        request.labels.map(|labels| labels.labels),
        request.expected_revision,
    )
}

/// A VPC as clients see it.
pub fn vpc(vpc: &Vpc) -> pb::Vpc {
    let meta = vpc.meta.clone();
    pb::Vpc {
        id: vpc.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name,
        description: meta.description,
        cidr: vpc.cidr.to_string(),
        ipv6_cidr: vpc.ipv6_cidr.map(|net| net.to_string()).unwrap_or_default(),
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
