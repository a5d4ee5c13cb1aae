use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use flaredb::{
    Committed, Compare, Db, Derive, Derived, Error, KeyValue, Op, Record, Transaction, decode,
    encode_for,
};
use photon_resource::OrgId;
use serde::{Deserialize, Serialize};

use crate::cut::{STARTS, Start, start_key};
use crate::event::chain_name;
use crate::{Digest, Event, Found, NewEvent, Problem, ProblemKind, Report, Verifier};

/// Events that one read takes.
pub(crate) const PAGE: usize = 500;

/// Where a chain ends: the sequence number and hash of its last event. Kept elsewhere, it proves later that
/// the chain still contains everything up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of the last event; 0: there is none.
    pub sequence: u64,
    /// Its hash; [`Digest::ZERO`] if there is none.
    pub hash: Digest,
}

impl Head {
    /// Of a chain without events.
    pub const EMPTY: Head = Head {
        sequence: 0,
        hash: Digest::ZERO,
    };
}

impl Record for Head {
    const KIND: &'static str = "head of a chain";
    const VERSION: u32 = 1;
}

/// Somebody changed the chain's head: where the next event belongs, there is one already. Nothing is
/// appended, because that would destroy it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the head of the event chain does not match its events: {key} exists already; \
     nothing can be appended before an operator has looked into it (photon audit verify)"
)]
pub struct BrokenChain {
    /// Key of the event that is in the way.
    pub key: String,
}

/// The event log of one store. Clones are the same log.
#[derive(Debug, Clone)]
pub struct Ledger {
    db: Db,
    service: Arc<str>,
}

impl Ledger {
    /// The log in `db`, appended to by the server of this name: `iam`, `prismnet`, `plasmavmc`.
    pub fn new(db: Db, service: &str) -> Self {
        Ledger {
            db,
            service: service.into(),
        }
    }

    /// Appends the event to its chain and commits it together with all of `tx`, or neither.
    ///
    /// [`Committed::Conflict`] is only ever about what `tx` read: the event takes its place in the chain at the
    /// moment of the commit, so that calls which append at the same time do not disturb each other.
    pub async fn commit(&self, mut tx: Transaction, event: NewEvent) -> Result<Committed, Error> {
        let chain = chain_name(event.org_id.as_ref()).to_owned();
        let events = events_prefix(&chain);
        let (service, schema) = (self.service.clone(), self.db.schema());
        tx.derive(Derive {
            reads: vec![head_key(&chain)],
            make: Box::new(move |read| append(&chain, read, &event, (&service, schema))),
        });
        match tx.commit().await? {
            Committed::Conflict { key } if key.starts_with(&events) => {
                Err(Error::Derive(Arc::new(BrokenChain { key })))
            }
            committed => Ok(committed),
        }
    }

    /// Appends an event without a change: a denial.
    pub async fn record(&self, event: NewEvent) -> Result<(), Error> {
        match self.commit(self.db.begin(), event).await? {
            Committed::Done(_) => Ok(()),
            // An empty transaction has read nothing that could have changed.
            Committed::Conflict { key } => Err(Error::Derive(Arc::new(BrokenChain { key }))),
        }
    }

    /// Where the chain of an organization (`None`: of the system) ends.
    pub async fn head(&self, org: Option<&OrgId>) -> Result<Head, Error> {
        let head = self.db.get(&head_key(chain_name(org))).await?;
        Ok(head.unwrap_or(Head::EMPTY))
    }

    /// Recomputes the chain of an organization (`None`: of the system), from where it was cut off on. With `known`, a
    /// head that was kept earlier, it must still contain that.
    pub async fn verify(&self, org: Option<&OrgId>, known: Option<Head>) -> Result<Report, Error> {
        self.verify_chain(chain_name(org), known).await
    }

    /// The names of all chains: organizations' and the system's, also of one that lost its head or its events.
    pub async fn chains(&self) -> Result<Vec<String>, Error> {
        let mut names = BTreeSet::new();
        for prefix in [HEADS, STARTS] {
            let found = self.db.scan_raw(prefix, None, usize::MAX).await?;
            let name = |item: &KeyValue| Some(item.key.strip_prefix(prefix)?.to_owned());
            names.extend(found.items.iter().filter_map(name));
        }
        let mut after: Option<String> = None;
        loop {
            let found = self.db.scan_raw(CHAINS, after.as_deref(), 1).await?;
            let Some(item) = found.items.first() else {
                return Ok(names.into_iter().collect());
            };
            let rest = item.key.strip_prefix(CHAINS).unwrap_or_default();
            let name = rest.split('/').next().unwrap_or_default();
            names.insert(name.to_owned());
            // Behind all events of this chain, and before the next one's first.
            after = Some(format!("{}{}", events_prefix(name), char::MAX));
        }
    }

    /// [`verify`](Self::verify) of a chain by its name.
    pub async fn verify_chain(&self, chain: &str, known: Option<Head>) -> Result<Report, Error> {
        loop {
            // Before the head, so that what tells of the cut is among the events that are judged.
            let start = self.start(chain).await;
            let report = match &start {
                Ok(start) => self.verify_from(chain, *start, known).await?,
                Err(why) => Report {
                    first: 0,
                    events: 0,
                    head: Head::EMPTY,
                    problem: Some(Problem {
                        sequence: 0,
                        kind: ProblemKind::StartUnreadable(why.to_string()),
                    }),
                },
            };
            // What was cut off meanwhile was perhaps missed.
            if report.intact() || same(&self.start(chain).await, &start) {
                return Ok(report);
            }
        }
    }

    async fn verify_from(
        &self,
        chain: &str,
        start: Head,
        known: Option<Head>,
    ) -> Result<Report, Error> {
        let prefix = events_prefix(chain);
        // Before the events: those that are appended while this runs are not judged.
        let head = self.stored_head(chain).await?;
        let reached = |head: &Result<Option<Head>, String>, sequence| match head {
            Ok(Some(head)) => head.sequence >= sequence,
            Ok(None) | Err(_) => false,
        };
        let mut verifier = Verifier::new(chain, start, head.clone(), known);
        // Of what was cut off there may still be some, which is deleted bit by bit.
        let mut after = (start.sequence > 0).then(|| event_key(chain, start.sequence));
        loop {
            let page = self.db.scan_raw(&prefix, after.as_deref(), PAGE).await?;
            after = page.items.last().map(|item| item.key.clone());
            for item in page.items {
                let found = found(&prefix, item);
                if !reached(&head, found.sequence) {
                    // Appended meanwhile, or put there behind the head: then the head has not moved.
                    let now = self.stored_head(chain).await?;
                    if now != head && reached(&now, found.sequence) {
                        return Ok(verifier.finish());
                    }
                }
                if !verifier.check(found) {
                    return Ok(verifier.finish());
                }
            }
            if !page.more {
                return Ok(verifier.finish());
            }
        }
    }

    /// The last event that was cut off; [`Head::EMPTY`]: none was.
    pub(crate) async fn start(&self, chain: &str) -> Result<Head, Error> {
        let start = self.db.get::<Start>(&start_key(chain)).await?;
        Ok(start.map_or(Head::EMPTY, |start| start.last_cut()))
    }

    async fn stored_head(&self, chain: &str) -> Result<Result<Option<Head>, String>, Error> {
        let (item, _) = self.db.get_raw(&head_key(chain)).await?;
        let head = item.map(|item| decode(&item.key, &item.value)).transpose();
        Ok(head.map_err(|error| error.to_string()))
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }
}

fn same(one: &Result<Head, Error>, other: &Result<Head, Error>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        // Whatever stands there, it is not what a cut writes.
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

pub(crate) fn found(prefix: &str, item: KeyValue) -> Found {
    Found {
        // A key of another form sorts somewhere, and is reported there as an event that cannot be read.
        sequence: item.key[prefix.len()..].parse().unwrap_or(0),
        event: decode(&item.key, &item.value).map_err(|error| error.to_string()),
    }
}

const CHAINS: &str = "chain/";
const HEADS: &str = "chain-head/";

pub(crate) fn events_prefix(chain: &str) -> String {
    format!("{CHAINS}{chain}/")
}

/// Twenty digits hold every `u64`, so that keys sort as numbers do.
pub(crate) fn event_key(chain: &str, sequence: u64) -> String {
    format!("chain/{chain}/{sequence:020}")
}

pub(crate) fn head_key(chain: &str) -> String {
    format!("{HEADS}{chain}")
}

fn append(
    chain: &str,
    read: &[Option<KeyValue>],
    new: &NewEvent,
    (service, schema): (&str, u32),
) -> Result<Derived, Error> {
    let head = match read {
        [Some(item)] => decode(&item.key, &item.value)?,
        _ => Head::EMPTY,
    };
    let event = Event::continuing(&head, new, service, now_us());
    let (key, head_key) = (event_key(chain, event.sequence), head_key(chain));
    let put = |key: String, value: Vec<u8>| Op::Put {
        key,
        value,
        lease: None,
    };
    Ok(Derived {
        // An append never replaces an event, whatever has become of the head.
        compares: vec![Compare::Absent(key.clone())],
        ops: vec![
            put(
                head_key.clone(),
                encode_for(schema, &head_key, &event.head())?,
            ),
            put(key.clone(), encode_for(schema, &key, &event)?),
        ],
    })
}

fn now_us() -> u64 {
    // A clock before 1970 is no reason to refuse service; the sequence orders events, not the time.
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
