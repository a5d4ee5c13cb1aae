use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::{Changes, Error};

use crate::model::{FloatingIp, NewFloatingIp};

/// Errors: none; what is asked for is judged with its external network.
pub fn new_floating_ip(
    tenant: Tenant,
    request: pb::CreateFloatingIpRequest,
) -> Result<NewFloatingIp, Error> {
    Ok(NewFloatingIp {
        external_network: request.external_network_id,
        address: request.ip_address,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// What an update changes.
pub fn floating_ip_changes(request: pb::UpdateFloatingIpRequest) -> Changes {
    changes(
        request.name,
        request.description,
        request.labels.map(|labels| labels.labels),
        request.expected_revision,
    )
}

/// A floating IP as clients see it.
pub fn floating_ip(floating: &FloatingIp) -> pb::FloatingIp {
    let meta = floating.meta.clone();
    let association = floating.association;
    let (port_id, vpc_id, fixed_ip_address) = association
        .map(|it| {
            let (port, vpc, fixed) = (it.port_id, it.vpc_id, it.fixed);
            (port.to_string(), vpc.to_string(), fixed.to_string())
        })
        .unwrap_or_default();
    pb::FloatingIp {
        id: floating.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name,
        description: meta.description,
        external_network_id: floating.external_network_id.to_string(),
        ip_address: floating.address.to_string(),
        port_id,
        vpc_id,
        fixed_ip_address,
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
