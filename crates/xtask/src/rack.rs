//! A rack of hosts on one machine: User-mode Linux hosts in a network namespace of the run.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use xtask::rack::Rack;
//!
//! let rack = Rack::start(1).await?;
//! let host = rack.host(1);
//! assert_eq!(host.check("hostname").await?.trim(), "h1");
//! host.power_cut().await?;
//! host.boot().await?;
//! # Ok(())
//! # }
//! ```

pub mod bare;
pub mod firmware;
pub mod forward;
pub mod host;
mod machine;
pub mod network;
pub(crate) mod process;
pub mod run;
pub mod session;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::cache::Cache;
use crate::images::{self, Images};
use crate::prerequisites;
use crate::progress::say;

pub use host::Host;
pub use session::{Output, Session};

/// Enough for a control plane and a few guests; a host takes only what it touches.
const MEMORY_MIB: u32 = 2048;

/// A rack that runs; dropping it leaves nothing of it.
#[derive(Debug)]
pub struct Rack {
    run: Arc<run::Run>,
    hosts: Vec<Host>,
    images: Arc<Images>,
}

/// How a rack shall be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub hosts: u8,
    pub memory_mib: u32,
}

impl Shape {
    pub fn of(hosts: u8) -> Self {
        Shape {
            hosts,
            memory_mib: MEMORY_MIB,
        }
    }
}

impl Rack {
    /// Boots `hosts` hosts, after building what is not in the cache.
    pub async fn start(hosts: u8) -> Result<Self> {
        Self::shaped(Shape::of(hosts)).await
    }

    pub async fn shaped(shape: Shape) -> Result<Self> {
        ensure!(
            (1..=200).contains(&shape.hosts),
            "a rack has 1 to 200 hosts, not {}",
            shape.hosts
        );
        let rack = tokio::task::spawn_blocking(move || Self::prepare(shape)).await??;
        let mut booting = tokio::task::JoinSet::new();
        for host in rack.hosts.clone() {
            booting.spawn(async move { host.boot().await });
        }
        while let Some(booted) = booting.join_next().await {
            booted??;
        }
        Ok(rack)
    }

    fn prepare(shape: Shape) -> Result<Self> {
        prerequisites::ensure()?;
        let cache = Cache::open()?;
        let images = Arc::new(Images::ensure(&cache)?);
        let run = run::Run::begin(&cache)?;
        // From here on, whatever fails, the rack is dropped and with it the run.
        let mut rack = Rack {
            run: run.clone(),
            hosts: Vec::new(),
            images: images.clone(),
        };
        let agent = agent_program()?;
        for number in 1..=shape.hosts {
            let host = Host::new(number, run.clone(), images.clone(), shape.memory_mib);
            let share = host.share();
            std::fs::create_dir(&share)?;
            std::fs::copy(&agent, share.join("agent"))
                .with_context(|| format!("cannot copy {}", agent.display()))?;
            rack.run.namespace.add_host(number)?;
            rack.hosts.push(host);
        }
        Ok(rack)
    }

    /// A machine on the underlay without an operating system; it is off.
    pub async fn bare_machine(&self, hardware: bare::Hardware) -> Result<bare::Machine> {
        let run = self.run.clone();
        tokio::task::spawn_blocking(move || bare::Machine::build(hardware, run)).await?
    }

    /// The run's id, also in the name of its network namespace.
    pub fn id(&self) -> &str {
        &self.run.id
    }

    /// Host `number`, from 1.
    ///
    /// # Panics
    /// When the rack has no such host.
    pub fn host(&self, number: u8) -> Host {
        assert!(
            (1..=self.hosts.len()).contains(&usize::from(number)),
            "the rack has hosts 1 to {}, no {number}",
            self.hosts.len()
        );
        self.hosts[usize::from(number) - 1].clone()
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The guest's kernel as Debian packs it, its unpacked form, and its initramfs.
    pub fn guest(&self) -> GuestFiles {
        GuestFiles::of(&self.images)
    }

    /// A command that will run on this machine, in the network of the hosts.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        self.run.namespace.command(program)
    }

    /// The network of the hosts, to connect from this machine.
    pub fn namespace(&self) -> network::Namespace {
        self.run.namespace.clone()
    }

    /// Where the run keeps its files, which go with it.
    pub fn dir(&self) -> &Path {
        &self.run.dir
    }
}

#[derive(Clone, Debug)]
pub struct GuestFiles {
    pub kernel: PathBuf,
    pub kernel_unpacked: PathBuf,
    pub initrd: PathBuf,
}

impl GuestFiles {
    pub fn of(images: &Images) -> Self {
        GuestFiles {
            kernel: images.guest.file(images::guest::KERNEL),
            kernel_unpacked: images.guest.file(images::guest::KERNEL_UNPACKED),
            initrd: images.guest.file(images::guest::INITRD),
        }
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        if let Err(error) = self.run.end() {
            say(format!(
                "cannot clean up after run {}: {error:#}",
                self.run.id
            ));
        }
    }
}

/// The program that serves as the agent in hosts: xtask itself. A test's program is not xtask; cargo
/// puts xtask two directories above it.
fn agent_program() -> Result<PathBuf> {
    let current = std::env::current_exe()?;
    if current.file_name().is_some_and(|name| name == "xtask") {
        return Ok(current);
    }
    let beside = current
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("xtask"))
        .find(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "no program xtask beside {}: build it with `cargo build -p xtask`",
            current.display()
        )
    })
}
