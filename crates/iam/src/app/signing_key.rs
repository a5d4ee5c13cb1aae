//! Signing keys: made when there is none, rotated on request and when the current one is old.

use std::time::{Duration, SystemTime};

use flaredb::Transaction;
use photon_catalog::Effect;
use photon_resource::{Error, ResourceName, Scope};
use photon_service::Mutation;

use super::{Core, now};
use crate::store::{session, signing_key as store};
use crate::token::{ServerKey, SigningKey};

/// The full name of a signing key.
pub fn name(id: &str) -> ResourceName {
    ResourceName::new(Scope::System, "signingKeys", id)
}

/// Adds `new` to the keys, which retires the others, or with `revoke_old` makes them unknown. Keys whose last token
/// has ended are dropped.
async fn rotate_in(tx: &mut Transaction, new: &SigningKey, revoke_old: bool) -> Result<(), Error> {
    tx.touch(store::GUARD).await?;
    for mut old in store::signing_key_all(tx).await? {
        if revoke_old || !old.in_use(new.created_at) {
            store::signing_key_delete(tx, &old.id);
        } else if old.retired_at.is_none() {
            old.retired_at = Some(new.created_at);
            store::signing_key_put(tx, &old)?;
        }
    }
    store::signing_key_put(tx, new)
}

/// Makes a new key; `revoke_old` makes the others unknown. `answer` gets the id of the new one.
pub async fn rotate<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    revoke_old: bool,
    answer: impl Fn(&String) -> A,
) -> Result<A, Error> {
    let key = SigningKey::generate(core.live.server_key(), now()).map_err(Error::internal)?;
    core.change(
        mutation,
        (key, revoke_old),
        |(key, revoke_old), tx| {
            Box::pin(async move {
                rotate_in(tx, key, *revoke_old).await?;
                if *revoke_old {
                    // Whoever had a token signs in anew.
                    session::epoch_put(tx, key.created_at)?;
                }
                let stored = store::key(&key.id);
                Ok(Effect::at(name(&key.id), stored, key.id.clone()))
            })
        },
        answer,
    )
    .await
}

/// Makes a key if there is none that signs, or the one that does is older than `longest`. Answers whether it did.
pub async fn ensure(
    db: &flaredb::Db,
    server_key: &ServerKey,
    longest: Duration,
) -> Result<bool, Error> {
    loop {
        let time = now();
        let young = |key: &SigningKey| {
            key.retired_at.is_none() && SystemTime::now() < key.created_at + longest
        };
        if store::signing_key_list(db).await?.iter().any(young) {
            return Ok(false);
        }
        let key = SigningKey::generate(server_key, time).map_err(Error::internal)?;
        let mut tx = db.begin();
        rotate_in(&mut tx, &key, false).await?;
        if let flaredb::Committed::Done(_) = tx.commit().await? {
            tracing::info!(key = key.id, "made a new signing key");
            return Ok(true);
        }
    }
}
