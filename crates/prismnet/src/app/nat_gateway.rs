//! NAT gateways: one for each VPC that has a way out.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, list};
use photon_resource::{Changes, Error, NatGatewayId, NewMeta, Time, VpcId};
use photon_service::Mutation;

use super::external_addresses::free_addresses;
use super::external_network::offered_or_only;
use super::number::free_vni;
use super::route::expect_no_route;
use crate::model::{ExternalNetwork, NatGateway, NewNatGateway, RouteTarget, Vpc};
use crate::store;

/// The NAT gateways of all tenants.
#[derive(Clone)]
pub struct NatGateways {
    db: Db,
}

impl NatGateways {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `NotFound` (VPC, external network), `AlreadyExists` (its name), `Taken` (the VPC has one), `InvalidArgument`,
    /// `ResourceExhausted` (no address left).
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewNatGateway,
        answer: impl Fn(&NatGateway) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        let id = NatGatewayId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page; of one VPC, if that is given.
    pub async fn list(
        &self,
        query: Query,
        vpc: Option<VpcId>,
    ) -> Result<Listing<NatGateway>, Error> {
        let keep = |gateway: &NatGateway| vpc.is_none_or(|vpc| gateway.vpc_id == vpc);
        list(&self.db, query, keep).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: NatGatewayId,
        changes: Changes,
        answer: impl Fn(&NatGateway) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while a port of its VPC has a floating IP, or a route leads to it.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: NatGatewayId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }
}

/// Makes the gateway of a VPC that has none.
///
/// Errors: `AlreadyExists` (its name), `FailedPrecondition` (the two networks have addresses in common), `ResourceExhausted`
/// (no address left), `QuotaExceeded`.
pub(super) async fn make(
    tx: &mut Transaction,
    id: NatGatewayId,
    meta: NewMeta,
    vpc: &Vpc,
    network: &ExternalNetwork,
    address_count: usize,
) -> Result<NatGateway, Error> {
    if vpc.cidr.contains(&network.cidr) || network.cidr.contains(&vpc.cidr) {
        return Err(Error::FailedPrecondition(format!(
            "VPC '{}' ({}) and external network '{}' ({}) have addresses in common, so that a gateway could not tell which is \
             meant: use a VPC with another range",
            vpc.meta.name, vpc.cidr, network.name, network.cidr
        )));
    }
    let gateway = NatGateway {
        id,
        meta: meta.into_meta(Time::now()),
        vpc_id: vpc.id,
        external_network_id: network.id,
        addresses: free_addresses(tx, network, address_count).await?,
        transit_vni: free_vni(tx).await?,
    };
    store::nat_gateway_create(tx, &gateway).await?;
    Ok(gateway)
}

struct Create {
    id: NatGatewayId,
    new: NewNatGateway,
}

#[async_trait]
impl Change for Create {
    type Value = NatGateway;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<NatGateway>, Error> {
        let new = &self.new;
        let vpc: Vpc = find(tx, &new.meta.scope(), &new.vpc).await?;
        let org = &new.meta.org_id;
        let network = offered_or_only(tx, org, &new.external_network).await?;
        if let Some(gateway) = store::nat_gateway_of(tx, vpc.id).await? {
            return Err(Error::Taken {
                kind: Vpc::KIND.noun,
                id: new.vpc.clone(),
                holder: format!("NAT gateway '{}'", gateway.meta.name),
            });
        }
        let meta = new.meta.clone();
        let gateway = make(tx, self.id, meta, &vpc, &network, new.address_count).await?;
        Ok(Effect::on(gateway))
    }
}

struct Update {
    id: NatGatewayId,
    changes: Changes,
}

#[async_trait]
impl Change for Update {
    type Value = NatGateway;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<NatGateway>, Error> {
        let before: NatGateway = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(NatGateway::KIND, self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::nat_gateway_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: NatGatewayId,
}

#[async_trait]
impl Change for Delete {
    type Value = NatGateway;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<NatGateway>, Error> {
        let gateway: NatGateway = get(tx, &self.id).await?;
        let target = RouteTarget::NatGateway(gateway.id);
        expect_no_route(tx, gateway.vpc_id, target, &gateway).await?;
        store::nat_gateway_delete(tx, &gateway).await?;
        Ok(Effect::on(gateway))
    }
}
