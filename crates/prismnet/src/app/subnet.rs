//! Subnets: inside their VPC, apart from each other.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use ipnet::Ipv4Net;
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, list};
use photon_resource::{Error, SubnetId, Time, VpcId};
use photon_service::Mutation;

use super::addresses::Addresses;
use super::number::free_vni;
use crate::model::{NewSubnet, Route, Subnet, SubnetChanges, Vpc, validate_dns_servers};
use crate::store;

/// As many subnets as a VPC has: a new one is compared with each.
const MAX_SUBNETS: usize = 1000;

/// The subnets of all tenants.
#[derive(Clone)]
pub struct Subnets {
    db: Db,
    addresses: Addresses,
}

impl Subnets {
    /// Those in `db`.
    pub fn new(db: Db, addresses: Addresses) -> Self {
        Self { db, addresses }
    }

    /// Errors: `NotFound` (the VPC), `AlreadyExists`, `InvalidArgument` (also: outside of the VPC, or
    /// overlapping another subnet), `ResourceExhausted`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewSubnet,
        answer: impl Fn(&Subnet) -> A,
    ) -> Result<A, Error> {
        new.meta.validate()?;
        validate_dns_servers(&new.dns_servers)?;
        let id = SubnetId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page; with a VPC, only its subnets.
    pub async fn list(&self, query: Query, vpc: Option<VpcId>) -> Result<Listing<Subnet>, Error> {
        let keep = |subnet: &Subnet| vpc.is_none_or(|vpc| subnet.vpc_id == vpc);
        list(&self.db, query, keep).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SubnetId,
        changes: SubnetChanges,
        answer: impl Fn(&Subnet) -> A,
    ) -> Result<A, Error> {
        changes.common.validate()?;
        validate_dns_servers(changes.dns_servers.as_deref().unwrap_or_default())?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while it has ports.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SubnetId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        let (answer, deleted) = commit(&self.db, mutation, &mut change, |_| A::default()).await?;
        if deleted.is_some() {
            self.addresses.forget(id);
        }
        Ok(answer)
    }
}

struct Create {
    id: SubnetId,
    new: NewSubnet,
}

#[async_trait]
impl Change for Create {
    type Value = Subnet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Subnet>, Error> {
        let vpc: Vpc = find(tx, &self.new.meta.scope(), &self.new.vpc).await?;
        self.new.fits(&vpc)?;
        let ipv6 = self.new.ipv6.map(|ipv6| ipv6.cidr);
        let others = store::subnets_of(tx, vpc.id).await?;
        expect_room(&vpc, others.len())?;
        for other in others {
            if other.overlaps(self.new.cidr, ipv6) {
                return Err(overlap(&self.new, &vpc, &other));
            }
        }
        expect_no_detour(tx, vpc.id, self.new.cidr).await?;
        let subnet = Subnet {
            id: self.id,
            vpc_id: vpc.id,
            meta: self.new.meta.clone().into_meta(Time::now()),
            cidr: self.new.cidr,
            gateway: self.new.gateway,
            dhcp_enabled: self.new.dhcp_enabled,
            dns_servers: self.new.dns_servers.clone(),
            ipv6: self.new.ipv6,
            vni: free_vni(tx).await?,
        };
        store::subnet_create(tx, &subnet).await?;
        Ok(Effect::on(subnet))
    }
}

struct Update {
    id: SubnetId,
    changes: SubnetChanges,
}

#[async_trait]
impl Change for Update {
    type Value = Subnet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Subnet>, Error> {
        let before: Subnet = get(tx, &self.id).await?;
        let mut after = before.clone();
        after
            .meta
            .apply(Subnet::KIND, self.changes.common.clone())?;
        if let Some(enabled) = self.changes.dhcp_enabled {
            after.dhcp_enabled = enabled;
        }
        if let Some(servers) = &self.changes.dns_servers {
            after.dns_servers.clone_from(servers);
        }
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::subnet_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: SubnetId,
}

#[async_trait]
impl Change for Delete {
    type Value = Subnet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Subnet>, Error> {
        let subnet: Subnet = get(tx, &self.id).await?;
        store::subnet_delete(tx, &subnet).await?;
        Ok(Effect::on(subnet))
    }
}

/// Whether no route of a VPC leads addresses of a new subnet elsewhere. Errors: `FailedPrecondition` naming the route.
pub(super) async fn expect_no_detour(
    tx: &mut Transaction,
    vpc: VpcId,
    cidr: Ipv4Net,
) -> Result<(), Error> {
    let routes = store::routes_of(tx, vpc).await?;
    let Some(route) = routes.iter().find(|it| cidr.contains(&it.destination)) else {
        return Ok(());
    };
    let route: Route = get(tx, &route.id).await?;
    Err(Error::FailedPrecondition(format!(
        "route '{}' leads {} elsewhere, which the subnet {cidr} would have: delete the route first, or use another network",
        route.meta.name, route.destination
    )))
}

/// Whether a VPC with so many subnets may have one more. Errors: `QuotaExceeded`.
pub(super) fn expect_room(vpc: &Vpc, subnets: usize) -> Result<(), Error> {
    if subnets < MAX_SUBNETS {
        return Ok(());
    }
    Err(Error::quota_exceeded(
        "subnets_of_vpc",
        subnets as u64,
        MAX_SUBNETS as u64,
        format!(
            "VPC '{}' has {MAX_SUBNETS} subnets, which is the most: delete one or use another VPC",
            vpc.meta.name
        ),
    ))
}

fn overlap(new: &NewSubnet, vpc: &Vpc, other: &Subnet) -> Error {
    if other.overlaps(new.cidr, None) {
        return Error::invalid(
            "cidr",
            new.cidr,
            format!(
                "a network that overlaps no other subnet of VPC '{}': '{}' has {}",
                vpc.meta.name, other.meta.name, other.cidr
            ),
        );
    }
    let cidr = new.ipv6.map(|ipv6| ipv6.cidr.to_string());
    Error::invalid(
        "ipv6_cidr",
        cidr.unwrap_or_default(),
        format!(
            "a network that no other subnet of VPC '{}' has: it is that of '{}'",
            vpc.meta.name, other.meta.name
        ),
    )
}
