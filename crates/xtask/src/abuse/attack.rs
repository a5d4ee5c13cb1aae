//! Attacks: named, bounded in time and count, and counted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use tokio::task::JoinSet;
use tonic::Code;

use super::arena::Arena;
use super::wire::Failed;

/// What one attack does at most, whatever time is left.
const MOST: u64 = 200_000;
/// An attacker that finds no way in tries again after this: it would only be busy with itself.
const AGAIN: Duration = Duration::from_millis(5);
/// Attackers elsewhere have processors of their own. Here they share them with those who are measured, whose turn comes
/// first; not by so much that a busy machine keeps them from their work.
const NICE: libc::c_int = 5;
/// Threads of all attackers together.
const THREADS: usize = 2;

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Stranger,
    Viewer,
    Member,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Who::Stranger => "stranger",
            Who::Viewer => "viewer",
            Who::Member => "member",
        }
    }
}

pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One way of doing harm.
#[derive(Clone, Copy)]
pub struct Attack {
    pub who: Who,
    pub name: &'static str,
    /// How many do it at the same time.
    pub workers: usize,
    /// Sockets that each of them has open at most.
    pub sockets: usize,
    /// What one of them does, by its number, until the arena or the tally is at its end.
    pub work: fn(Arc<Arena>, Arc<Tally>, usize) -> Work,
}

/// What an attack did, and what came of it.
#[derive(Debug, Default)]
pub struct Tally {
    tried: AtomicU64,
    /// Answered as asked.
    answered: AtomicU64,
    /// Not let in, or beyond a quota.
    refused: AtomicU64,
    /// Answered with another error.
    denied: AtomicU64,
    /// The connection was not made, or cut.
    broken: AtomicU64,
}

/// [`Tally`], at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    pub refused: u64,
    pub denied: u64,
    pub broken: u64,
}

impl Tally {
    /// Counts one more try; `false`: there were as many as there may be.
    pub fn begins(&self) -> bool {
        self.tried.fetch_add(1, Ordering::Relaxed) < MOST
    }

    /// Counts how a try ended, and gives the attacker no more than a moment's rest when it did not get through.
    pub async fn ended<T>(&self, outcome: &Result<T, Failed>) {
        self.count(outcome);
        if let Err(Failed::Broken(_)) = outcome {
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Counts how a try ended.
    pub fn count<T>(&self, outcome: &Result<T, Failed>) {
        let counter = match outcome {
            Ok(_) => &self.answered,
            Err(Failed::Status(Code::ResourceExhausted, _)) => &self.refused,
            Err(Failed::Status(..)) => &self.denied,
            Err(Failed::Broken(_)) => &self.broken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            answered: read(&self.answered),
            refused: read(&self.refused),
            denied: read(&self.denied),
            broken: read(&self.broken),
        }
    }
}

/// Does all of them at the same time until the arena is at its end, on threads of their own that give way to all others.
///
/// # Errors
/// When there is no runtime for them.
pub async fn carry_out(arena: &Arc<Arena>, attacks: &[Attack]) -> Result<Vec<(Attack, Counts)>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("abuse")
        .on_thread_start(give_way)
        .enable_all()
        .build()
        .context("no runtime for the attackers")?;
    let arena = Arc::clone(arena);
    let attacks = attacks.to_vec();
    let doing = runtime.spawn(async move {
        let mut workers = JoinSet::new();
        let mut tallies = Vec::new();
        for attack in attacks {
            let tally = Arc::new(Tally::default());
            for number in 0..attack.workers {
                workers.spawn((attack.work)(
                    Arc::clone(&arena),
                    Arc::clone(&tally),
                    number,
                ));
            }
            tallies.push((attack, tally));
        }
        // Whoever waits for an answer at the end waits in vain: its connections are closed.
        tokio::time::sleep_until(arena.until()).await;
        workers.shutdown().await;
        let counted = tallies.into_iter();
        counted
            .map(|(attack, tally)| (attack, tally.counts()))
            .collect::<Vec<_>>()
    });
    let counted = doing.await.context("the attackers panicked");
    runtime.shutdown_background();
    counted
}

/// Lowers the priority of the calling thread (on Linux, setpriority(2) with 0 is about that one alone).
fn give_way() {
    // SAFETY: it takes three numbers and changes nothing but the thread's nice value.
    let changed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if changed != 0 {
        crate::progress::say(format!("attackers run at full priority: {}", Errno::last()));
    }
}

/// Has so many sockets at most, of this process and of those that it starts.
///
/// # Errors
/// When the machine permits fewer.
pub fn allow_sockets(wanted: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that lives as long as the call.
    Errno::result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    anyhow::ensure!(
        limit.rlim_max >= wanted,
        "a process may have {} files open here; {wanted} are needed (ulimit -Hn)",
        limit.rlim_max
    );
    limit.rlim_cur = limit.rlim_cur.max(limit.rlim_max.min(65_536));
    // SAFETY: as above.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(())
}
