//! Who gets in, in layers, so that nobody keeps the others out: connections, calls, bytes, streams
//! (`docs/decisions/0027-admission.md`).
//!
//! Each of those who call (an address without an accepted token, a principal, an organization) has a share of each
//! layer, and all tenants and all strangers together have less than there is: the rest is for hosts' agents, servers
//! and operators, and health has one of its own. Whoever asks faster than his share allows waits for a moment first.

mod connections;
mod permit;
mod refusals;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use photon_program::{Limits, Share};
use photon_resource::{Claims, OrgId, PrincipalId, PrincipalKind};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::answer::DOMAIN;
use crate::holds::{Holds, source};
use crate::limit::Limiter;
use crate::turns::Turns;

pub(crate) use connections::{Calling, Connections};
pub(crate) use permit::{Bytes, Permit};
pub(crate) use refusals::Refusals;

/// How long a call may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many checks of health may be under way, of all callers and of one address.
const PROBES: usize = 64;
const PROBES_OF_SOURCE: usize = 16;
/// How many decisions servers may ask for on behalf of one principal: they make several for one call of its.
const DECISIONS: usize = 256;
const DECISIONS_PER_CALL: u32 = 10;
/// How many times a principal's pace a host's agent or a server has: one that asks faster is broken, or not ours any more.
const PROGRAMS_PACE: u32 = 10;

/// How many calls of tenants and strangers are carried out at the same time for each processor, and at least. More would only
/// wait for each other, and whoever has most of them would have most of the machine.
const AT_ONCE: usize = 4;
const AT_ONCE_AT_LEAST: usize = 8;

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

impl Kind {
    /// What it is when `peer` asks, who has a certificate of the cloud's hosts or not: only servers decide for others.
    pub fn asked_by(self, peer: Option<SocketAddr>, certified: bool) -> Self {
        match self {
            Kind::Decision if !is_vouched(site(peer.map(|peer| peer.ip())), certified) => {
                Kind::Call
            }
            kind => kind,
        }
    }
}

/// Whether one of the cloud's own hosts is there: by its certificate, or because it is this one.
fn is_vouched(site: IpAddr, certified: bool) -> bool {
    certified || site.is_loopback()
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
        Who::Stranger(site, is_vouched(site, certified))
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

/// Whose calls are carried out in turn with others'. Strangers' have turns of their own: who signs in waits for no tenant, and
/// no tenant for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    Source(IpAddr),
    Organization(OrgId),
}

impl Who {
    /// Where its calls wait for their turn; `None`: those of hosts, servers and operators need not.
    pub fn queue(&self) -> Option<Queue> {
        match self {
            Who::Stranger(_, true) => None,
            Who::Stranger(source, false) => Some(Queue::Source(*source)),
            Who::Known(claims) if is_program(claims.kind) => None,
            Who::Known(claims) => claims.org_id.clone().map(Queue::Organization),
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
    turns: Arc<Turns<Queue>>,
    strangers_turns: Arc<Turns<Queue>>,
    holds: Arc<Holds<Key>>,
    strangers: Limiter<IpAddr>,
    principals: Limiter<PrincipalId>,
    decisions: Limiter<PrincipalId>,
    programs: Limiter<PrincipalId>,
    organizations: Limiter<OrgId>,
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let at_once = (AT_ONCE * processors).max(AT_ONCE_AT_LEAST);
        Self {
            holds: Arc::default(),
            turns: Turns::new(at_once, at_once / 2),
            strangers_turns: Turns::new(at_once / 4, at_once / 8),
            strangers: pace(&limits.stranger, 1),
            principals: pace(&limits.principal, 1),
            decisions: pace(&limits.principal, DECISIONS_PER_CALL),
            programs: pace(&limits.principal, PROGRAMS_PACE),
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
        let permit = Permit::new(self, who, kind, hold);
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
                    (kind, _) if is_program(kind) => vec![of(principal, all / 2)],
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

/// Whether it is one of the cloud's own programs: a host's agent, or a server.
fn is_program(kind: PrincipalKind) -> bool {
    matches!(kind, PrincipalKind::Node | PrincipalKind::Service)
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

#[cfg(test)]
mod tests;
