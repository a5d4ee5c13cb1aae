use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id, id_or_name, timestamp};
use photon_resource::{Changes, Error, Time, VpcId};

use crate::model::{NewPeering, Peer, Peering, PeeringState, kind};

/// Errors: `InvalidArgument`.
pub fn new_peering(tenant: Tenant, request: pb::CreatePeeringRequest) -> Result<NewPeering, Error> {
    let peer = Peer {
        org_id: match request.peer_org_id.as_str() {
            "" => tenant.org_id.clone(),
            text => text.parse()?,
        },
        project_id: match request.peer_project_id.as_str() {
            "" => tenant.project_id.clone(),
            text => text.parse()?,
        },
        vpc_id: as_shown(&request.peer_vpc_id)?,
    };
    Ok(NewPeering {
        vpc: id_or_name("vpc_id", kind::VPCS.noun, request.vpc_id)?,
        peer,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// An id in the one spelling that answers have. It is of something that may not be there: no other spelling of the same is asked
/// with as if it were another.
fn as_shown(text: &str) -> Result<VpcId, Error> {
    let read: VpcId = id("peer_vpc_id", text)?;
    if read.to_string() != text {
        let expected = "an id as it is shown: in lower case, with dashes";
        return Err(Error::invalid("peer_vpc_id", text, expected));
    }
    Ok(read)
}

/// What an update changes.
pub fn peering_changes(request: pb::UpdatePeeringRequest) -> Changes {
    changes(
        request.name,
        request.description,
        request.labels.map(|labels| labels.labels),
        request.expected_revision,
    )
}

/// A peering as clients see it now.
pub fn peering(peering: &Peering) -> pb::Peering {
    let meta = peering.meta.clone();
    let state = match peering.state {
        PeeringState::Pending if peering.has_expired(Time::now()) => pb::PeeringState::Expired,
        PeeringState::Pending => pb::PeeringState::Pending,
        PeeringState::Active => pb::PeeringState::Active,
        PeeringState::Rejected => pb::PeeringState::Rejected,
    };
    let waits = peering.state == PeeringState::Pending;
    pb::Peering {
        id: peering.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        vpc_id: peering.vpc_id.to_string(),
        name: meta.name,
        description: meta.description,
        peer_org_id: peering.peer.org_id.to_string(),
        peer_project_id: peering.peer.project_id.to_string(),
        peer_vpc_id: peering.peer.vpc_id.to_string(),
        peer_cidr: peering
            .peer_cidr()
            .map(|cidr| cidr.to_string())
            .unwrap_or_default(),
        asked_by_peer: peering.asked_by_peer,
        state: state.into(),
        expires_at: waits.then(|| timestamp(peering.expires_at())),
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
