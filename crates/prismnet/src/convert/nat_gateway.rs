use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id_or_name, timestamp};
use photon_resource::{Changes, Error};

use crate::model::{NatGateway, NewNatGateway, kind};

/// Errors: `InvalidArgument`.
pub fn new_nat_gateway(
    tenant: Tenant,
    request: pb::CreateNatGatewayRequest,
) -> Result<NewNatGateway, Error> {
    Ok(NewNatGateway {
        vpc: id_or_name("vpc_id", kind::VPCS.noun, request.vpc_id)?,
        external_network: request.external_network_id,
        // What does not fit is more than is accepted.
        address_count: usize::try_from(request.address_count.max(1)).unwrap_or(usize::MAX),
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// What an update changes.
pub fn nat_gateway_changes(request: pb::UpdateNatGatewayRequest) -> Changes {
    changes(
        request.name,
        request.description,
        request.labels.map(|labels| labels.labels),
        request.expected_revision,
    )
}

/// A NAT gateway as clients see it.
pub fn nat_gateway(gateway: &NatGateway) -> pb::NatGateway {
    let meta = gateway.meta.clone();
    pb::NatGateway {
        id: gateway.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name,
        description: meta.description,
        vpc_id: gateway.vpc_id.to_string(),
        external_network_id: gateway.external_network_id.to_string(),
        addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
