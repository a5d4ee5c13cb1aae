//! The programs of this tree that run on a host.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use photon_api::components::{self, COMPONENTS};

use super::tree;
use crate::progress::Step;

/// Packages with a program that is nobody's daemon, and that program.
const TOOLS: [(&str, &str); 3] = [
    ("photon-enrol", "photon-enrol"),
    ("photon-cli", "photon"),
    ("photon-e2e", "photon-e2e"),
];

/// The packages that they are of: each component's, and the tools'.
pub fn packages() -> impl Iterator<Item = &'static str> {
    let components = COMPONENTS.into_iter().map(|component| component.name);
    components.chain(TOOLS.map(|(package, _)| package))
}

fn names() -> impl Iterator<Item = &'static str> {
    let programs = components::programs().map(|program| program.name);
    programs.chain(TOOLS.map(|(_, program)| program))
}

/// Built programs.
pub struct Programs {
    paths: Vec<PathBuf>,
}

impl Programs {
    /// Those of the directory `$PHOTON_PROGRAMS` (a release, a package), else of this tree: cargo builds
    /// them, which does nothing for what is up to date.
    pub fn ensure() -> Result<Self> {
        if let Some(directory) = std::env::var_os("PHOTON_PROGRAMS") {
            let paths = names().map(|name| Path::new(&directory).join(name));
            return Ok(Programs {
                paths: paths.collect(),
            });
        }
        let step = Step::begin("building PhotonCloud's programs");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(tree())
            .args(["build", "--locked", "--bins"])
            .args(["--message-format", "json-render-diagnostics"])
            .args(packages().flat_map(|package| ["-p", package]))
            .stdin(Stdio::null())
            // Cargo's own progress and the compiler's words go to whoever watches.
            .stderr(Stdio::inherit());
        let output = cargo.output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!(
                "cargo could not build PhotonCloud's programs ({})",
                output.status
            );
        }
        step.end();
        let built = executables(&output.stdout)?;
        let paths = names().map(|program| {
            built
                .iter()
                .find(|path| path.file_name().is_some_and(|name| name == program))
                .cloned()
                .with_context(|| {
                    format!(
                        "the packages {} have no program {program}",
                        packages().collect::<Vec<_>>().join(", ")
                    )
                })
        });
        Ok(Programs {
            paths: paths.collect::<Result<_>>()?,
        })
    }

    /// The program of this name.
    pub fn path(&self, name: &str) -> Option<&Path> {
        let mut paths = self.paths.iter().map(PathBuf::as_path);
        paths.find(|path| path.file_name().is_some_and(|file| file == name))
    }

    /// Puts them into a directory, without what only a debugger reads.
    pub fn place(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        for path in &self.paths {
            strip(path, directory, "--strip-debug")?;
        }
        Ok(())
    }

    /// Puts those of these names into a directory, as small as they get: for a machine that gets them over
    /// the network.
    pub fn place_some(&self, directory: &Path, names: &[&str]) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        for name in names {
            let path = self.path(name);
            let path = path.with_context(|| format!("there is no program {name}"))?;
            strip(path, directory, "--strip-all")?;
        }
        Ok(())
    }
}

fn strip(path: &Path, directory: &Path, how: &str) -> Result<()> {
    let name = path.file_name().context("a program has a name")?;
    let status = Command::new("strip")
        .args([how, "-o"])
        .args([&directory.join(name), path])
        .status()
        .context("cannot start strip")?;
    if !status.success() {
        bail!("cannot copy {} to {}", path.display(), directory.display());
    }
    Ok(())
}

/// The programs that cargo's messages tell of (The Cargo Book, "JSON messages").
fn executables(messages: &[u8]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in messages.split(|byte| *byte == b'\n') {
        if line.first() != Some(&b'{') {
            continue;
        }
        let message: serde_json::Value = serde_json::from_slice(line)?;
        if let Some(path) = message["executable"].as_str() {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_cargos_messages() {
        let messages = b"{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/photon\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            executables(messages).unwrap(),
            [PathBuf::from("/t/debug/photon")]
        );
    }
}
