//! Cutting off the oldest events of a chain, so that it stays one that can be proved.
//!
//! ```text
//!  1 ─ 2 ─ … ─ n │ n+1 ─ … ─ m          walked, from the oldest on, while they are old
//!              │              └─ event "cut up to n, whose hash is h"   ┐ one transaction
//!              └─ chain-start: (n, h)                                    ┘
//!  deleted bit by bit, as they are no part of the chain any more
//! ```
//!
//! The event is what makes the cut part of the chain: who sets `chain-start` alone is found out by its absence.

use std::time::Duration;

use flaredb::{Committed, Error, Record};
use photon_resource::{OrgId, ResourceName, Scope};
use serde::{Deserialize, Serialize};

use crate::event::SYSTEM_CHAIN;
use crate::ledger::{PAGE, event_key, events_prefix, found, head_key};
use crate::{Event, Head, Ledger, NewEvent, Outcome};

/// The action of the event that tells of a cut.
pub const CUT: &str = "audit:events:cut";

/// Events that are younger are kept, however many there are: else who can make many would wash away what it did.
pub const NEVER_YOUNGER: Duration = Duration::from_secs(30 * 24 * 3600);

/// How much of a chain one cut takes at most, by the events' own times. With a cut a day a clock that is far ahead costs the
/// oldest month until somebody sees it, and not the log; and a log of years is down to what is kept within weeks.
const TAKEN_AT_ONCE: Duration = NEVER_YOUNGER;

/// How many events are deleted in one commit: fewer than it may write.
const DELETED_AT_ONCE: usize = 64;

/// Which events of a chain are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Those that are younger than this; `None`: however old they are. At least [`NEVER_YOUNGER`] counts.
    pub age: Option<Duration>,
    /// The youngest that are as many, and those that are younger than [`NEVER_YOUNGER`]; `None`: however many they are.
    pub most: Option<u64>,
}

impl Keep {
    /// Everything.
    pub const ALL: Keep = Keep {
        age: None,
        most: None,
    };

    fn lets_go(&self, event: &Event, head: Head, now_us: u64) -> bool {
        let age = Duration::from_micros(now_us.saturating_sub(event.time_us));
        let too_old = self.age.is_some_and(|kept| age > kept);
        let too_many = self
            .most
            .is_some_and(|most| head.sequence - event.sequence >= most);
        (too_old || too_many) && age > NEVER_YOUNGER
    }
}

/// Where a chain begins: what it was cut off behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// Number of the last event that was cut off.
    sequence: u64,
    /// Its hash, which the first event that is kept has as the hash before it.
    hash: crate::Digest,
}

impl Record for Start {
    const KIND: &'static str = "start of a chain";
    const VERSION: u32 = 1;
}

impl Start {
    pub(crate) fn last_cut(&self) -> Head {
        Head {
            sequence: self.sequence,
            hash: self.hash,
        }
    }
}

pub(crate) const STARTS: &str = "chain-start/";

pub(crate) fn start_key(chain: &str) -> String {
    format!("{STARTS}{chain}")
}

/// Whether the event says that what is up to `last_cut` was cut off.
pub(crate) fn tells_of_cut(event: &Event, last_cut: Head) -> bool {
    event.action == CUT
        && event.outcome == Outcome::Success
        && event.before_digest == Some(last_cut.hash)
        && event.resource.rsplit('/').next() == Some(&last_cut.sequence.to_string())
}

/// What a cut did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many events it took.
    pub events: u64,
    /// How many the chain has from then on, the one that tells of the cut with them.
    pub kept: u64,
}

/// Why a chain is not cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
    /// What is to be cut off is not as it was written: it is evidence, and stays.
    #[error(
        "event {0} of the chain of '{1}' is not as it was written, so nothing is cut off there (photon audit verify)"
    )]
    Broken(u64, String),
    /// There is no organization of such a name.
    #[error("'{0}' is no chain of an organization")]
    NoChain(String),
}

impl Ledger {
    /// Cuts off the oldest events of a chain that `keep` lets go as of `now_us` (microseconds since 1970), at most a month
    /// of them, and appends an event that says so, by the server `by`. They are out of lists and proofs from then on, and out
    /// of the store with [`sweep`](Self::sweep). A second call does nothing until more events have become old.
    ///
    /// Errors: [`CutError::Broken`] if the part to be cut off is not as it was written.
    pub async fn cut(
        &self,
        chain: &str,
        keep: &Keep,
        now_us: u64,
        by: &str,
    ) -> Result<Cut, CutError> {
        let scope = match chain {
            SYSTEM_CHAIN => Scope::System,
            name => match name.parse::<OrgId>() {
                Ok(org) => Scope::Org(org),
                Err(_) => return Err(CutError::NoChain(name.to_owned())),
            },
        };
        let start = self.start(chain).await?;
        let head: Head = (self.db().get(&head_key(chain)).await?).unwrap_or(start);
        let old = match *keep {
            Keep::ALL => None,
            _ => self.old(chain, start, head, (keep, now_us)).await?,
        };
        let kept = head.sequence.saturating_sub(start.sequence);
        let Some(last) = old else {
            return Ok(Cut { events: 0, kept });
        };
        let mut tx = self.db().begin();
        let key = start_key(chain);
        // Of two that cut at once, one conflicts.
        let before = tx.get::<Start>(&key).await?;
        if before.map_or(Head::EMPTY, |it| it.last_cut()) != start {
            return Ok(Cut { events: 0, kept });
        }
        let Head { sequence, hash } = last;
        tx.put(&key, &Start { sequence, hash })?;
        let event = NewEvent {
            org_id: scope.org().cloned(),
            project_id: None,
            principal_id: None,
            principal_name: by.to_owned(),
            impersonator: None,
            source: "local".to_owned(),
            action: CUT.to_owned(),
            resource: ResourceName::new(scope, "events", sequence).to_string(),
            outcome: Outcome::Success,
            reason: said(keep, start.sequence + 1, sequence),
            request_id: String::new(),
            before_digest: Some(hash),
            after_digest: None,
        };
        match self.commit(tx, event).await? {
            Committed::Done(_) => {
                let events = sequence - start.sequence;
                Ok(Cut {
                    events,
                    kept: kept - events + 1,
                })
            }
            Committed::Conflict { .. } => Ok(Cut { events: 0, kept }),
        }
    }

    /// The last event of those that are let go, if there are any that are worth a cut.
    async fn old(
        &self,
        chain: &str,
        start: Head,
        head: Head,
        (keep, now_us): (&Keep, u64),
    ) -> Result<Option<Head>, CutError> {
        let prefix = events_prefix(chain);
        let (mut walked, mut old) = (start, None);
        let mut began_us = None;
        let mut only_cuts = true;
        // Mostly the first one is young.
        let mut page = 1;
        loop {
            let after = event_key(chain, walked.sequence);
            let scan = self.db().scan_raw(&prefix, Some(&after), page).await?;
            page = PAGE;
            for item in scan.items {
                let found = found(&prefix, item);
                let number = walked.sequence + 1;
                let broken = || CutError::Broken(number, chain.to_owned());
                let event = found.event.map_err(|_| broken())?;
                if found.sequence != number || !follows(&event, walked, chain) {
                    return Err(broken());
                }
                // What is last stays, so that the chain has an end.
                if number >= head.sequence {
                    return Ok(old.filter(|_| !only_cuts));
                }
                walked = event.head();
                // Written while the clock was ahead: as old as what follows it.
                if event.time_us > now_us {
                    continue;
                }
                let began = *began_us.get_or_insert(event.time_us);
                let taken = Duration::from_micros(event.time_us.saturating_sub(began));
                if taken > TAKEN_AT_ONCE || !keep.lets_go(&event, head, now_us) {
                    return Ok(old.filter(|_| !only_cuts));
                }
                only_cuts &= event.action == CUT;
                old = Some(walked);
            }
            if !scan.more {
                return Ok(old.filter(|_| !only_cuts));
            }
        }
    }

    /// Deletes some of the events that were cut off: how many; 0 when none are left. One small commit, so that others' wait
    /// for nothing: call it again after a moment.
    pub async fn sweep(&self, chain: &str) -> Result<usize, Error> {
        let start = self.start(chain).await?;
        if start.sequence == 0 {
            return Ok(0);
        }
        let prefix = events_prefix(chain);
        let last = event_key(chain, start.sequence);
        let scan = self.db().scan_raw(&prefix, None, DELETED_AT_ONCE).await?;
        let mut tx = self.db().begin();
        let mut deleted = 0;
        for item in scan.items.iter().take_while(|item| item.key <= last) {
            tx.delete(&item.key);
            deleted += 1;
        }
        if deleted > 0 {
            // Nothing was read in it that could have changed, and what was deleted before is deleted.
            drop(tx.commit().await?);
        }
        Ok(deleted)
    }
}

/// Whether the event is whole, and the one of this chain after `last`.
fn follows(event: &Event, last: Head, chain: &str) -> bool {
    event.hash == event.compute_hash()
        && event.org_id == chain
        && event.sequence == last.sequence + 1
        && event.previous_hash == last.hash
}

fn said(keep: &Keep, first: u64, last: u64) -> String {
    let mut kept = Vec::new();
    if let Some(age) = keep.age {
        kept.push(format!("of {} days", age.as_secs() / (24 * 3600)));
    }
    if let Some(most) = keep.most {
        kept.push(format!("up to {most} of a chain"));
    }
    format!(
        "events {first} to {last} were cut off: kept are those {}",
        kept.join(", and ")
    )
}
