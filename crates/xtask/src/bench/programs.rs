//! The programs that are measured, and the one that measures: release builds, in a target directory of their own, so
//! that a benchmark and a build of the tree do not wait for each other.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Profile;
use crate::photoncloud::programs::packages;
use crate::photoncloud::tree;
use crate::progress::Step;

/// Where cargo puts the programs of this profile.
fn directory(profile: Profile) -> PathBuf {
    match profile {
        Profile::Release => tree().join("target/bench/release"),
        Profile::Dev => tree().join("target/debug"),
    }
}

/// The directory with the programs that are measured: `$PHOTON_PROGRAMS`, as on rack hosts, else the built ones.
pub fn measured(profile: Profile) -> PathBuf {
    match std::env::var_os("PHOTON_PROGRAMS") {
        Some(programs) => programs.into(),
        None => directory(profile),
    }
}

pub fn authorize_rate(directory: &Path) -> PathBuf {
    directory.join("examples/authorize_rate")
}

/// Builds them with cargo, which does nothing for what is up to date.
pub fn build(profile: Profile) -> Result<()> {
    let step = Step::begin(match profile {
        Profile::Release => "building the release programs (the first time takes many minutes)",
        Profile::Dev => "building the programs, not optimized",
    });
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(tree())
        .args(["build", "--locked", "--bins", "--example", "authorize_rate"])
        .args(packages().flat_map(|package| ["-p", package]))
        .args(["-p", "xtask"])
        .stdin(Stdio::null());
    if let Profile::Release = profile {
        cargo
            .arg("--release")
            .env("CARGO_TARGET_DIR", tree().join("target/bench"));
    }
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo could not build what is to be measured ({status})");
    }
    step.end();
    Ok(())
}

/// Goes on as the xtask that was just built: a client that is not optimized would measure itself.
///
/// # Errors
/// Always, if it returns.
pub fn become_built(profile: Profile) -> Result<()> {
    let program = directory(profile).join("xtask");
    let measured = measured(profile);
    let error = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .arg("--measure")
        // Which programs a rack host gets.
        .env("PHOTON_PROGRAMS", measured)
        .exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
