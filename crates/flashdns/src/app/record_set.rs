//! Record sets: one of a name and type in a zone, and an alias alone at its name.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get};
use photon_resource::{Error, RecordSetId, Time, ZoneId};
use photon_service::Mutation;

use crate::model::{NewRecordSet, RecordSet, RecordSetChanges, RecordType, Zone};
use crate::store;

/// The record sets of all tenants.
#[derive(Clone)]
pub struct RecordSets {
    db: Db,
}

impl RecordSets {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `NotFound` (the zone), `AlreadyExists` (of this name and type), `FailedPrecondition` (a CNAME beside others),
    /// `InvalidArgument`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewRecordSet,
        answer: impl Fn(&RecordSet) -> A,
    ) -> Result<A, Error> {
        let mut change = Create {
            id: RecordSetId::generate(),
            new: new.validated()?,
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page; with a zone, only its sets.
    pub async fn list(
        &self,
        query: Query,
        zone: Option<ZoneId>,
    ) -> Result<Listing<RecordSet>, Error> {
        store::record_set_list(&self.db, query, zone).await
    }

    /// Errors: `NotFound`, `Conflict`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        set: &RecordSet,
        changes: RecordSetChanges,
        answer: impl Fn(&RecordSet) -> A,
    ) -> Result<A, Error> {
        let mut change = Update {
            id: set.id,
            changes: changes.validated(set.kind)?,
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: RecordSetId,
    ) -> Result<A, Error> {
        let answer = |_: &RecordSet| A::default();
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }
}

struct Create {
    id: RecordSetId,
    new: NewRecordSet,
}

#[async_trait]
impl Change for Create {
    type Value = RecordSet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<RecordSet>, Error> {
        let zone: Zone = find(tx, &self.new.meta.scope(), &self.new.zone).await?;
        self.new.fits(&zone.meta.name)?;
        let name = &self.new.meta.name;
        let there = store::types_at(tx, zone.id, name).await?;
        if there.contains(&self.new.kind) {
            return Err(Error::already_exists(RecordSet::KIND.noun, name));
        }
        let alias = RecordType::Cname;
        if there.contains(&alias) || (self.new.kind == alias && !there.is_empty()) {
            return Err(Error::FailedPrecondition(format!(
                "an alias is alone at its name (RFC 1034 section 3.6.2): '{name}' in {} has records already, delete them first",
                zone.meta.name
            )));
        }
        let set = RecordSet {
            id: self.id,
            meta: self.new.meta.clone().into_meta(Time::now()),
            zone_id: zone.id,
            kind: self.new.kind,
            ttl: self.new.ttl,
            values: self.new.values.clone(),
        };
        store::record_set_create(tx, &set).await?;
        Ok(Effect::on(set))
    }
}

struct Update {
    id: RecordSetId,
    changes: RecordSetChanges,
}

#[async_trait]
impl Change for Update {
    type Value = RecordSet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<RecordSet>, Error> {
        let before: RecordSet = get(tx, &self.id).await?;
        let mut after = before.clone();
        let common = self.changes.common.clone();
        after.meta.apply(RecordSet::KIND, common)?;
        if let Some(ttl) = self.changes.ttl {
            after.ttl = ttl;
        }
        if let Some(values) = &self.changes.values {
            after.values.clone_from(values);
        }
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::record_set_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: RecordSetId,
}

#[async_trait]
impl Change for Delete {
    type Value = RecordSet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<RecordSet>, Error> {
        let set: RecordSet = get(tx, &self.id).await?;
        store::record_set_delete(tx, &set);
        Ok(Effect::on(set))
    }
}
