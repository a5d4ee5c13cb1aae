//! The programs of this tree that run on a host.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use photon_api::components::{self, COMPONENTS};

use super::tree;
use crate::progress::{Step, bound};

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
        let built = build()?;
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
        // Each is large, and one process for each would take them one after the other.
        std::thread::scope(|scope| {
            let placing: Vec<_> = self
                .paths
                .iter()
                .map(|path| scope.spawn(|| strip(path, directory, "--strip-debug")))
                .collect();
            for thread in placing {
                thread
                    .join()
                    .map_err(|_| anyhow!("the thread that copies a program panicked"))??;
            }
            Ok(())
        })
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

/// Has cargo build them, and tells how far it is; the programs' paths.
fn build() -> Result<Vec<PathBuf>> {
    let step = Step::named("programs", "building PhotonCloud's programs");
    let log = tree().join("target/photon/build.log");
    std::fs::create_dir_all(log.parent().context("the log lies in a directory")?)?;
    // What was built before is of no interest, and would be taken for the reason of a failure.
    if let Err(error) = std::fs::remove_file(&log) {
        ensure!(
            error.kind() == ErrorKind::NotFound,
            "{}: {error}",
            log.display()
        );
    }
    step.count(packages_of_the_build()?, "packages");
    let mut cargo = bound(cargo());
    cargo
        .current_dir(tree())
        .args(["build", "--locked", "--bins"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(packages().flat_map(|package| ["-p", package]));
    let mut built = Vec::new();
    let mut seen = HashSet::new();
    let mut wrong = Ok(());
    step.run_lines(&mut cargo, &log, |line| match artifact(line) {
        Ok(Some(artifact)) => {
            built.extend(artifact.executable);
            seen.insert(artifact.package);
            step.done(seen.len());
        }
        Ok(None) => {}
        Err(error) => wrong = Err(error),
    })?;
    wrong?;
    step.end();
    Ok(built)
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Of how many packages cargo will tell that it has built something of them.
fn packages_of_the_build() -> Result<usize> {
    let output = Command::new(cargo())
        .current_dir(tree())
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}", "--no-dedupe"])
        .args(packages().flat_map(|package| ["-p", package]))
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "cargo tree failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    // `name v1.2.3 (proc-macro)`: the same package, whatever is said of it.
    let names = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?))
    });
    Ok(names.collect::<HashSet<_>>().len())
}

/// Something that cargo has built, or had.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    package: String,
    /// Of a program: where it is.
    executable: Option<PathBuf>,
}

/// What one of cargo's messages tells of (The Cargo Book, "JSON messages").
fn artifact(line: &str) -> Result<Option<Built>> {
    if !line.starts_with('{') {
        return Ok(None);
    }
    let message: serde_json::Value = serde_json::from_str(line)?;
    if message["reason"] != "compiler-artifact" {
        return Ok(None);
    }
    Ok(Some(Built {
        package: message["package_id"].as_str().unwrap_or_default().into(),
        executable: message["executable"].as_str().map(PathBuf::from),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_cargos_messages() {
        let built = |executable: Option<&str>| Built {
            package: "p".into(),
            executable: executable.map(PathBuf::from),
        };
        for (line, expected) in [
            (
                r#"{"reason":"compiler-artifact","package_id":"p","executable":null}"#,
                Some(built(None)),
            ),
            (
                r#"{"reason":"compiler-artifact","package_id":"p","executable":"/t/debug/photon"}"#,
                Some(built(Some("/t/debug/photon"))),
            ),
            (
                r#"{"reason":"build-script-executed","package_id":"p"}"#,
                None,
            ),
            (r#"{"reason":"build-finished","success":true}"#, None),
            ("what a program printed", None),
        ] {
            assert_eq!(artifact(line).unwrap(), expected, "{line}");
        }
    }
}
