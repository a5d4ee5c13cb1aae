//! Changes: idempotent by `request_id`, recorded in the event log, and repeated when another change got there
//! first. State, the answer to a repeated call, and the event are one transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chainfire::{Ledger, NewEvent, Outcome};
use flaredb::{
    Committed, Db, Derive, Derived, LeaseId, MAX_VALUE_BYTES, Op, Record, Transaction, decode,
    encode_for,
};
use photon_program::Limits;
use photon_program::request_id::is_request_id;
use photon_resource::{Caller, Claims, Error, OrgId, PrincipalId, ProjectId, ResourceName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::call::only_waits;
use crate::limit::Limiter;

/// How often a change is tried when others get there first.
const ATTEMPTS: u32 = 100;
/// How long a repeated `request_id` finds the first answer, at least.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Records of this much time share a lease: one for each would double the writes of a change.
const LEASE_SHARED_FOR: Duration = Duration::from_secs(3600);

/// Up to how many bytes of an answer it is kept whatever else is.
const SMALL: usize = 4 << 10;
/// How many bytes of larger answers, as they are stored, are kept of an organization, or of the cloud's own, on one lease: a day
/// of them has at most 26 times as many. Of what is beyond it is kept that the call was made, which needs some hundred bytes.
const LARGE_KEPT: u64 = 8 << 20;

/// Makes the [`Mutation`]s of one server. Clones share everything.
#[derive(Clone, Debug)]
pub struct Mutations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    ledger: Ledger,
    lease: Mutex<Option<(Instant, LeaseId)>>,
    written: Limiter<PrincipalId>,
}

/// One changing call. A clone is the same call: of those with a `request_id` only one commits.
#[derive(Clone, Debug)]
pub struct Mutation {
    shared: Arc<Inner>,
    caller: Caller,
    action: String,
    /// Where the record of this `request_id` is; `None`: the call has none.
    kept: Option<Kept>,
    digest: String,
    attempts: u32,
}

/// Where the answer to a call is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    key: String,
    /// Where it is counted how much is kept beside it, without the lease that both are on.
    counted: String,
    /// Where the release before kept it, if that can be nobody else's.
    before: Option<String>,
}

impl Kept {
    /// Of this `request_id` by one principal with a token for one scope: an id that it used in one tenant says nothing of
    /// another, whose name the request may leave to the token.
    fn of(claims: &Claims, request_id: &str) -> Self {
        let principal = claims.principal_id;
        let org = claims.org_id.as_ref().map_or("-", OrgId::as_str);
        let project = claims.project_id.as_ref().map_or("-", ProjectId::as_str);
        // Those answers are kept for a day. They don't say of which project they are.
        let before = claims.project_id.is_none();
        Self {
            key: format!("request/{principal}/{org}/{project}/{request_id}"),
            counted: format!("request-bytes/{org}"),
            before: before.then(|| format!("request/{principal}/{request_id}")),
        }
    }
}

/// The answer to a call, for when it is repeated.
#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    action: String,
    /// SHA-256 of the request, in hex.
    digest: String,
    /// The encoded response, in base64.
    response: String,
    /// It was too much to keep: of the call there is only that it was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dropped: bool,
}

/// How many bytes of large answers are kept on a lease, of one organization.
#[derive(Debug, Default, Serialize, Deserialize)]
struct KeptBytes {
    bytes: u64,
}

impl Record for KeptBytes {
    const KIND: &'static str = "size of answered requests";
    const VERSION: u32 = 1;
}

impl Record for Answered {
    const KIND: &'static str = "answered request";
    const VERSION: u32 = 1;
}

impl Mutations {
    /// For changes of `db` that `ledger` (of the same store) records. A small request can change a large record, which is
    /// written anew, logged, and kept as an answer: of that a tenant's principal has as much as `limits` say.
    pub fn new(db: Db, ledger: Ledger, limits: &Limits) -> Self {
        let kib_again = Duration::from_secs(1) / limits.written_kib_per_second.max(1);
        Self(Arc::new(Inner {
            db,
            ledger,
            lease: Mutex::new(None),
            written: Limiter::new(limits.written_kib.max(1), kib_again),
        }))
    }

    /// Begins a change: `action` (`service:type:verb`) by `caller`, with the `request_id` of the request (empty:
    /// a repeated call is a new one).
    ///
    /// Errors: `InvalidArgument` if `request_id` can't be one.
    pub fn start<Req: prost::Message>(
        &self,
        caller: &Caller,
        action: &str,
        request_id: &str,
        request: &Req,
    ) -> Result<Mutation, Error> {
        let kept = match request_id {
            "" => None,
            id if is_request_id(id) => Some(Kept::of(&caller.claims, id)),
            id => {
                return Err(Error::invalid(
                    "request_id",
                    id,
                    "1 to 128 letters, digits, '-', '_', '.', ':'",
                ));
            }
        };
        Ok(Mutation {
            shared: self.0.clone(),
            caller: caller.clone(),
            action: action.to_owned(),
            kept,
            digest: hex::encode(Sha256::digest(request.encode_to_vec())),
            attempts: 0,
        })
    }
}

impl Mutation {
    /// Who makes the change.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The answer to an earlier call with this `request_id` by this principal with a token for the same scope, if there was
    /// one within a day.
    /// Call it first in each transaction.
    ///
    /// Errors: `InvalidArgument` if that was another request, `FailedPrecondition` if its answer was too much to keep.
    pub async fn replay<Resp: prost::Message + Default>(
        &self,
        tx: &mut Transaction,
    ) -> Result<Option<Resp>, Error> {
        let Some(kept) = &self.kept else {
            return Ok(None);
        };
        let mut found = tx.get::<Answered>(&kept.key).await?;
        if let (None, Some(before)) = (&found, &kept.before) {
            found = tx.get::<Answered>(before).await?;
        }
        let Some(answered) = found else {
            return Ok(None);
        };
        if answered.action != self.action || answered.digest != self.digest {
            let id = kept.key.rsplit('/').next().unwrap_or_default();
            return Err(Error::invalid(
                "request_id",
                id,
                format!(
                    "a new one: it was used for another request ({})",
                    answered.action
                ),
            ));
        }
        if answered.dropped {
            let id = kept.key.rsplit('/').next().unwrap_or_default();
            return Err(Error::FailedPrecondition(format!(
                "the call with request_id '{id}' was made before and has had its effect; its answer was too large to keep: \
                 look at what it was about"
            )));
        }
        let bytes = STANDARD
            .decode(&answered.response)
            .map_err(Error::internal)?;
        Resp::decode(bytes.as_slice())
            .map(Some)
            .map_err(Error::internal)
    }

    /// Commits `tx` with its event (on `resource`, with the stored record `before` and `after`, and why if that is not
    /// plain) and the answer for repeated calls, atomically. `None`: another change got there first and nothing was
    /// written; begin a new transaction and do it again.
    ///
    /// Repeated calls read `replayed` if it is given: for a response with a secret, which must not be stored.
    ///
    /// Errors: `Unavailable` after 100 such rounds.
    #[allow(clippy::too_many_arguments)]
    pub async fn commit<Resp: prost::Message + Default>(
        &mut self,
        mut tx: Transaction,
        resource: &ResourceName,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
        reason: &str,
        response: Resp,
        replayed: Option<&Resp>,
    ) -> Result<Option<Resp>, Error> {
        let answer = replayed.unwrap_or(&response);
        self.pay(after, answer)?;
        self.remember(&mut tx, answer).await?;
        let event = self.event(resource, before, after, reason);
        only_waits();
        let committed = self.shared.ledger.commit(tx, event).await;
        Ok(self.settled(committed).await?.then_some(response))
    }

    /// Commits the answer for repeated calls to a call that has changed nothing, if what `tx` read is still so: as
    /// [`commit`](Self::commit), without an event.
    pub async fn commit_unchanged<Resp: prost::Message + Default>(
        &mut self,
        tx: Transaction,
        response: Resp,
    ) -> Result<Option<Resp>, Error> {
        if self.kept.is_none() {
            return Ok(Some(response));
        }
        self.commit_silently(tx, response).await
    }

    /// Commits `tx`, whose changes are nothing that there would be an event of, with the answer for repeated calls.
    pub async fn commit_silently<Resp: prost::Message + Default>(
        &mut self,
        mut tx: Transaction,
        response: Resp,
    ) -> Result<Option<Resp>, Error> {
        self.remember(&mut tx, &response).await?;
        only_waits();
        let committed = tx.commit().await;
        Ok(self.settled(committed).await?.then_some(response))
    }

    /// Charges a tenant's principal for what is about to be written, once for all attempts.
    ///
    /// Errors: `ResourceExhausted` if it has written more than it may.
    fn pay<Resp: prost::Message>(&self, after: Option<&[u8]>, answer: &Resp) -> Result<(), Error> {
        let claims = &self.caller.claims;
        if claims.org_id.is_none() || self.attempts > 0 {
            return Ok(());
        }
        // The record and its copy in the log of changes; the answer in base64.
        let record = 2 * after.map_or(0, <[u8]>::len);
        let kept = self.kept.as_ref().map_or(0, |_| answer.encoded_len());
        let kib = u32::try_from((record + kept / 3 * 4) >> 10).unwrap_or(u32::MAX);
        // And its event. Who removes something can always go on.
        let kib = match after {
            Some(_) => kib.saturating_add(1),
            None if kib == 0 => return Ok(()),
            None => kib,
        };
        let (who, now) = (claims.principal_id, Instant::now());
        let written = &self.shared.written;
        written.turn(who, now, Duration::ZERO).map_err(|after| {
            let seconds = after.as_secs() + 1;
            Error::ResourceExhausted(format!(
                "{} has changed so much that the store takes no more of it now: try again in {seconds} s",
                claims.principal_name
            ))
        })?;
        written.charge(who, now, kib - 1);
        Ok(())
    }

    /// Keeps the answer for repeated calls.
    async fn remember<Resp: prost::Message>(
        &self,
        tx: &mut Transaction,
        response: &Resp,
    ) -> Result<(), Error> {
        let Some(Kept { key, counted, .. }) = &self.kept else {
            return Ok(());
        };
        let answered = |response: String, dropped| Answered {
            action: self.action.clone(),
            digest: self.digest.clone(),
            response,
            dropped,
        };
        let lease = self.shared.lease().await?;
        let encoded = response.encode_to_vec();
        let whole = answered(STANDARD.encode(&encoded), false);
        if encoded.len() <= SMALL {
            tx.put_with_lease(key, &whole, lease)?;
            return Ok(());
        }
        let (db, key) = (tx.db(), key.clone());
        let schema = db.schema();
        let whole = encode_for(schema, &key, &whole)?;
        let short = encode_for(schema, &key, &answered(String::new(), true))?;
        let counted = format!("{counted}/{}", lease.0);
        tx.derive(Derive {
            reads: vec![counted.clone()],
            make: Box::new(move |read| {
                let kept = match read.first().and_then(Option::as_ref) {
                    Some(item) => decode::<KeptBytes>(&item.key, &item.value)?.bytes,
                    None => 0,
                };
                let put = |key: &String, value: &Vec<u8>| Op::Put {
                    key: key.clone(),
                    value: value.clone(),
                    lease: Some(lease),
                };
                let bytes = kept.saturating_add(whole.len() as u64);
                let ops = if bytes > LARGE_KEPT || whole.len() > MAX_VALUE_BYTES {
                    vec![put(&key, &short)]
                } else {
                    let count = encode_for(schema, &counted, &KeptBytes { bytes })?;
                    vec![put(&key, &whole), put(&counted, &count)]
                };
                Ok(Derived {
                    compares: Vec::new(),
                    ops,
                })
            }),
        });
        Ok(())
    }

    /// Whether it was committed; if not, it is to be tried again.
    async fn settled(
        &mut self,
        committed: Result<Committed, flaredb::Error>,
    ) -> Result<bool, Error> {
        match committed {
            Ok(Committed::Done(_)) => Ok(true),
            Ok(Committed::Conflict { key }) => {
                self.attempts += 1;
                if self.attempts < ATTEMPTS {
                    return Ok(false);
                }
                let action = &self.action;
                tracing::warn!(action, key, "a change lost {ATTEMPTS} races");
                Err(Error::Unavailable(
                    "too many changes of the same things at the same time: try again".into(),
                ))
            }
            Err(error) => {
                // It may have ended between its grant and this commit; the next call gets a new one.
                if matches!(error, flaredb::Error::LeaseNotFound(_)) {
                    *self.shared.lease.lock().await = None;
                }
                Err(error.into())
            }
        }
    }

    fn event(
        &self,
        resource: &ResourceName,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
        reason: &str,
    ) -> NewEvent {
        let claims = &self.caller.claims;
        NewEvent {
            org_id: resource.scope().org().cloned(),
            project_id: resource.scope().project().cloned(),
            principal_id: Some(claims.principal_id),
            principal_name: claims.principal_name.clone(),
            impersonator: claims.impersonator.clone(),
            source: self.caller.source.clone(),
            action: self.action.clone(),
            resource: resource.to_string(),
            outcome: Outcome::Success,
            reason: reason.to_owned(),
            request_id: self.caller.request_id.clone(),
            before_digest: before.map(chainfire::Digest::of),
            after_digest: after.map(chainfire::Digest::of),
        }
    }
}

impl Inner {
    /// A lease that has [`KEPT`] left.
    async fn lease(&self) -> Result<LeaseId, Error> {
        let mut lease = self.lease.lock().await;
        if let Some((granted, id)) = *lease
            && granted.elapsed() < LEASE_SHARED_FOR
        {
            return Ok(id);
        }
        let granted = Instant::now();
        let id = self.db.lease_grant(KEPT + LEASE_SHARED_FOR).await?;
        *lease = Some((granted, id));
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
