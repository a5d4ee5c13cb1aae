//! What a call that was let in holds, and what it still has to pay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tonic::Status;

use super::{
    Admission, DECISIONS_PER_CALL, Good, Holder, Key, Kind, PATIENCE, PROGRAMS_PACE, Queue,
    Refusal, Who, is_program,
};
use crate::holds::{Hold, Holds};
use crate::turns::Turn;

/// Bytes of requests that are held in memory, by all, by one organization, principal, by strangers, by one stranger.
const BYTES: usize = 256 << 20;
const BYTES_OF_ORGANIZATION: usize = 64 << 20;
const BYTES_OF_PRINCIPAL: usize = 32 << 20;
const BYTES_OF_STRANGERS: usize = 32 << 20;
pub(super) const BYTES_OF_STRANGER: usize = 4 << 20;
/// An answer costs one more call for each of these.
pub(super) const BYTES_PER_CALL: usize = 16 << 10;
/// And so does the time that it took, beyond this.
pub(super) const TIME_PER_CALL: Duration = Duration::from_millis(50);

/// What a call holds until its answer is told.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    who: Who,
    pub(super) kind: Kind,
    _hold: Hold<Key>,
    /// Bytes of the answer that were not charged yet.
    unpaid: AtomicU32,
}

impl Permit {
    pub(super) fn new(admission: &Arc<Admission>, who: Who, kind: Kind, hold: Hold<Key>) -> Self {
        Self {
            admission: Arc::clone(admission),
            who,
            kind,
            _hold: hold,
            unpaid: AtomicU32::new(0),
        }
    }

    /// Takes the call's turn: after how long it comes.
    pub(super) fn turn(&self, now: Instant) -> Result<Duration, Refusal> {
        let admission = &self.admission;
        let tell = |after: Duration, per_second: u32, whose: &str| Refusal {
            who: self.who.named(),
            why: "it asks too fast",
            text: format!("{whose} may make {per_second} calls a second, and made more"),
            after,
        };
        let limits = &admission.limits;
        match &self.who {
            Who::Stranger(source, _) => admission
                .strangers
                .turn(*source, now, PATIENCE)
                .map_err(|after| tell(after, limits.stranger.per_second, &self.who.named())),
            Who::Known(claims) => match (claims.kind, &claims.org_id, self.kind) {
                (kind, _, _) if is_program(kind) => {
                    let rate = limits.principal.per_second.saturating_mul(PROGRAMS_PACE);
                    admission
                        .programs
                        .turn(claims.principal_id, now, PATIENCE)
                        .map_err(|after| tell(after, rate, &self.who.named()))
                }
                (_, _, Kind::Decision) => {
                    let rate = limits
                        .principal
                        .per_second
                        .saturating_mul(DECISIONS_PER_CALL);
                    admission
                        .decisions
                        .turn(claims.principal_id, now, PATIENCE)
                        .map_err(|after| tell(after, rate, &self.who.named()))
                }
                (_, org, _) => {
                    let own = admission
                        .principals
                        .turn(claims.principal_id, now, PATIENCE)
                        .map_err(|after| {
                            tell(after, limits.principal.per_second, &self.who.named())
                        })?;
                    let Some(org) = org else { return Ok(own) };
                    let whose = format!("the organization {org}");
                    let common = admission
                        .organizations
                        .turn(org.clone(), now, PATIENCE)
                        .map_err(|after| tell(after, limits.organization.per_second, &whose))?;
                    Ok(own.max(common))
                }
            },
        }
    }

    /// Waits until the call may be carried out; `None`: at once. Calls of tenants and strangers get there in turns, so that
    /// nobody's calls wait for all of somebody else's.
    pub fn carry_out(&self) -> Option<impl Future<Output = Turn<Queue>> + Send + 'static> {
        let queue = self.who.queue()?;
        let turns = match queue {
            Queue::Source(_) => &self.admission.strangers_turns,
            Queue::Organization(_) => &self.admission.turns,
        };
        Some(Arc::clone(turns).take(queue))
    }

    /// A budget for the bytes of its request.
    pub fn bytes(&self) -> Bytes {
        let good = |holder, most| ((Good::Bytes, holder), most);
        let mut shares = match &self.who {
            Who::Stranger(source, _) => vec![
                good(Holder::Source(*source), BYTES_OF_STRANGER),
                good(Holder::Strangers, BYTES_OF_STRANGERS),
            ],
            Who::Known(claims) => {
                let mut shares = vec![good(
                    Holder::Principal(claims.principal_id),
                    BYTES_OF_PRINCIPAL,
                )];
                if let Some(org) = &claims.org_id {
                    let org = Holder::Organization(org.clone());
                    shares.push(good(org, BYTES_OF_ORGANIZATION));
                }
                shares
            }
        };
        shares.push(good(Holder::All, BYTES));
        Bytes {
            holds: Arc::clone(&self.admission.holds),
            shares,
            held: Vec::new(),
        }
    }

    /// Charges `bytes` of the answer.
    pub fn told(&self, bytes: usize) {
        let per_call = u32::try_from(BYTES_PER_CALL).unwrap_or(u32::MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX / 2);
        let unpaid = self.unpaid.fetch_add(bytes, Ordering::Relaxed);
        let unpaid = unpaid.saturating_add(bytes);
        if unpaid >= per_call {
            self.unpaid.store(unpaid % per_call, Ordering::Relaxed);
            self.charge(unpaid / per_call);
        }
    }

    /// Charges the time that a call took to answer.
    pub fn took(&self, elapsed: Duration) {
        if self.kind == Kind::Call {
            let calls = elapsed.as_millis() / TIME_PER_CALL.as_millis();
            self.charge(u32::try_from(calls).unwrap_or(u32::MAX));
        }
    }

    fn charge(&self, calls: u32) {
        let (admission, now) = (&self.admission, Instant::now());
        match &self.who {
            Who::Stranger(source, _) => admission.strangers.charge(*source, now, calls),
            // Their calls cost what they cost: nobody else has to wait for them.
            Who::Known(claims) if is_program(claims.kind) => {}
            Who::Known(claims) => {
                admission.principals.charge(claims.principal_id, now, calls);
                if let Some(org) = &claims.org_id {
                    admission.organizations.charge(org.clone(), now, calls);
                }
            }
        }
    }
}

/// What the bytes of one request take of the shares of whoever calls.
#[derive(Debug)]
pub(crate) struct Bytes {
    holds: Arc<Holds<Key>>,
    shares: Vec<(Key, usize)>,
    held: Vec<Hold<Key>>,
}

impl Bytes {
    /// Takes `count` more; they are given back when this is dropped.
    ///
    /// Errors: RESOURCE_EXHAUSTED.
    pub fn take(&mut self, count: usize) -> Result<(), Status> {
        match self.holds.take(&self.shares, count) {
            Ok(hold) => {
                self.held.push(hold);
                Ok(())
            }
            Err(_) => Err(Status::resource_exhausted(
                "the requests that are under way hold as much memory as they may: try again in a second",
            )),
        }
    }
}
