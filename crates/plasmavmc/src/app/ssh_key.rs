//! SSH keys that projects keep by name. A VM takes a key's text with it when it is made, so that a key may go at any time.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{
    Change, Effect, Listing, Query, Stored, commit, get, insert, list, remove, replace,
};
use photon_resource::{Error, SshKeyId, Time};
use photon_service::Mutation;

use crate::model::{NewSshKey, SshKey, SshKeyChanges};

/// The SSH keys of all tenants.
#[derive(Clone)]
pub struct SshKeys {
    db: Db,
}

impl SshKeys {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `AlreadyExists`, `InvalidArgument`, `QuotaExceeded`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewSshKey,
        answer: impl Fn(&SshKey) -> A,
    ) -> Result<A, Error> {
        new.meta.validate()?;
        let id = SshKeyId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page.
    pub async fn list(&self, query: Query) -> Result<Listing<SshKey>, Error> {
        list(&self.db, query, |_| true).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SshKeyId,
        changes: SshKeyChanges,
        answer: impl Fn(&SshKey) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SshKeyId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        let (answer, _) = commit(&self.db, mutation, &mut change, |_| A::default()).await?;
        Ok(answer)
    }
}

struct Create {
    id: SshKeyId,
    new: NewSshKey,
}

#[async_trait]
impl Change for Create {
    type Value = SshKey;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SshKey>, Error> {
        let key = SshKey {
            id: self.id,
            meta: self.new.meta.clone().into_meta(Time::now()),
            key: self.new.key.clone(),
        };
        insert(tx, &key).await?;
        Ok(Effect::on(key))
    }
}

struct Update {
    id: SshKeyId,
    changes: SshKeyChanges,
}

#[async_trait]
impl Change for Update {
    type Value = SshKey;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SshKey>, Error> {
        let before: SshKey = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(SshKey::KIND, self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        replace(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: SshKeyId,
}

#[async_trait]
impl Change for Delete {
    type Value = SshKey;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SshKey>, Error> {
        let key: SshKey = get(tx, &self.id).await?;
        remove(tx, &key);
        Ok(Effect::on(key))
    }
}
