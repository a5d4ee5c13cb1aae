use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id_or_name, timestamp};
use photon_resource::{Changes, Error};

use crate::model::{NewRoute, NewRouteTarget, Route, RouteTarget, kind, parse_destination};

/// Errors: `InvalidArgument`.
pub fn new_route(tenant: Tenant, request: pb::CreateRouteRequest) -> Result<NewRoute, Error> {
    let to = request.target_id;
    let target = match pb::RouteTarget::try_from(request.target) {
        Ok(pb::RouteTarget::Port) => {
            NewRouteTarget::Port(id_or_name("target_id", kind::PORTS.noun, to)?)
        }
        Ok(pb::RouteTarget::NatGateway) => nobody(to, NewRouteTarget::NatGateway)?,
        Ok(pb::RouteTarget::Blackhole) => nobody(to, NewRouteTarget::Blackhole)?,
        Ok(pb::RouteTarget::Unspecified) | Err(_) => {
            return Err(Error::invalid(
                "target",
                request.target,
                "ROUTE_TARGET_PORT, ROUTE_TARGET_NAT_GATEWAY or ROUTE_TARGET_BLACKHOLE",
            ));
        }
    };
    Ok(NewRoute {
        vpc: id_or_name("vpc_id", kind::VPCS.noun, request.vpc_id)?,
        destination: parse_destination(&request.destination)?,
        target,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// Of targets of which a VPC has one at most.
fn nobody(given: String, target: NewRouteTarget) -> Result<NewRouteTarget, Error> {
    if given.is_empty() {
        return Ok(target);
    }
    Err(Error::invalid(
        "target_id",
        given,
        "nothing: only a route to a port names what it leads to",
    ))
}

/// What an update changes.
pub fn route_changes(request: pb::UpdateRouteRequest) -> Changes {
    changes(
        request.name,
        request.description,
        request.labels.map(|labels| labels.labels),
        request.expected_revision,
    )
}

/// A route as clients see it.
pub fn route(route: &Route) -> pb::Route {
    let meta = route.meta.clone();
    let (target, target_id) = match route.target {
        RouteTarget::Port(id) => (pb::RouteTarget::Port, id.to_string()),
        RouteTarget::NatGateway(id) => (pb::RouteTarget::NatGateway, id.to_string()),
        RouteTarget::Blackhole => (pb::RouteTarget::Blackhole, String::new()),
    };
    pb::Route {
        id: route.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        vpc_id: route.vpc_id.to_string(),
        name: meta.name,
        description: meta.description,
        destination: route.destination.to_string(),
        target: target.into(),
        target_id,
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
