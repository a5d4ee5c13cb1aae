//! VPCs: created with a routing table of their own, deleted when empty.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, get, list};
use photon_resource::{Changes, Error, Time, VpcId};
use photon_service::Mutation;

use super::number::free_table;
use crate::model::{NewVpc, Vpc};
use crate::store;

/// The VPCs of all tenants.
#[derive(Clone)]
pub struct Vpcs {
    db: Db,
}

impl Vpcs {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `AlreadyExists`, `InvalidArgument`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewVpc,
        answer: impl Fn(&Vpc) -> A,
    ) -> Result<A, Error> {
        new.meta.validate()?;
        let id = VpcId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page.
    pub async fn list(&self, query: Query) -> Result<Listing<Vpc>, Error> {
        list(&self.db, query, |_| true).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: VpcId,
        changes: Changes,
        answer: impl Fn(&Vpc) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while it has subnets, a NAT gateway, routes or peerings.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: VpcId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }
}

struct Create {
    id: VpcId,
    new: NewVpc,
}

#[async_trait]
impl Change for Create {
    type Value = Vpc;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vpc>, Error> {
        let vpc = Vpc {
            id: self.id,
            meta: self.new.meta.clone().into_meta(Time::now()),
            cidr: self.new.cidr,
            ipv6_cidr: self.new.ipv6_cidr,
            table: free_table(tx).await?,
        };
        store::vpc_create(tx, &vpc).await?;
        Ok(Effect::on(vpc))
    }
}

struct Update {
    id: VpcId,
    changes: Changes,
}

#[async_trait]
impl Change for Update {
    type Value = Vpc;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vpc>, Error> {
        let before: Vpc = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(Vpc::KIND, self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::vpc_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: VpcId,
}

#[async_trait]
impl Change for Delete {
    type Value = Vpc;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vpc>, Error> {
        let vpc: Vpc = get(tx, &self.id).await?;
        store::vpc_delete(tx, &vpc).await?;
        Ok(Effect::on(vpc))
    }
}
