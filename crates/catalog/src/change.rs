//! One change, from its transaction to its answer.
//!
//! ```text
//!  begin ─► replay? ─► Change::apply ─► commit state + answer + event ─► answer
//!    ▲                    │ refused: does all that was read still hold? no: ─┐
//!    └────────────────────┴── another commit came first ◄────────────────────┘
//! ```

use async_trait::async_trait;
use chainfire::{Digest, Ledger, NewEvent, Outcome};
use flaredb::{Committed, Db, Transaction};
use futures::future::BoxFuture;
use photon_resource::{Error, OrgId, PrincipalId, ProjectId, ResourceName};
use photon_service::Mutation;

use crate::stored::Stored;

/// How often a refusal is looked into before it is believed, and how often a change of the server's own is tried when
/// others get there first.
const ATTEMPTS: u32 = 100;

/// What a change did.
pub struct Effect<T> {
    /// `None`: nothing has changed, and no event is written.
    entry: Option<AuditEntry>,
    /// What was written is to be committed although it is no event.
    silent: bool,
    /// What the answer tells of.
    value: T,
}

/// What the event tells.
struct AuditEntry {
    resource: ResourceName,
    /// Where the record is that the event's digests are of.
    key: Option<String>,
    reason: String,
    /// Whose doing it is, if that is first known in the transaction.
    principal: Option<PrincipalId>,
}

impl<R: Stored> Effect<R> {
    /// The resource was created, changed or deleted in this transaction. The event's digests are of its record as it was
    /// and as it will be stored.
    pub fn on(resource: R) -> Self {
        Self::about(&resource.clone(), resource)
    }
}

impl<T> Effect<T> {
    /// As [`on`](Self::on), of a resource that the answer does not tell of alone.
    pub fn about<R: Stored>(resource: &R, value: T) -> Self {
        Self {
            entry: Some(AuditEntry {
                resource: resource.resource(),
                key: Some(R::key(&resource.id())),
                reason: String::new(),
                principal: None,
            }),
            silent: false,
            value,
        }
    }

    /// Of something that is no resource with a record of its own.
    pub fn of(resource: ResourceName, value: T) -> Self {
        Self {
            entry: Some(AuditEntry {
                resource,
                key: None,
                reason: String::new(),
                principal: None,
            }),
            silent: false,
            value,
        }
    }

    /// Of something whose record is at `key`.
    pub fn at(resource: ResourceName, key: String, value: T) -> Self {
        Self {
            entry: Some(AuditEntry {
                resource,
                key: Some(key),
                reason: String::new(),
                principal: None,
            }),
            silent: false,
            value,
        }
    }

    /// It was so already.
    pub fn nothing(value: T) -> Self {
        Self {
            entry: None,
            silent: false,
            value,
        }
    }

    /// What was written is nothing that there would be an event of, as the time of a host's last sign of life.
    pub fn silent(value: T) -> Self {
        Self {
            silent: true,
            ..Self::nothing(value)
        }
    }

    /// The same, telling of something else.
    pub fn map<U>(self, other: impl FnOnce(T) -> U) -> Effect<U> {
        Effect {
            entry: self.entry,
            silent: self.silent,
            value: other(self.value),
        }
    }

    /// The event of a server's own change says that it is this principal's.
    pub fn by(mut self, principal: PrincipalId) -> Self {
        if let Some(entry) = &mut self.entry {
            entry.principal = Some(principal);
        }
        self
    }

    /// The event says why.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        if let Some(entry) = &mut self.entry {
            entry.reason = reason.into();
        }
        self
    }
}

/// One change, worked out anew in each transaction until one of them commits.
#[async_trait]
pub trait Change: Send {
    /// What the answer tells of.
    type Value: Send;

    /// Reads what it depends on, judges, and writes.
    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Self::Value>, Error>;
}

/// A change that is one function of a state.
pub struct Work<S, T> {
    state: S,
    apply: Apply<S, T>,
}

/// How a [`Work`] is applied. A function and not a closure, because no trait can yet say that what an async closure that
/// borrows returns is `Send`.
pub type Apply<S, T> =
    for<'t> fn(&'t mut S, &'t mut Transaction) -> BoxFuture<'t, Result<Effect<T>, Error>>;

/// The change that `apply` makes, which gets `state` in each transaction.
pub fn work<S: Send, T: Send>(state: S, apply: Apply<S, T>) -> Work<S, T> {
    Work { state, apply }
}

#[async_trait]
impl<S: Send, T: Send> Change for Work<S, T> {
    type Value = T;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<T>, Error> {
        (self.apply)(&mut self.state, tx).await
    }
}

/// Applies `change` for a call until it commits. The value is `None` when the answer is that of an earlier call with the
/// same `request_id`. A change that changes nothing is answered, and remembered for repeated calls, without an event.
pub async fn commit<C, A>(
    db: &Db,
    mutation: Mutation,
    change: &mut C,
    answer: impl Fn(&C::Value) -> A,
) -> Result<(A, Option<C::Value>), Error>
where
    C: Change,
    A: prost::Message + Default,
{
    let twice = |value: &C::Value| (answer(value), None);
    answered(db, mutation, change, twice).await
}

/// As [`commit`], for an answer with a secret, which must not be stored: `answer` gives what this call is answered and
/// what repeated calls are.
pub async fn commit_secret<C, A>(
    db: &Db,
    mutation: Mutation,
    change: &mut C,
    answer: impl Fn(&C::Value) -> (A, A),
) -> Result<(A, Option<C::Value>), Error>
where
    C: Change,
    A: prost::Message + Default,
{
    let both = |value: &C::Value| {
        let (response, replayed) = answer(value);
        (response, Some(replayed))
    };
    answered(db, mutation, change, both).await
}

async fn answered<C, A>(
    db: &Db,
    mut mutation: Mutation,
    change: &mut C,
    answer: impl Fn(&C::Value) -> (A, Option<A>),
) -> Result<(A, Option<C::Value>), Error>
where
    C: Change,
    A: prost::Message + Default,
{
    let mut doubts = ATTEMPTS;
    loop {
        let mut tx = db.begin();
        if let Some(earlier) = mutation.replay(&mut tx).await? {
            return Ok((earlier, None));
        }
        let Some((tx, effect)) = attempt(tx, change, &mut doubts).await? else {
            continue;
        };
        let (response, replayed) = answer(&effect.value);
        let committed = match &effect.entry {
            Some(entry) => {
                let (before, after) = entry.records(&tx);
                mutation
                    .commit(
                        tx,
                        &entry.resource,
                        before.as_deref(),
                        after.as_deref(),
                        &entry.reason,
                        response,
                        replayed.as_ref(),
                    )
                    .await?
            }
            None if effect.silent => mutation.commit_silently(tx, response).await?,
            None => mutation.commit_unchanged(tx, response).await?,
        };
        if let Some(response) = committed {
            return Ok((response, Some(effect.value)));
        }
    }
}

/// Works the change out once. `None`: it was refused, but only because of what it saw half of: another call's commit
/// came between its reads, perhaps that of the very same `request_id`.
async fn attempt<C: Change>(
    mut tx: Transaction,
    change: &mut C,
    doubts: &mut u32,
) -> Result<Option<(Transaction, Effect<C::Value>)>, Error> {
    match change.apply(&mut tx).await {
        Ok(effect) => Ok(Some((tx, effect))),
        Err(_) if *doubts > 0 && !tx.holds().await? => {
            *doubts -= 1;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl AuditEntry {
    /// The record as it was and as it will be stored.
    fn records(&self, tx: &Transaction) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let key = self.key.as_deref();
        let before = key.and_then(|key| tx.stored_before(key));
        let after = key.and_then(|key| tx.stored_after(key));
        (before.map(<[u8]>::to_vec), after.map(<[u8]>::to_vec))
    }
}

/// Applies `change` until it commits, without an event: for what is no news, such as the words beside a status that stays
/// as it is.
///
/// Errors: as [`commit_own`].
pub async fn commit_unrecorded<C: Change>(db: &Db, change: &mut C) -> Result<C::Value, Error> {
    let mut doubts = ATTEMPTS;
    for _ in 0..ATTEMPTS {
        let Some((tx, effect)) = attempt(db.begin(), change, &mut doubts).await? else {
            continue;
        };
        if let Committed::Done(_) = tx.commit().await? {
            return Ok(effect.value);
        }
    }
    Err(too_many("a change without an event"))
}

fn too_many(action: &str) -> Error {
    tracing::warn!(action, "a change lost {ATTEMPTS} races");
    Error::Unavailable("too many changes of the same things at the same time: try again".into())
}

/// Who makes a change that no principal's call makes: a server itself, a host that reports, an installer.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `plasmavmc-server`, `host node02`; empty: unknown.
    pub name: String,
    /// Address that it came from; `local` for the server itself.
    pub source: String,
    /// Of the call that led to it; empty: none did.
    pub request_id: String,
}

impl Actor {
    /// A server itself.
    pub fn server(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            source: "local".to_owned(),
            request_id: String::new(),
        }
    }

    /// The same, by another name.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self.clone()
        }
    }

    /// An event of what this one did, or was refused, without digests.
    pub fn event(
        &self,
        action: &str,
        resource: &ResourceName,
        outcome: Outcome,
        reason: String,
    ) -> NewEvent {
        let org_id: Option<&OrgId> = resource.scope().org();
        let project_id: Option<&ProjectId> = resource.scope().project();
        NewEvent {
            org_id: org_id.cloned(),
            project_id: project_id.cloned(),
            principal_id: None,
            principal_name: self.name.clone(),
            impersonator: None,
            source: self.source.clone(),
            action: action.to_owned(),
            resource: resource.to_string(),
            outcome,
            reason,
            request_id: self.request_id.clone(),
            before_digest: None,
            after_digest: None,
        }
    }
}

/// Applies `change` as `actor` until it commits, with an event of `action` in `ledger` (of the same store). A change that
/// changes nothing writes nothing.
///
/// Errors: those of the change; `Unavailable` when others got there first a hundred times.
pub async fn commit_own<C: Change>(
    db: &Db,
    ledger: &Ledger,
    actor: &Actor,
    action: &str,
    change: &mut C,
) -> Result<C::Value, Error> {
    let mut doubts = ATTEMPTS;
    for _ in 0..ATTEMPTS {
        let Some((tx, effect)) = attempt(db.begin(), change, &mut doubts).await? else {
            continue;
        };
        let Some(entry) = &effect.entry else {
            if !effect.silent || matches!(tx.commit().await?, Committed::Done(_)) {
                return Ok(effect.value);
            }
            continue;
        };
        let (before, after) = entry.records(&tx);
        let mut event = actor.event(
            action,
            &entry.resource,
            Outcome::Success,
            entry.reason.clone(),
        );
        event.principal_id = entry.principal;
        event.before_digest = before.as_deref().map(Digest::of);
        event.after_digest = after.as_deref().map(Digest::of);
        if let Committed::Done(_) = ledger.commit(tx, event).await? {
            return Ok(effect.value);
        }
    }
    Err(too_many(action))
}
