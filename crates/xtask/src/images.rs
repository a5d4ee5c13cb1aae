//! What hosts and guests are made of, built from Debian's packages and kept in the cache.

pub mod cloud_guest;
pub mod cpio;
pub mod guest;
pub mod host;
mod initramfs;
pub mod kernel;
pub mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::ScopedJoinHandle;

use anyhow::{Result, anyhow};

use crate::cache::{Artifact, Cache};
use crate::progress::{Step, contained};

/// Everything a rack boots. As long as this lives, the cache keeps it.
#[derive(Debug)]
pub struct Images {
    pub kernel: Artifact,
    pub host: Artifact,
    pub guest: Artifact,
}

impl Images {
    /// Builds what is not in the cache yet, beside each other: while one waits for the network or the disk, another
    /// has the processors.
    pub fn ensure(cache: &Cache) -> Result<Self> {
        std::thread::scope(|scope| {
            let host = scope.spawn(|| host::ensure(cache));
            let guest = scope.spawn(|| guest::ensure(cache));
            let kernel = kernel::ensure(cache);
            Ok(Images {
                host: joined(host)?,
                guest: joined(guest)?,
                kernel: kernel?,
            })
        })
    }
}

fn joined(thread: ScopedJoinHandle<'_, Result<Artifact>>) -> Result<Artifact> {
    thread
        .join()
        .map_err(|_| anyhow!("the thread that builds it panicked"))?
}

/// Unpacks packages of a Debian suite, with all they depend on, into `target`.
///
/// mmdebstrap knows the mirrors itself. The suites are trusted by their signatures; that a mirror's
/// index may be older than it says is fine here, hence `Check-Valid-Until`.
fn mmdebstrap(
    step: &Step,
    variant: &str,
    suite: &str,
    packages: &str,
    target: &Path,
    log: &Path,
) -> Result<()> {
    let mut command: Command = contained("mmdebstrap");
    command
        .arg(format!("--variant={variant}"))
        .args(["--mode=root", "--format=directory"])
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
        .arg("--aptopt=Apt::Install-Recommends \"false\"")
        .args(
            ["doc", "man", "locale", "info"]
                .map(|part| format!("--dpkgopt=path-exclude=/usr/share/{part}/*")),
        )
        .arg(format!("--include={packages}"))
        .arg(suite)
        .arg(target);
    step.run(&mut command, log)
}

/// The first file below `directory` whose name is wanted.
fn find(directory: &Path, wanted: impl Fn(&str) -> bool + Copy) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_str().is_some_and(wanted) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
