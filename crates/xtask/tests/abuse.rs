//! The short form of `cargo xtask abuse`: nobody is stopped, slowed or filled up by who does their worst.

use xtask::abuse::{attempt, floor_ms};
use xtask::bench::Profile;
use xtask::photoncloud::programs::Programs;

/// Each phase.
const SECONDS: u64 = 8;

#[test]
fn a_tenant_does_not_notice_what_others_try() {
    let programs = Programs::ensure().unwrap();
    let program = programs.path("iam-server").unwrap();
    let directory = program.parent().unwrap();
    let report = attempt(directory, SECONDS, floor_ms(Profile::Dev)).unwrap();
    let text = report.text();
    println!("{text}");
    assert_eq!(report.broken(), [""; 0], "\n{text}");
}
