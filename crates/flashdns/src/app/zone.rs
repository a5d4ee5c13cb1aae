//! Zones: one of a name in a project, and in each VPC.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, get, list};
use photon_resource::{Error, Time, ZoneId};
use photon_service::Mutation;

use crate::model::{NewZone, Zone, ZoneChanges};
use crate::store;

/// The zones of all tenants.
#[derive(Clone)]
pub struct Zones {
    db: Db,
    suffix: String,
}

impl Zones {
    /// Those in `db`, of a cloud whose automatic names end with `suffix`.
    pub fn new(db: Db, suffix: &str) -> Self {
        Self {
            db,
            suffix: suffix.to_owned(),
        }
    }

    /// Errors: `AlreadyExists` (in the project), `Taken` (in a VPC), `InvalidArgument`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewZone,
        answer: impl Fn(&Zone) -> A,
    ) -> Result<A, Error> {
        let mut change = Create {
            id: ZoneId::generate(),
            new: new.validated(&self.suffix)?,
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page.
    pub async fn list(&self, query: Query) -> Result<Listing<Zone>, Error> {
        list(&self.db, query, |_| true).await
    }

    /// Errors: `NotFound`, `Conflict`, `Taken`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: ZoneId,
        changes: ZoneChanges,
        answer: impl Fn(&Zone) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while it has record sets.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: ZoneId,
    ) -> Result<A, Error> {
        let answer = |_: &Zone| A::default();
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }
}

struct Create {
    id: ZoneId,
    new: NewZone,
}

#[async_trait]
impl Change for Create {
    type Value = Zone;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Zone>, Error> {
        let zone = Zone {
            id: self.id,
            meta: self.new.meta.clone().into_meta(Time::now()),
            vpc_ids: self.new.vpc_ids.clone(),
            default_ttl: self.new.default_ttl,
        };
        store::zone_create(tx, &zone).await?;
        Ok(Effect::on(zone))
    }
}

struct Update {
    id: ZoneId,
    changes: ZoneChanges,
}

#[async_trait]
impl Change for Update {
    type Value = Zone;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Zone>, Error> {
        let before: Zone = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(Zone::KIND, self.changes.common.clone())?;
        if let Some(vpc_ids) = &self.changes.vpc_ids {
            after.vpc_ids.clone_from(vpc_ids);
        }
        if let Some(ttl) = self.changes.default_ttl {
            after.default_ttl = ttl;
        }
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::zone_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: ZoneId,
}

#[async_trait]
impl Change for Delete {
    type Value = Zone;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Zone>, Error> {
        let zone: Zone = get(tx, &self.id).await?;
        store::zone_delete(tx, &zone).await?;
        Ok(Effect::on(zone))
    }
}
