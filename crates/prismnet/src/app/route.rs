//! Routes: where a VPC sends what is for addresses that are not in its subnets.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, list};
use photon_resource::{Changes, Error, RouteId, Time, VpcId};
use photon_service::Mutation;

use crate::model::{
    DISABLE_SOURCE_CHECK, MAX_ROUTES, NewRoute, NewRouteTarget, Peering, Port, Route, RouteTarget,
    Vpc,
};
use crate::store;

/// The routes of all tenants.
#[derive(Clone)]
pub struct Routes {
    db: Db,
}

impl Routes {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `NotFound` (VPC, port), `AlreadyExists` (its name), `Taken` (its destination), `InvalidArgument`,
    /// `FailedPrecondition` (a subnet's addresses, a peer's, a port with its source check on, no NAT gateway), `QuotaExceeded`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewRoute,
        answer: impl Fn(&Route) -> A,
    ) -> Result<A, Error> {
        new.meta.validate()?;
        let id = RouteId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page; of one VPC, if that is given.
    pub async fn list(&self, query: Query, vpc: Option<VpcId>) -> Result<Listing<Route>, Error> {
        let keep = |route: &Route| vpc.is_none_or(|vpc| route.vpc_id == vpc);
        list(&self.db, query, keep).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: RouteId,
        changes: Changes,
        answer: impl Fn(&Route) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: RouteId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }
}

struct Create {
    id: RouteId,
    new: NewRoute,
}

impl Create {
    /// Where it leads, if it may. Errors: `NotFound`, `InvalidArgument`, `FailedPrecondition`.
    async fn target(&self, tx: &mut Transaction, vpc: &Vpc) -> Result<RouteTarget, Error> {
        let port = match &self.new.target {
            NewRouteTarget::Blackhole => return Ok(RouteTarget::Blackhole),
            NewRouteTarget::NatGateway => {
                let gateway = store::nat_gateway_of(tx, vpc.id).await?.ok_or_else(|| {
                    Error::FailedPrecondition(format!(
                        "VPC '{}' has no NAT gateway: create one first",
                        vpc.meta.name
                    ))
                })?;
                return Ok(RouteTarget::NatGateway(gateway.id));
            }
            NewRouteTarget::Port(port) => port,
        };
        let found: Port = find(tx, &self.new.meta.scope(), port).await?;
        if found.vpc_id != vpc.id {
            let expected = format!("a port of VPC '{}'", vpc.meta.name);
            return Err(Error::invalid("target_id", port, expected));
        }
        if found.source_check {
            return Err(Error::FailedPrecondition(format!(
                "port '{}' has its source check on, so that what its device sends on for others is dropped: set its \
                 source_check to false first, which needs the right {}",
                found.meta.name,
                Port::KIND.action(DISABLE_SOURCE_CHECK)
            )));
        }
        Ok(RouteTarget::Port(found.id))
    }
}

#[async_trait]
impl Change for Create {
    type Value = Route;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Route>, Error> {
        let new = &self.new;
        let vpc: Vpc = find(tx, &new.meta.scope(), &new.vpc).await?;
        let others = store::routes_of(tx, vpc.id).await?;
        let same = |it: &&store::VpcRoute| it.destination == new.destination;
        if let Some(other) = others.iter().find(same) {
            let other: Route = get(tx, &other.id).await?;
            return Err(Error::Taken {
                kind: "destination",
                id: new.destination.to_string(),
                holder: format!("route '{}'", other.meta.name),
            });
        }
        expect_room(&vpc, others.len())?;
        new.fits(&vpc, &store::subnets_of(tx, vpc.id).await?)?;
        let peerings = store::peerings_of(tx, vpc.id).await?;
        let has = |it: &&store::VpcPeering| {
            let peer = it.active;
            peer.is_some_and(|peer| peer.contains(&new.destination))
        };
        if let Some(peering) = peerings.iter().find(has) {
            let peering: Peering = get(tx, &peering.id).await?;
            return Err(Error::FailedPrecondition(format!(
                "{} is addresses of the VPC that peering '{}' leads to: delete the peering first, or route a wider network",
                new.destination, peering.meta.name
            )));
        }
        let route = Route {
            id: self.id,
            meta: new.meta.clone().into_meta(Time::now()),
            vpc_id: vpc.id,
            destination: new.destination,
            target: self.target(tx, &vpc).await?,
        };
        store::route_create(tx, &route).await?;
        Ok(Effect::on(route))
    }
}

struct Update {
    id: RouteId,
    changes: Changes,
}

#[async_trait]
impl Change for Update {
    type Value = Route;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Route>, Error> {
        let before: Route = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(Route::KIND, self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::route_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: RouteId,
}

#[async_trait]
impl Change for Delete {
    type Value = Route;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Route>, Error> {
        let route: Route = get(tx, &self.id).await?;
        store::route_delete(tx, &route).await?;
        Ok(Effect::on(route))
    }
}

/// Whether a VPC with so many routes may have one more. Errors: `QuotaExceeded`.
fn expect_room(vpc: &Vpc, routes: usize) -> Result<(), Error> {
    if routes < MAX_ROUTES {
        return Ok(());
    }
    Err(Error::quota_exceeded(
        "routes_of_vpc",
        routes as u64,
        MAX_ROUTES as u64,
        format!(
            "VPC '{}' has {MAX_ROUTES} routes, which is the most: delete one or use another VPC",
            vpc.meta.name
        ),
    ))
}

/// Whether nothing leads to a `target` of a VPC, so that `held` may go or be changed.
///
/// Errors: `InUse` naming the first route.
pub(super) async fn expect_no_route<R: Stored>(
    tx: &mut Transaction,
    vpc: VpcId,
    target: RouteTarget,
    held: &R,
) -> Result<(), Error> {
    let Some(route) = store::route_to(tx, vpc, target).await? else {
        return Ok(());
    };
    let (noun, id) = (R::KIND.noun, held.id().to_string());
    let name = held.common().name.unwrap_or(&id).to_owned();
    let text = format!(
        "route '{}' ({}) leads to {noun} '{name}': delete the route first",
        route.meta.name, route.destination
    );
    Err(Error::in_use(noun, &id, text))
}
