//! Routes in the store.

use flaredb::{Record, Transaction};
use ipnet::Ipv4Net;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Stored, get, insert, remove, replace};
use photon_resource::{Error, Kind, NatGatewayId, PortId, RouteId, Scope, VpcId};
use serde::{Deserialize, Serialize};

use crate::model::{Route, RouteTarget, kind};

/// The stored form of a route.
#[derive(Serialize, Deserialize)]
pub struct RouteRecord {
    id: RouteId,
    meta: MetaRecord,
    vpc_id: VpcId,
    destination: Ipv4Net,
    target: TargetRecord,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetRecord {
    Port(PortId),
    NatGateway(NatGatewayId),
    Blackhole,
}

impl Record for RouteRecord {
    const KIND: &'static str = "route";
    const VERSION: u32 = 1;
}

impl From<RouteTarget> for TargetRecord {
    fn from(target: RouteTarget) -> Self {
        match target {
            RouteTarget::Port(id) => Self::Port(id),
            RouteTarget::NatGateway(id) => Self::NatGateway(id),
            RouteTarget::Blackhole => Self::Blackhole,
        }
    }
}

impl From<TargetRecord> for RouteTarget {
    fn from(record: TargetRecord) -> Self {
        match record {
            TargetRecord::Port(id) => Self::Port(id),
            TargetRecord::NatGateway(id) => Self::NatGateway(id),
            TargetRecord::Blackhole => Self::Blackhole,
        }
    }
}

impl From<&Route> for RouteRecord {
    fn from(route: &Route) -> Self {
        Self {
            id: route.id,
            meta: (&route.meta).into(),
            vpc_id: route.vpc_id,
            destination: route.destination,
            target: route.target.into(),
        }
    }
}

impl Stored for Route {
    type Id = RouteId;
    type Record = RouteRecord;
    const TABLE: &'static str = "route";
    const KIND: Kind = kind::ROUTES;

    fn id(&self) -> RouteId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("routes", 1)]
    }

    fn restore(id: RouteId, record: RouteRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            meta: record.meta.into(),
            vpc_id: record.vpc_id,
            destination: record.destination,
            target: record.target.into(),
        })
    }
}

/// All routes of a VPC, in one record: whoever changes what they stand on reads it, and so loses to whoever adds one.
#[derive(Default, Serialize, Deserialize)]
struct VpcRoutesRecord {
    routes: Vec<VpcRoute>,
}

/// A route, as its VPC knows it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct VpcRoute {
    pub id: RouteId,
    pub destination: Ipv4Net,
    target: TargetRecord,
}

impl VpcRoute {
    /// Where it leads.
    pub fn target(&self) -> RouteTarget {
        self.target.into()
    }
}

impl Record for VpcRoutesRecord {
    const KIND: &'static str = "routes of a VPC";
    const VERSION: u32 = 1;
}

fn vpc_key(vpc: VpcId) -> String {
    format!("vpc-routes/{vpc}")
}

/// The routes of a VPC; if the transaction commits, none was added or deleted meanwhile.
pub async fn routes_of(tx: &mut Transaction, vpc: VpcId) -> Result<Vec<VpcRoute>, Error> {
    let record: Option<VpcRoutesRecord> = tx.get(&vpc_key(vpc)).await?;
    Ok(record.unwrap_or_default().routes)
}

/// The first of the routes that lead to a target, of those of its VPC.
pub async fn route_to(
    tx: &mut Transaction,
    vpc: VpcId,
    target: RouteTarget,
) -> Result<Option<Route>, Error> {
    let routes = routes_of(tx, vpc).await?;
    match routes.iter().find(|route| route.target() == target) {
        Some(route) => get(tx, &route.id).await.map(Some),
        None => Ok(None),
    }
}

/// Creates a route to where none of [`routes_of`] its VPC leads. Errors: `AlreadyExists` when its name is taken.
pub async fn route_create(tx: &mut Transaction, route: &Route) -> Result<(), Error> {
    insert(tx, route).await?;
    let mut routes = routes_of(tx, route.vpc_id).await?;
    routes.push(VpcRoute {
        id: route.id,
        destination: route.destination,
        target: route.target.into(),
    });
    tx.put(&vpc_key(route.vpc_id), &VpcRoutesRecord { routes })?;
    Ok(())
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn route_update(
    tx: &mut Transaction,
    before: &Route,
    after: &Route,
) -> Result<(), Error> {
    replace(tx, before, after).await
}

/// Errors: those of the store.
pub async fn route_delete(tx: &mut Transaction, route: &Route) -> Result<(), Error> {
    let mut routes = routes_of(tx, route.vpc_id).await?;
    routes.retain(|it| it.id != route.id);
    let key = vpc_key(route.vpc_id);
    if routes.is_empty() {
        tx.delete(&key);
    } else {
        tx.put(&key, &VpcRoutesRecord { routes })?;
    }
    remove(tx, route);
    Ok(())
}
