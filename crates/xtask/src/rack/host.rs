//! A host of the rack, and what a test or a demo can do to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use photon_e2e::guest::quote;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::forward::Forward;
use super::machine::{Machine, Plan, last_words};
use super::network::{management_address, underlay_address};
use super::run::Run;
use super::session::{Output, Session};
use super::wire::{self, Kind, Request};
use crate::images::{Images, host, kernel};
use crate::progress::human;

/// A host that idles answers in milliseconds; one that boots or emulates guests may be slow.
const COMMAND: Duration = Duration::from_secs(120);
const BOOT: Duration = Duration::from_secs(180);
const POWER_OFF: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Host {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub number: u8,
    pub run: Arc<Run>,
    pub images: Arc<Images>,
    pub memory_mib: u32,
    machine: Mutex<Option<Machine>>,
}

impl Host {
    pub(super) fn new(number: u8, run: Arc<Run>, images: Arc<Images>, memory_mib: u32) -> Self {
        Host {
            inner: Arc::new(Inner {
                number,
                run,
                images,
                memory_mib,
                machine: Mutex::new(None),
            }),
        }
    }

    pub fn name(&self) -> String {
        format!("h{}", self.inner.number)
    }

    /// Its address on the underlay, where hosts reach each other.
    pub fn address(&self) -> Ipv4Addr {
        underlay_address(self.inner.number)
    }

    /// The directory of this machine that the host sees as `/run/rack/share`.
    pub fn share(&self) -> PathBuf {
        self.plan().share()
    }

    fn plan(&self) -> Plan<'_> {
        let inner = &self.inner;
        Plan {
            number: inner.number,
            run_id: &inner.run.id,
            dir: &inner.run.dir,
            kernel: inner.images.kernel.file(kernel::PROGRAM),
            image: inner.images.host.file(host::IMAGE),
            memory_mib: inner.memory_mib,
        }
    }

    /// Boots the host, the first time or again, and waits until its boot is complete. What it had
    /// written to its disk is there.
    ///
    /// # Errors
    /// When it runs already, does not come up in time, or comes up with failed units, which it names.
    pub async fn boot(&self) -> Result<Duration> {
        let begun = Instant::now();
        {
            let mut machine = self.inner.machine.lock().await;
            if machine.as_ref().is_some_and(|m| !m.has_ended()) {
                bail!("{} runs already", self.name());
            }
            *machine = Some(Machine::start(&self.plan(), &self.inner.run.namespace).await?);
        }
        let up = timeout(BOOT, self.wait_until_up()).await;
        up.map_err(|_| anyhow::anyhow!("not up after {}", human(BOOT)))
            .flatten()
            .with_context(|| {
                format!("{} did not boot; {}", self.name(), last_words(&self.plan()))
            })?;
        Ok(begun.elapsed())
    }

    async fn wait_until_up(&self) -> Result<()> {
        loop {
            if self.has_ended().await {
                bail!("its kernel ended");
            }
            // Until the agent listens, the host's kernel refuses, or nobody answers at all.
            if let Ok(Ok(stream)) = timeout(Duration::from_secs(1), self.connect()).await {
                drop(stream);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let state = self
            .spawn("systemctl is-system-running --wait")
            .await?
            .finish(BOOT)
            .await?;
        if state.stdout.trim() != "running" {
            let failed = self.run("systemctl --failed --no-legend --plain; journalctl -p warning -n 30 --no-pager").await?;
            bail!("its state is {}:\n{}", state.stdout.trim(), failed.stdout);
        }
        Ok(())
    }

    async fn has_ended(&self) -> bool {
        let machine = self.inner.machine.lock().await;
        machine.as_ref().is_none_or(Machine::has_ended)
    }

    /// Ends the host as a power cut would. Booting it again is up to the caller.
    pub async fn power_cut(&self) -> Result<()> {
        match self.inner.machine.lock().await.take() {
            Some(machine) => machine.kill().await,
            None => bail!("{} is not running", self.name()),
        }
    }

    /// Shuts the host down as its power button would, and waits until it is off.
    pub async fn power_off(&self) -> Result<Duration> {
        let begun = Instant::now();
        // The answer may get lost with the host.
        let _ = self.run("systemctl poweroff --no-block").await;
        let mut slot = self.inner.machine.lock().await;
        let Some(machine) = slot.as_ref() else {
            bail!("{} is not running", self.name());
        };
        machine.end(POWER_OFF).await.with_context(|| {
            format!(
                "{} did not power off; {}",
                self.name(),
                last_words(&self.plan())
            )
        })?;
        *slot = None;
        Ok(begun.elapsed())
    }

    /// Takes the host off the underlay; the rack still reaches it.
    pub fn cut(&self) -> Result<()> {
        self.inner.run.namespace.cut(self.inner.number)
    }

    pub fn heal(&self) -> Result<()> {
        self.inner.run.namespace.heal(self.inner.number)
    }

    /// Runs a bash script, for at most two minutes.
    ///
    /// # Errors
    /// When it could not run to its end. That it failed is not an error here: see [`Host::check`].
    pub async fn run(&self, script: &str) -> Result<Output> {
        self.run_for(script, COMMAND).await
    }

    /// Runs a bash script, and kills it when `limit` passes, which is an error.
    pub async fn run_for(&self, script: &str, limit: Duration) -> Result<Output> {
        let session = self.spawn(script).await?;
        let output = session.finish(limit).await;
        output.with_context(|| format!("{}: {script}", self.name()))
    }

    /// Runs a bash script that must succeed; its standard output.
    pub async fn check(&self, script: &str) -> Result<String> {
        let output = self.run(script).await?;
        if !output.success() {
            bail!(
                "{}: `{script}` ended with {}:\n{}{}",
                self.name(),
                output.status,
                output.stdout,
                output.stderr
            );
        }
        Ok(output.stdout)
    }

    /// Starts a bash script and leaves talking to it to the caller.
    pub async fn spawn(&self, script: &str) -> Result<Session> {
        let stream = self.connect().await?;
        Session::start(stream, script)
            .await
            .with_context(|| format!("cannot run a command in {}", self.name()))
    }

    /// Copies a file into the host, with its permissions.
    pub async fn copy_in(&self, from: &Path, to: &str) -> Result<()> {
        let passing = tempfile_in(&self.share())?;
        std::fs::copy(from, &passing)
            .with_context(|| format!("cannot copy {} to {}", from.display(), self.name()))?;
        let name = file_name(&passing)?;
        let moved = self
            .check(&format!(
                "cp --preserve=mode /run/rack/share/{name} {}",
                quote(to)
            ))
            .await;
        std::fs::remove_file(&passing)?;
        moved.map(drop)
    }

    /// Copies a file out of the host.
    pub async fn copy_out(&self, from: &str, to: &Path) -> Result<()> {
        let passing = tempfile_in(&self.share())?;
        let name = file_name(&passing)?;
        self.check(&format!("cp {} /run/rack/share/{name}", quote(from)))
            .await?;
        std::fs::copy(&passing, to)?;
        Ok(std::fs::remove_file(&passing)?)
    }

    /// Forwards connections to `listen` on this machine to the port of the host's loopback, until
    /// the forward is dropped. Port 0 takes a free one.
    pub async fn forward(&self, port: u16, listen: SocketAddr) -> Result<Forward> {
        Forward::start(self.clone(), port, listen).await
    }

    /// A connection to a port of the host's loopback.
    pub async fn dial(&self, port: u16) -> Result<TcpStream> {
        let mut stream = self.connect().await?;
        let request = serde_json::to_vec(&Request::Connect { port })?;
        wire::send(&mut stream, Kind::Request, &request).await?;
        let answer = wire::receive(&mut stream).await?;
        match answer.kind {
            Kind::Connected => Ok(stream),
            _ => bail!("{} in {}", answer.text(), self.name()),
        }
    }

    /// A connection to the agent.
    async fn connect(&self) -> Result<TcpStream> {
        let socket = self.inner.run.namespace.socket().await?;
        let address = (management_address(self.inner.number), wire::PORT);
        let stream = socket
            .connect(address.into())
            .await
            .with_context(|| format!("cannot reach {}", self.name()))?;
        stream.set_nodelay(true)?;
        // A host that lost its power says no goodbye; whoever waits for it must not wait forever.
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &5)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &3)?;
        setsockopt(&stream, sockopt::TcpKeepCount, &5)?;
        // Nor whoever has sent it something, to which keep-alive does not apply (milliseconds).
        setsockopt(&stream, sockopt::TcpUserTimeout, &10_000)?;
        Ok(stream)
    }
}

/// A name in `directory` that nobody has taken; the file exists, empty.
fn tempfile_in(directory: &Path) -> Result<PathBuf> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = directory.join(format!("passing-{number}"));
    std::fs::File::create_new(&path)?;
    Ok(path)
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name()
        .and_then(|name| name.to_str())
        .context("the name was made here, of ASCII")
}
