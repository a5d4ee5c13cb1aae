//! One change, from its transaction to its answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_resource::{Error, ResourceName};
use photon_service::Mutation;

use crate::store::{Stored, stored_bytes};

/// How often a refusal is looked into before it is believed.
const DOUBTS: u32 = 100;

/// What a change did.
pub(super) struct Effect<T> {
    /// `None`: nothing has changed, and nothing is committed.
    event: Option<Told>,
    /// What the answer tells of.
    value: T,
}

/// What the event tells.
struct Told {
    resource: ResourceName,
    /// As they were and will be stored.
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

impl<R: Stored> Effect<R> {
    pub fn created(resource: R) -> Result<Self, Error> {
        let after = stored_bytes(&resource)?;
        Ok(Self {
            event: Some(Told {
                resource: resource.resource(),
                before: None,
                after: Some(after),
            }),
            value: resource,
        })
    }

    pub fn updated(before: &R, after: R) -> Result<Self, Error> {
        Ok(Self {
            event: Some(Told {
                resource: after.resource(),
                before: Some(stored_bytes(before)?),
                after: Some(stored_bytes(&after)?),
            }),
            value: after,
        })
    }

    pub fn deleted(resource: R) -> Result<Self, Error> {
        let before = stored_bytes(&resource)?;
        Ok(Self {
            event: Some(Told {
                resource: resource.resource(),
                before: Some(before),
                after: None,
            }),
            value: resource,
        })
    }
}

impl<T> Effect<T> {
    /// Of something that is no resource of its own.
    pub fn on(resource: ResourceName, value: T) -> Self {
        Self {
            event: Some(Told {
                resource,
                before: None,
                after: None,
            }),
            value,
        }
    }

    /// It was so already.
    pub fn nothing(value: T) -> Self {
        Self { event: None, value }
    }
}

/// One change, worked out anew in each transaction until one of them commits.
#[async_trait]
pub(super) trait Change: Send {
    /// What the answer tells of.
    type Value: Send;

    /// Reads what it depends on, judges, and writes.
    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Self::Value>, Error>;
}

/// Applies `change` until it commits. The value is `None` when the answer is that of an earlier call with the same
/// `request_id`.
pub(super) async fn commit<C, A>(
    db: &Db,
    mut mutation: Mutation,
    change: &mut C,
    answer: impl Fn(&C::Value) -> A,
) -> Result<(A, Option<C::Value>), Error>
where
    C: Change,
    A: prost::Message + Default,
{
    let mut doubts = DOUBTS;
    loop {
        let mut tx = db.begin();
        if let Some(earlier) = mutation.replay(&mut tx).await? {
            return Ok((earlier, None));
        }
        let effect = match change.apply(&mut tx).await {
            Ok(effect) => effect,
            // Refused, but only because of what it saw half of: another call's commit came between its
            // reads, perhaps that of the very same request_id.
            Err(_) if doubts > 0 && !tx.holds().await? => {
                doubts -= 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let response = answer(&effect.value);
        let Some(told) = effect.event else {
            return Ok((response, Some(effect.value)));
        };
        let committed = mutation
            .commit(
                tx,
                &told.resource,
                told.before.as_deref(),
                told.after.as_deref(),
                response,
            )
            .await?;
        if let Some(response) = committed {
            return Ok((response, Some(effect.value)));
        }
    }
}

/// The time in whole microseconds, as it is stored: what a create answers is what a get will read.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_micros() * 1000)
}
