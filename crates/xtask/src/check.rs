//! `cargo xtask test`: everything that must hold before a change goes in, in the order in which it
//! fails fastest.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::photoncloud::tree;
use crate::prerequisites;
use crate::progress::{Step, human, say};

/// Its tests boot hosts; two at a time is what two cores carry.
const RACK_THREADS: &str = "--test-threads=2";

pub fn run() -> Result<()> {
    let begun = Instant::now();
    prerequisites::ensure_for_tests()?;
    step("format", &["fmt", "--all", "--check"])?;
    let all = ["--workspace", "--all-targets", "--locked"];
    step(
        "clippy",
        &[&["clippy"], &all[..], &["--", "-D", "warnings"]].concat(),
    )?;
    // nextest shows more and runs wider; cargo's own runner finds the same tests.
    if has_nextest() {
        step(
            "unit and crate tests",
            &["nextest", "run", "--workspace", "--locked"],
        )?;
    } else {
        step(
            "unit and crate tests",
            &[
                "test",
                "--workspace",
                "--locked",
                "--lib",
                "--bins",
                "--tests",
            ],
        )?;
    }
    step(
        "documentation tests",
        &["test", "--workspace", "--locked", "--doc"],
    )?;
    // The whole workspace, though one package has them: so the libraries are those of the step before.
    step(
        "rack tests",
        &[
            "test",
            "--workspace",
            "--locked",
            "--test",
            "rack",
            "--",
            RACK_THREADS,
        ],
    )?;
    say(format!("everything passed in {}", human(begun.elapsed())));
    Ok(())
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(tree()).stdin(Stdio::null());
    command
}

fn step(what: &str, arguments: &[&str]) -> Result<()> {
    let step = Step::begin(what);
    let status = cargo()
        .args(arguments)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("{what} failed: cargo {} ({status})", arguments.join(" "));
    }
    step.end();
    Ok(())
}

fn has_nextest() -> bool {
    cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
