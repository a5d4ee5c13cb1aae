//! Who gets in, in layers, so that nobody keeps the others out: connections, calls, bytes, streams
//! (`docs/decisions/0027-admission.md`).
//!
//! Each of those who call (an address without an accepted token, a principal, an organization) has a share of each
//! layer, and all tenants and all strangers together have less than there is: the rest is for hosts' agents, servers
//! and operators, and health has one of its own. Whoever asks faster than his share allows waits for a moment first.

mod connections;
mod refusals;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use photon_program::{Limits, Share};
use photon_resource::{Claims, OrgId, PrincipalId, PrincipalKind};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::answer::DOMAIN;
use crate::holds::{Hold, Holds, source};
use crate::limit::Limiter;

pub(crate) use connections::{Calling, Connections};
pub(crate) use refusals::Refusals;

/// How long a call may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many checks of health may be under way, of all callers and of one address.
const PROBES: usize = 64;
const PROBES_OF_SOURCE: usize = 16;
/// How many decisions servers may ask for on behalf of one principal: they make several for one call of its.
const DECISIONS: usize = 256;
const DECISIONS_PER_CALL: u32 = 10;
/// Bytes of requests that are held in memory, by all, by one organization, principal, by strangers, by one stranger.
const BYTES: usize = 256 << 20;
const BYTES_OF_ORGANIZATION: usize = 64 << 20;
const BYTES_OF_PRINCIPAL: usize = 32 << 20;
const BYTES_OF_STRANGERS: usize = 32 << 20;
const BYTES_OF_STRANGER: usize = 4 << 20;
/// An answer costs one more call for each of these.
const BYTES_PER_CALL: usize = 16 << 10;
/// And so does the time that it took, beyond this.
const TIME_PER_CALL: Duration = Duration::from_millis(50);

/// What a call is to admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One answer to one request.
    Call,
    /// One of the two is a stream.
    Stream,
    /// A question for the server's health.
    Probe,
    /// A server's question to IAM, with the token of whoever called it.
    Decision,
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Somebody without an accepted token: where it is, and whether it is one of the cloud's own hosts by its
    /// certificate or because it is this one. Such a one signs in whatever strangers do.
    Stranger(IpAddr, bool),
    /// The bearer of one.
    Known(Arc<Claims>),
}

impl Who {
    /// Somebody without an accepted token. A site has one IPv6 /64 at least, so that is one address here.
    pub fn stranger(address: Option<IpAddr>, certified: bool) -> Self {
        let site = site(address);
        Who::Stranger(site, certified || site.is_loopback())
    }

    /// For the log and the caller.
    fn named(&self) -> String {
        match self {
            Who::Stranger(source, _) => format!("{source}, without a token that is accepted"),
            Who::Known(claims) => match &claims.org_id {
                Some(org) => format!("{} of {org}", claims.principal_name),
                None => claims.principal_name.clone(),
            },
        }
    }
}

/// Who the address counts as; `unspecified` if the transport has none.
fn site(address: Option<IpAddr>) -> IpAddr {
    address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), source)
}

/// Who has a share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    All,
    Strangers,
    Tenants,
    Source(IpAddr),
    Principal(PrincipalId),
    Organization(OrgId),
}

/// What there is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Good {
    Of(Kind),
    Bytes,
}

type Key = (Good, Holder);

/// Lets calls in, or not.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    holds: Arc<Holds<Key>>,
    strangers: Limiter<IpAddr>,
    principals: Limiter<PrincipalId>,
    decisions: Limiter<PrincipalId>,
    organizations: Limiter<OrgId>,
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self {
            holds: Arc::default(),
            strangers: pace(&limits.stranger, 1),
            principals: pace(&limits.principal, 1),
            decisions: pace(&limits.principal, DECISIONS_PER_CALL),
            organizations: pace(&limits.organization, 1),
            limits,
        }
    }

    /// Lets a call in, perhaps after a moment.
    ///
    /// Errors: the share of whoever calls is used up, or what there is for all of its kind.
    pub async fn admit(self: &Arc<Self>, who: Who, kind: Kind) -> Result<Permit, Refusal> {
        let shares = self.shares(&who, kind);
        let taken = self.holds.take(&shares, 1);
        let hold = taken.map_err(|(_, holder)| self.used_up(&who, kind, holder))?;
        let permit = Permit {
            admission: Arc::clone(self),
            who,
            kind,
            _hold: hold,
            unpaid: AtomicU32::new(0),
        };
        let wait = permit.turn(Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(permit)
    }

    /// What a call takes one of, and how much there is of it.
    fn shares(&self, who: &Who, kind: Kind) -> Vec<(Key, usize)> {
        let limits = &self.limits;
        let (all, own): (usize, fn(&Share) -> usize) = match kind {
            Kind::Probe => (PROBES, |_| PROBES_OF_SOURCE),
            Kind::Stream => (limits.streams, |share| share.streams),
            Kind::Call => (limits.calls, |share| share.calls),
            Kind::Decision => (limits.calls, |_| DECISIONS),
        };
        let good = Good::Of(kind);
        let of = |holder: Holder, most: usize| ((good, holder), most.max(1));
        let mut shares = match who {
            Who::Stranger(source, vouched) => {
                let own = of(Holder::Source(*source), own(&limits.stranger));
                match vouched {
                    true => vec![own],
                    false => vec![own, of(Holder::Strangers, all / 8)],
                }
            }
            Who::Known(claims) => {
                let principal = Holder::Principal(claims.principal_id);
                match (claims.kind, &claims.org_id) {
                    (PrincipalKind::Node | PrincipalKind::Service, _) => {
                        vec![of(principal, all / 2)]
                    }
                    (_, None) => vec![of(principal, own(&limits.principal))],
                    (_, Some(org)) => vec![
                        of(principal, own(&limits.principal)),
                        of(Holder::Organization(org.clone()), own(&limits.organization)),
                        of(Holder::Tenants, all / 4 * 3),
                    ],
                }
            }
        };
        if kind == Kind::Probe {
            // Health is asked for by programs without a token as by others.
            shares.retain(|((_, holder), _)| *holder != Holder::Strangers);
        }
        shares.push(of(Holder::All, all));
        shares
    }

    fn used_up(&self, who: &Who, kind: Kind, holder: &Holder) -> Refusal {
        let what = match kind {
            Kind::Stream => "streams open",
            Kind::Call | Kind::Probe | Kind::Decision => "calls under way",
        };
        let text = match holder {
            Holder::All | Holder::Strangers | Holder::Tenants => {
                format!("the server has as many {what} as it takes: try again in a second")
            }
            Holder::Organization(org) => {
                format!("the organization {org} has as many {what} as one may have")
            }
            Holder::Source(_) | Holder::Principal(_) => {
                format!("{} has as many {what} as one may have", who.named())
            }
        };
        Refusal {
            who: who.named(),
            why: match holder {
                Holder::All | Holder::Strangers | Holder::Tenants => "the server is full",
                _ => "its share is used up",
            },
            text,
            after: Duration::from_secs(1),
        }
    }
}

/// An allowance of calls over time, `times` what the share says.
fn pace<K: Eq + std::hash::Hash>(share: &Share, times: u32) -> Limiter<K> {
    let rate = share.per_second.saturating_mul(times).max(1);
    Limiter::new(
        share.burst.saturating_mul(times).max(1),
        Duration::from_secs(1) / rate,
    )
}

/// Why a call is not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Who called, for the log.
    pub who: String,
    /// Why not, in few words that are always the same.
    pub why: &'static str,
    text: String,
    after: Duration,
}

impl Refusal {
    /// RESOURCE_EXHAUSTED that says when to come again (`google.rpc.RetryInfo`).
    pub fn status(&self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(self.after));
        details.set_error_info("TOO_MANY_CALLS", DOMAIN, std::collections::HashMap::new());
        Status::with_error_details(Code::ResourceExhausted, &*self.text, details)
    }
}

/// What a call holds until its answer is told.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    who: Who,
    kind: Kind,
    _hold: Hold<Key>,
    /// Bytes of the answer that were not charged yet.
    unpaid: AtomicU32,
}

impl Permit {
    /// Takes the call's turn: after how long it comes.
    fn turn(&self, now: Instant) -> Result<Duration, Refusal> {
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
                (PrincipalKind::Node | PrincipalKind::Service, _, _) => Ok(Duration::ZERO),
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

#[cfg(test)]
mod tests;
