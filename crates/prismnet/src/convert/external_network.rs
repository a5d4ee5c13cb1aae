use photon_api::prismnet::v1 as pb;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::{Error, OrgId, PrincipalId};

use crate::model::{
    AddressRange, ExternalNetwork, ExternalNetworkChanges, NewExternalNetwork, parse_external_cidr,
};

/// Errors: `InvalidArgument`.
pub fn new_external_network(
    owner: PrincipalId,
    request: pb::CreateExternalNetworkRequest,
) -> Result<NewExternalNetwork, Error> {
    let cidr = parse_external_cidr(&request.cidr)?;
    Ok(NewExternalNetwork {
        owner,
        name: request.name,
        description: request.description,
        labels: request.labels,
        cidr,
        gateway: NewExternalNetwork::parse_gateway(cidr, &request.gateway)?,
        pools: pools(&request.pools)?,
        org_ids: orgs(&request.org_ids)?,
    })
}

/// What an update changes. Errors: `InvalidArgument`.
pub fn external_network_changes(
    request: pb::UpdateExternalNetworkRequest,
) -> Result<ExternalNetworkChanges, Error> {
    let ranges = request.pools.map(|pools| pools.ranges);
    let ids = request.org_ids.map(|orgs| orgs.ids);
    Ok(ExternalNetworkChanges {
        pools: ranges.as_deref().map(pools).transpose()?,
        org_ids: ids.as_deref().map(orgs).transpose()?,
        common: changes(
            request.name,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
    })
}

fn pools(ranges: &[pb::AddressRange]) -> Result<Vec<AddressRange>, Error> {
    let ranges = ranges.iter().enumerate();
    ranges
        .map(|(index, range)| {
            AddressRange::parse(&format!("pools[{index}]"), &range.first, &range.last)
        })
        .collect()
}

fn orgs<C: FromIterator<OrgId>>(ids: &[String]) -> Result<C, Error> {
    ids.iter().map(|id| id.parse()).collect()
}

/// An external network as clients see it: whom else it is offered to is told to operators alone.
pub fn external_network(network: &ExternalNetwork, to_operator: bool) -> pb::ExternalNetwork {
    let orgs = network.org_ids.iter().filter(|_| to_operator);
    let range = |range: &AddressRange| pb::AddressRange {
        first: range.first.to_string(),
        last: range.last.to_string(),
    };
    pb::ExternalNetwork {
        id: network.id.to_string(),
        name: network.name.clone(),
        description: network.description.clone(),
        cidr: network.cidr.to_string(),
        gateway: network.gateway.to_string(),
        pools: network.pools.iter().map(range).collect(),
        org_ids: orgs.map(ToString::to_string).collect(),
        labels: network.labels.clone(),
        created_at: Some(timestamp(network.created_at)),
        updated_at: Some(timestamp(network.updated_at)),
        revision: network.revision,
    }
}
