use std::collections::BTreeSet;

use photon_api::flashdns::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::VpcId;

use crate::model::{NewZone, Zone, ZoneChanges};

/// A zone to make, in VPCs that were found.
pub fn new_zone(
    tenant: Tenant,
    request: pb::CreateZoneRequest,
    vpc_ids: BTreeSet<VpcId>,
) -> NewZone {
    NewZone {
        vpc_ids,
        default_ttl: request.default_ttl,
        meta: tenant.meta(request.name, request.description, request.labels),
    }
}

/// What an update changes, to VPCs that were found.
pub fn zone_changes(
    request: pb::UpdateZoneRequest,
    vpc_ids: Option<BTreeSet<VpcId>>,
) -> ZoneChanges {
    ZoneChanges {
        vpc_ids,
        default_ttl: request.default_ttl,
        common: changes(
            None,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
    }
}

/// A zone as clients see it.
pub fn zone(zone: &Zone) -> pb::Zone {
    let meta = zone.meta.clone();
    pb::Zone {
        id: zone.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name,
        description: meta.description,
        vpc_ids: zone.vpc_ids.iter().map(VpcId::to_string).collect(),
        default_ttl: zone.default_ttl,
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
