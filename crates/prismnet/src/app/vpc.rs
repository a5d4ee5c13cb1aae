//! VPCs: created with a routing table of their own, deleted when empty.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_resource::{Error, Page, VpcId};
use photon_service::Mutation;

use super::change::{Change, Effect, commit, now};
use super::number::free_table;
use crate::model::{Changes, NewVpc, Vpc};
use crate::store::{self, Query};

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
    pub async fn list(&self, query: Query) -> Result<Page<Vpc>, Error> {
        store::page(&self.db, query, |_| true).await
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

    /// Errors: `NotFound`, `FailedPrecondition` while it has subnets.
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
            meta: self.new.meta.clone().into_meta(now()),
            cidr: self.new.cidr,
            ipv6_cidr: self.new.ipv6_cidr,
            table: free_table(tx).await?,
        };
        store::vpc_create(tx, &vpc).await?;
        Effect::created(vpc)
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
        let before: Vpc = store::get(tx, self.id).await?;
        let mut after = before.clone();
        after.meta.apply(VpcId::KIND, self.changes.clone(), now())?;
        store::vpc_update(tx, &before, &after).await?;
        Effect::updated(&before, after)
    }
}

struct Delete {
    id: VpcId,
}

#[async_trait]
impl Change for Delete {
    type Value = Vpc;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Vpc>, Error> {
        let vpc: Vpc = store::get(tx, self.id).await?;
        store::vpc_delete(tx, &vpc).await?;
        Effect::deleted(vpc)
    }
}
