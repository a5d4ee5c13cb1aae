//! Where the native parts run: in a network namespace of the run's own, so that the servers have their usual ports
//! whatever else runs on the machine, and nothing outlives the run (see [`crate::rack::run`]).

use std::fs::File;
use std::future::Future;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::progress::tail;
use crate::rack::network::Namespace;
use crate::rack::process::spawn;

const STOP: Duration = Duration::from_secs(15);
const READY: Duration = Duration::from_secs(60);

/// Runs `work` with all of its sockets inside the namespace.
pub fn inside<T, F>(namespace: &Namespace, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let path = namespace.path();
    let thread = std::thread::spawn(move || {
        let namespace =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        // The threads that the runtime starts are this one's children and inherit its namespace.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work())
    });
    let ended = thread.join();
    ended.map_err(|_| anyhow!("the thread of a measurement panicked"))?
}

/// A program that ends with the run, or before.
#[derive(Clone)]
pub struct Process {
    name: String,
    pid: Pid,
    ended: watch::Receiver<bool>,
    log: PathBuf,
}

impl Process {
    /// Starts it, with its output in a file of this name in `directory`. The command should come from
    /// [`Namespace::command`], by which the kernel ends it when this process ends.
    pub async fn start(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let (pid, ended) = spawn(command)
            .await
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Process {
            name: name.to_owned(),
            pid,
            ended,
            log,
        })
    }

    /// Waits until it listens on this port of the loopback.
    pub async fn listens(&self, port: u16) -> Result<()> {
        let deadline = Instant::now() + READY;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_err()
        {
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} does not listen on {port}:\n{}",
                    self.name,
                    tail(&self.log, 20)
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// An error when it has ended.
    pub fn check(&self) -> Result<()> {
        if *self.ended.borrow() {
            bail!("{} ended:\n{}", self.name, tail(&self.log, 20));
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&self) -> Result<()> {
        match kill(self.pid, Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot end {}", self.name)),
        }
        let mut ended = self.ended.clone();
        let waited = tokio::time::timeout(STOP, ended.wait_for(|ended| *ended)).await;
        if waited.is_err() {
            bail!(
                "{} does not end; its log:\n{}",
                self.name,
                tail(&self.log, 20)
            );
        }
        Ok(())
    }
}
