use photon_api::prismnet::v1 as pb;
use photon_resource::Error;

use super::Tenant;
use crate::model::{NewVpc, Vpc, parse_vpc_cidr, parse_vpc_ipv6_cidr};

/// Errors: `InvalidArgument`.
pub fn new_vpc(tenant: Tenant, request: pb::CreateVpcRequest) -> Result<NewVpc, Error> {
    Ok(NewVpc {
        cidr: parse_vpc_cidr(&request.cidr)?,
        ipv6_cidr: parse_vpc_ipv6_cidr(&request.ipv6_cidr)?,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
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
        labels: meta.labels.into_iter().collect(),
        created_at: Some(meta.created_at.into()),
        updated_at: Some(meta.updated_at.into()),
        revision: meta.revision,
    }
}
