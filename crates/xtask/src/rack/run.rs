//! A run's place in the world, and its end without debris, whatever ends it.
//!
//! | what ends it | who cleans |
//! | --- | --- |
//! | the rack is dropped | `Drop` |
//! | the process returns from `main`, or calls `exit` | a handler of `atexit(3)` |
//! | SIGINT, SIGTERM, SIGHUP | this process, which becomes `xtask rack clean-up-after`: so nothing is made any more meanwhile |
//! | SIGKILL, a crash | the kernel kills the hosts at once (`PR_SET_PDEATHSIG`); the next run removes the rest |
//!
//! A run holds a lock on its directory's `owner` file; the kernel drops it with the process, so a run
//! whose lock is free has no owner.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::wait;
use nix::unistd::Pid;

use super::network::Namespace;
use crate::cache::{Cache, remove_tree};
use crate::progress::say;

/// The file in a run's directory that its owner has locked.
const OWNER: &str = "owner";

/// How long an interrupted process waits for another one that came first to clean up after it.
const OTHERS: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Run {
    pub id: String,
    pub dir: PathBuf,
    pub namespace: Namespace,
    owner: Mutex<Option<File>>,
}

/// The runs of this process that are not over.
static LIVE: Mutex<Vec<Arc<Run>>> = Mutex::new(Vec::new());

impl Run {
    /// Makes the directory and the network of a new run, after removing what dead ones left.
    pub fn begin(cache: &Cache) -> Result<Arc<Self>> {
        end_with_the_process();
        let runs = cache.root().join("runs");
        std::fs::create_dir_all(&runs)?;
        let (run, stale) = {
            // Between making a directory and locking it, nobody else may take it for a dead run's.
            let _lock = cache.lock("runs")?;
            let stale = ownerless(&runs)?;
            (Self::claim(&runs)?, stale)
        };
        let run = Arc::new(run);
        live().push(run.clone());
        for dead in stale {
            say(format!("removing what run {} left behind", dead.id));
            dead.end()?;
        }
        run.namespace.create()?;
        Ok(run)
    }

    fn claim(runs: &Path) -> Result<Self> {
        let mut random = [0_u8; 3];
        loop {
            std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
            let id = hex::encode(random);
            let dir = runs.join(&id);
            let namespace = Namespace::of_run(&id);
            // Another cache's run may have the name as a namespace.
            if dir.exists() || namespace.path().exists() {
                continue;
            }
            std::fs::create_dir(&dir)?;
            let owner = File::create(dir.join(OWNER))?;
            owner.lock()?;
            return Ok(Run {
                id,
                dir,
                namespace,
                owner: Mutex::new(Some(owner)),
            });
        }
    }

    /// Kills what runs in the run's namespace and removes everything of it. A second call does nothing.
    pub fn end(&self) -> Result<()> {
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lock) = owner.take() else {
            return Ok(());
        };
        kill_all_in(&self.namespace)?;
        self.namespace.remove()?;
        self.remove_files()?;
        drop(lock);
        live().retain(|run| run.id != self.id);
        Ok(())
    }

    /// The lock's file last: as long as there is anything else, nobody may think that the run has no owner.
    fn remove_files(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                remove_tree(&path)?;
            } else if entry.file_name() != OWNER {
                std::fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        // Who looks for dead runs at this moment removes what is empty.
        let _ = std::fs::remove_file(self.dir.join(OWNER));
        remove_tree(&self.dir)
    }
}

fn live() -> std::sync::MutexGuard<'static, Vec<Arc<Run>>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what runs that have no owner any more left behind.
pub fn remove_stale(cache: &Cache) -> Result<usize> {
    let runs = cache.root().join("runs");
    std::fs::create_dir_all(&runs)?;
    let stale = {
        let _lock = cache.lock("runs")?;
        ownerless(&runs)?
    };
    for dead in &stale {
        dead.end()?;
    }
    Ok(stale.len())
}

/// Removes what the runs `ids` left behind, and all dead ones: what an interrupted process becomes.
///
/// # Errors
/// When something cannot be removed, or another process does not get done with it in time.
pub fn clean_up_after(cache: &Cache, ids: &[String]) -> Result<()> {
    end_children()?;
    remove_stale(cache)?;
    let begun = Instant::now();
    // Another process may have found one of them dead before this one did.
    let left = |id: &&String| cache.root().join("runs").join(id).exists();
    while let Some(id) = ids.iter().find(left) {
        if begun.elapsed() > OTHERS {
            bail!("run {id} is still not removed by the process that began to");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Kills the children that this process had before it became the cleaner, which has none of its own: one that was
/// just about to enter a run's namespace is in none of them yet.
fn end_children() -> Result<()> {
    let me = std::process::id();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has ended meanwhile has no line.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if parent_in(&stat) == Some(me) {
            // Already gone is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    // ECHILD: they are all gone.
    while wait().is_ok() {}
    Ok(())
}

/// The parent in a line of `/proc/PID/stat` (proc_pid_stat(5)): the second word after the program's name, which is in
/// parentheses and may have any character.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// Takes over the runs whose owner is dead: the lock that it gets is the proof.
fn ownerless(runs: &Path) -> Result<Vec<Run>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(runs)? {
        let dir = entry?.path();
        let Some(id) = dir.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let id = id.to_owned();
        let Ok(owner) = File::options().write(true).open(dir.join(OWNER)) else {
            // Nothing is left of it but this, which goes only if it is empty.
            let _ = std::fs::remove_dir(&dir);
            continue;
        };
        if owner.try_lock().is_ok() {
            found.push(Run {
                namespace: Namespace::of_run(&id),
                id,
                dir,
                owner: Mutex::new(Some(owner)),
            });
        }
    }
    Ok(found)
}

/// Kills every process in the namespace: the hosts, and whatever they consist of.
fn kill_all_in(namespace: &Namespace) -> Result<()> {
    let Ok(inode) = std::fs::metadata(namespace.path()).map(|meta| meta.ino()) else {
        return Ok(());
    };
    let inside = || -> Result<Vec<Pid>> {
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            // A process that has ended meanwhile, or is a zombie, has no namespace to show.
            let theirs = std::fs::metadata(format!("/proc/{pid}/ns/net"));
            if theirs.is_ok_and(|meta| meta.ino() == inode) && pid as u32 != std::process::id() {
                pids.push(Pid::from_raw(pid));
            }
        }
        Ok(pids)
    };
    // More than one round, because something may be started while the first one kills.
    loop {
        let pids = inside()?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            // Already gone is as good.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

fn end_all() {
    let runs: Vec<Arc<Run>> = live().clone();
    for run in runs {
        if let Err(error) = run.end() {
            say(format!("cannot clean up after run {}: {error:#}", run.id));
        }
    }
}

extern "C" fn at_exit() {
    end_all();
}

fn end_with_the_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `at_exit` is a plain function that lives as long as the program and does not unwind
        // (what it calls reports errors by `Result`).
        let refused = unsafe { nix::libc::atexit(at_exit) };
        if refused != 0 {
            say("cannot register the clean-up at exit; a later run will do it");
        }
        let (watching, watched) = std::sync::mpsc::channel();
        std::thread::spawn(|| {
            if let Err(error) = wait_for_signals(watching) {
                say(format!("cannot watch for signals: {error:#}"));
            }
        });
        // Until then a signal would end this process as it is. The sender goes when watching failed.
        let _ = watched.recv();
    });
}

fn wait_for_signals(watching: std::sync::mpsc::Sender<()>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for signals")?;
    let number = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        drop(watching);
        std::io::Result::Ok(tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        })
    })?;
    say("interrupted: removing what this run made");
    // As a shell reports a program that a signal ended.
    let status = 128 + number;
    let error = become_cleaner(status);
    say(format!("{error:#}"));
    end_all();
    std::process::exit(status);
}

/// Ends all other threads at once, which may be about to make more, and gives the runs' locks up: only then removes
/// them. Returns only what went wrong.
fn become_cleaner(status: i32) -> anyhow::Error {
    let program = match super::agent_program() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let ids: Vec<String> = live().iter().map(|run| run.id.clone()).collect();
    let error = Command::new(&program)
        .args(["rack", "clean-up-after", &status.to_string()])
        .args(ids)
        .exec();
    anyhow::Error::from(error).context(format!("cannot start {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_whatever_the_program_is_called() {
        assert_eq!(parent_in("7 (sh) S 5 7 5 0 -1"), Some(5));
        assert_eq!(parent_in("7 (a) S 9 (b) R 5 7 5 0 -1"), Some(5));
        assert_eq!(parent_in(""), None);
        let mine = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(parent_in(&mine), Some(std::os::unix::process::parent_id()));
    }
}
