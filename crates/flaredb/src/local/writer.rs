use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::apply::{Commit, Failed, apply, write};
use super::{State, Storage, View};
use crate::{Committed, Error, LeaseId, Op, Options, Revision};

/// Most requests that share one transaction: it bounds how long the first one waits for the last.
const MAX_GROUP: usize = 512;
/// The log is cut this many revisions at a time at most, so that not every commit pays for it.
const COMPACT_EVERY: u64 = 256;
/// How long to wait when leases could not be ended, because the disk is full for example.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

/// How long a group took, its sync included.
const GROUP_SECONDS: &str = "flaredb_group_seconds";
/// Commits by outcome.
const COMMITS: &str = "flaredb_commits_total";

type Answer<T> = oneshot::Sender<Result<T, Error>>;

pub(crate) enum Request {
    Commit {
        commit: Commit,
        answer: Answer<Committed>,
    },
    Grant {
        ttl: Duration,
        answer: Answer<LeaseId>,
    },
    KeepAlive {
        lease: LeaseId,
        answer: Answer<()>,
    },
    Revoke {
        lease: LeaseId,
        answer: Answer<()>,
    },
    Compact {
        revision: Revision,
        answer: Answer<()>,
    },
}

/// What a request is answered once its group is durable.
enum Outcome {
    Committed(Result<Committed, Error>),
    Granted(LeaseId),
    Lease(Result<(), Error>),
    Compacted,
}

#[derive(Clone, Copy)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
}

/// The thread that alone writes.
pub(crate) struct Writer<S> {
    storage: S,
    state: State,
    leases: BTreeMap<LeaseId, Lease>,
    kept: u64,
    log: Log,
    publisher: watch::Sender<Revision>,
    retry_expiry_at: Option<Instant>,
}

/// How large the change log is, by revision.
struct Log {
    sizes: VecDeque<(Revision, u64)>,
    bytes: u64,
    most: u64,
}

impl Log {
    fn new(sizes: Vec<(Revision, u64)>, most: u64) -> Self {
        let mut log = Log {
            sizes: VecDeque::new(),
            bytes: 0,
            most,
        };
        log.grow(sizes);
        log
    }

    fn grow(&mut self, more: Vec<(Revision, u64)>) {
        self.bytes += more.iter().map(|(_, bytes)| bytes).sum::<u64>();
        self.sizes.extend(more);
    }

    /// Up to which revision it is to be cut to have room for what was written beside it; `None`: there is room. It is cut by a
    /// quarter more, so that not every commit pays for it.
    fn cut(&self, more: &[(Revision, u64)]) -> Option<Revision> {
        let mut all = self.bytes + more.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if all <= self.most {
            return None;
        }
        let mut last = None;
        for (revision, bytes) in &self.sizes {
            if all <= self.most - self.most / 4 {
                break;
            }
            all -= bytes;
            last = Some(*revision);
        }
        last
    }

    /// Forgets what is no longer in it.
    fn cut_at(&mut self, compacted: Revision) {
        while let Some((_, bytes)) = self.sizes.pop_front_if(|(first, _)| *first <= compacted) {
            self.bytes -= bytes;
        }
    }
}

impl<S: Storage> Writer<S> {
    pub fn new(
        storage: S,
        mut state: State,
        options: &Options,
        publisher: watch::Sender<Revision>,
    ) -> Self {
        let now = Instant::now();
        let leases = std::mem::take(&mut state.leases)
            .into_iter()
            .map(|(lease, ttl)| {
                let deadline = now + ttl;
                (lease, Lease { ttl, deadline })
            })
            .collect();
        let log = Log::new(std::mem::take(&mut state.logged), options.kept_bytes);
        Writer {
            storage,
            state,
            leases,
            kept: options.kept_revisions,
            log,
            publisher,
            retry_expiry_at: None,
        }
    }

    /// Works until the engine is dropped or the storage fails for good.
    pub fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let mut group = Vec::new();
            match self.next_expiry() {
                None => match requests.recv() {
                    Ok(request) => group.push(request),
                    Err(_) => return,
                },
                Some(at) => {
                    match requests.recv_timeout(at.saturating_duration_since(Instant::now())) {
                        Ok(request) => group.push(request),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            }
            while group.len() < MAX_GROUP
                && let Ok(request) = requests.try_recv()
            {
                group.push(request);
            }
            if self.process(group).is_err() {
                return;
            }
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        let first = self.leases.values().map(|lease| lease.deadline).min()?;
        Some(self.retry_expiry_at.map_or(first, |at| at.max(first)))
    }

    /// One transaction for the whole group and the leases that have expired. `Err`: the storage must not be
    /// used any more.
    fn process(&mut self, group: Vec<Request>) -> Result<(), Error> {
        let mut state = self.state.clone();
        let mut leases = self.leases.clone();
        let mut outcomes = Vec::with_capacity(group.len());
        let (kept, log) = (self.kept, &self.log);
        let start = Instant::now();
        let result = self.storage.transact(&mut |view| {
            for request in &group {
                outcomes.push(handle(view, &mut state, &mut leases, request)?);
            }
            // After the requests: a lease that was kept alive before its end was noticed lives on.
            expire(view, &mut state, &mut leases)?;
            if state.revision.saturating_sub(state.compacted) >= kept + COMPACT_EVERY.min(kept) {
                state.compacted = state.revision - kept;
            }
            if let Some(cut) = log.cut(&state.logged) {
                state.compacted = state.compacted.max(cut);
            }
            view.counters(&state)
        });
        metrics::histogram!(GROUP_SECONDS).record(start.elapsed().as_secs_f64());
        match result {
            Ok(()) => {
                self.log.grow(std::mem::take(&mut state.logged));
                self.log.cut_at(state.compacted);
                self.state = state;
                self.leases = leases;
                self.retry_expiry_at = None;
                if *self.publisher.borrow() != self.state.revision {
                    self.publisher.send_replace(self.state.revision);
                }
                for (request, outcome) in group.into_iter().zip(outcomes) {
                    answer(request, outcome);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, requests = group.len(), "the store could not write");
                self.retry_expiry_at = Some(Instant::now() + EXPIRY_RETRY);
                for request in group {
                    refuse(request, &error);
                }
                if self.storage.is_fatal(&error) {
                    return Err(error);
                }
                Ok(())
            }
        }
    }
}

fn handle(
    view: &mut dyn View,
    state: &mut State,
    leases: &mut BTreeMap<LeaseId, Lease>,
    request: &Request,
) -> Result<Outcome, Error> {
    Ok(match request {
        Request::Commit { commit, .. } => {
            match apply(view, state, |lease| leases.contains_key(&lease), commit) {
                Ok(committed) => Outcome::Committed(Ok(committed)),
                Err(Failed::Refused(error)) => Outcome::Committed(Err(error)),
                Err(Failed::Storage(error)) => return Err(error),
            }
        }
        Request::Grant { ttl, .. } => {
            state.last_lease += 1;
            let lease = LeaseId(state.last_lease);
            view.lease_put(lease, *ttl)?;
            let deadline = Instant::now() + *ttl;
            leases.insert(
                lease,
                Lease {
                    ttl: *ttl,
                    deadline,
                },
            );
            Outcome::Granted(lease)
        }
        Request::KeepAlive { lease, .. } => Outcome::Lease(match leases.get_mut(lease) {
            Some(kept) => {
                kept.deadline = Instant::now() + kept.ttl;
                Ok(())
            }
            None => Err(Error::LeaseNotFound(*lease)),
        }),
        Request::Revoke { lease, .. } => Outcome::Lease(match leases.remove(lease) {
            Some(_) => {
                end_lease(view, state, *lease)?;
                Ok(())
            }
            None => Err(Error::LeaseNotFound(*lease)),
        }),
        Request::Compact { revision, .. } => {
            state.compacted = state.compacted.max(state.revision.min(*revision));
            Outcome::Compacted
        }
    })
}

fn expire(
    view: &mut dyn View,
    state: &mut State,
    leases: &mut BTreeMap<LeaseId, Lease>,
) -> Result<(), Error> {
    let now = Instant::now();
    let over: Vec<LeaseId> = leases
        .iter()
        .filter(|(_, lease)| lease.deadline <= now)
        .map(|(id, _)| *id)
        .collect();
    for lease in over {
        leases.remove(&lease);
        end_lease(view, state, lease)?;
    }
    Ok(())
}

/// Deletes the lease and, as one commit, its keys.
fn end_lease(view: &mut dyn View, state: &mut State, lease: LeaseId) -> Result<(), Error> {
    let deletes: Vec<Op> = view
        .leased(lease)?
        .into_iter()
        .map(|key| Op::Delete { key })
        .collect();
    write(view, state, deletes.iter())?;
    view.lease_delete(lease)
}

/// A caller that no longer waits is no failure, so the results of sending are dropped.
fn answer(request: Request, outcome: Outcome) {
    if let Outcome::Committed(result) = &outcome {
        let outcome = match result {
            Ok(Committed::Done(_)) => "done",
            Ok(Committed::Conflict { .. }) => "conflict",
            Err(_) => "refused",
        };
        metrics::counter!(COMMITS, "outcome" => outcome).increment(1);
    }
    match (request, outcome) {
        (Request::Commit { answer, .. }, Outcome::Committed(result)) => drop(answer.send(result)),
        (Request::Grant { answer, .. }, Outcome::Granted(lease)) => drop(answer.send(Ok(lease))),
        (
            Request::KeepAlive { answer, .. } | Request::Revoke { answer, .. },
            Outcome::Lease(result),
        ) => drop(answer.send(result)),
        (Request::Compact { answer, .. }, Outcome::Compacted) => drop(answer.send(Ok(()))),
        // `handle` answers each kind of request with its kind of outcome.
        _ => unreachable!("an outcome of another kind than its request"),
    }
}

fn refuse(request: Request, error: &Error) {
    match request {
        Request::Commit { answer, .. } => {
            metrics::counter!(COMMITS, "outcome" => "failed").increment(1);
            drop(answer.send(Err(error.clone())));
        }
        Request::Grant { answer, .. } => drop(answer.send(Err(error.clone()))),
        Request::KeepAlive { answer, .. }
        | Request::Revoke { answer, .. }
        | Request::Compact { answer, .. } => drop(answer.send(Err(error.clone()))),
    }
}
