//! The programs of this machine that the rack needs: looked for, and installed when they are missing.
//!
//! ```text
//!  needs (what, and who packs it) ──► look ──► decision (pure: packages, and where from) ──► apt (tried, told, done)
//! ```
//!
//! What is there is used, in whatever version; what is missing is chosen to fit it. A package is never removed: where
//! apt would have to, the message names the conflict and the ways out, and nothing is changed.

mod apt;
mod decision;
mod needs;

use std::path::Path;

use anyhow::{Result, bail};

use crate::progress::say;
use decision::{Decision, Machine, decide};
use needs::{BENCH, Need, RACK, TESTS, missing};

/// Makes sure that the rack can run here; a second call finds everything in place and does nothing.
///
/// # Errors
/// When this is not root, or something is missing that cannot be installed; the message names it and says what to do.
pub fn ensure() -> Result<()> {
    ensure_all(&[RACK])
}

/// As [`ensure`], and that all tests can run here.
pub fn ensure_for_tests() -> Result<()> {
    ensure_all(&[RACK, TESTS])
}

/// As [`ensure`], and that everything can be measured here.
pub fn ensure_for_bench() -> Result<()> {
    ensure_all(&[RACK, BENCH])
}

/// As all of these.
pub fn ensure_for_everything() -> Result<()> {
    ensure_all(&[RACK, TESTS, BENCH])
}

fn ensure_all(wanted: &[&'static [Need]]) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the rack needs root, for network namespaces and for making the host image: \
             run this as root, for example with `sudo -E env PATH=$PATH cargo xtask ...`"
        );
    }
    if !Path::new("/dev/net/tun").exists() {
        bail!("/dev/net/tun is missing: the rack's hosts are connected by TAP devices");
    }
    let lacking = missing(wanted);
    let (packages, ways) = match decide(&lacking, &Machine::observe(&lacking)) {
        Decision::Nothing => return Ok(()),
        Decision::Refuse(message) => bail!("{message}"),
        Decision::Install { packages, ways } => (packages, ways),
    };
    let names: Vec<&str> = lacking.iter().map(|need| need.name).collect();
    say(format!("this machine lacks: {}", names.join(", ")));
    apt::install(&packages, &ways)?;
    let still: Vec<&str> = missing(wanted).iter().map(|need| need.name).collect();
    if !still.is_empty() {
        bail!(
            "still missing after the installation of {}: {}",
            packages.join(" "),
            still.join(", ")
        );
    }
    Ok(())
}
