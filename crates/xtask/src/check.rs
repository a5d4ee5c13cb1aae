//! `cargo xtask test`: everything that must hold before a change goes in, in the order in which it
//! fails fastest.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::photoncloud::tree;
use crate::prepare::begin_images;
use crate::prerequisites;
use crate::progress::{Step, beside_others, human, say};

/// Its tests boot hosts; two at a time is what two cores carry.
const RACK_THREADS: &str = "--test-threads=2";

pub fn run() -> Result<()> {
    let begun = Instant::now();
    prerequisites::ensure_for_tests()?;
    // cargo has the terminal's last line.
    beside_others();
    // What the rack tests boot, made while cargo builds and the other tests run: nothing when it is there.
    let images = begin_images()?;
    step("format", &["fmt", "--all", "--check"])?;
    let all = ["--workspace", "--all-targets", "--locked"];
    step(
        "clippy",
        &[&["clippy"], &all[..], &["--", "-D", "warnings"]].concat(),
    )?;
    // The programs too: the rack's hosts then run these, and nothing is built a second time.
    step("build", &[&["build"], &all[..]].concat())?;
    // Not one of "all targets", because a plain `cargo test` shall not run it. The whole workspace, though one package has
    // it: so no library is compiled anew with other features.
    step(
        "clippy on the tests that run alone",
        &[
            "clippy",
            "--workspace",
            "--test",
            "rack",
            "--test",
            "abuse",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    // nextest shows more and runs wider; cargo's own runner finds the same tests.
    let runner: &[&str] = if has_nextest() {
        &["nextest", "run", "--no-fail-fast"]
    } else {
        &["test", "--lib", "--bins", "--tests", "--no-fail-fast"]
    };
    run_step(
        "unit and crate tests",
        with_programs()?
            .args(runner)
            .args(["--workspace", "--locked"]),
    )?;
    step(
        "documentation tests",
        &["test", "--workspace", "--locked", "--doc"],
    )?;
    let _images = images.wait()?;
    abuse_test()?;
    // The whole workspace, though one package has them: so the libraries are those of the step before.
    rack_tests()?;
    say(format!("everything passed in {}", human(begun.elapsed())));
    Ok(())
}

/// For tests that run programs of this tree: those that were built with this one.
fn with_programs() -> Result<Command> {
    let programs = std::env::current_exe()?;
    let programs = programs
        .parent()
        .context("this program lies in a directory")?;
    let mut command = cargo();
    command.env("PHOTON_PROGRAMS", programs);
    Ok(command)
}

/// Those that measure how long something takes or is away, by the beginning of their names: they have the machine for
/// themselves.
const TIMED: &[&str] = &["faults::", "scale::", "upgrade::an_upgrade_"];

/// It measures, and others' work would be mistaken for what it looks for.
fn abuse_test() -> Result<()> {
    let abuse = ["test", "--workspace", "--locked", "--test", "abuse"];
    run_step(
        "a stranger, a viewer and a member do their worst",
        with_programs()?.args(abuse),
    )
}

fn rack_tests() -> Result<()> {
    let rack = ["test", "--workspace", "--locked", "--test", "rack", "--"];
    let others = TIMED.iter().flat_map(|timed| ["--skip", timed]);
    run_step(
        "rack tests",
        with_programs()?.args(rack).arg(RACK_THREADS).args(others),
    )?;
    run_step(
        "rack tests that measure time",
        with_programs()?
            .args(rack)
            .arg("--test-threads=1")
            .args(TIMED),
    )
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(tree()).stdin(Stdio::null());
    command
}

fn step(what: &str, arguments: &[&str]) -> Result<()> {
    run_step(what, cargo().args(arguments))
}

fn run_step(what: &str, command: &mut Command) -> Result<()> {
    let step = Step::begin(what);
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("{what} failed: {command:?} ({status})");
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
