//! The programs of this tree that run on a host.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use photon_api::components::{self, COMPONENTS, ProgramKind};

use super::tree;
use crate::cache::{Cache, Recipe};
use crate::progress::{Step, bound};

/// Packages with a program that is none of the components' table, and that program.
const TOOLS: [(&str, &str); 5] = [
    ("photon-enrol", "photon-enrol"),
    ("photon-cli", "photon"),
    ("photon-e2e", "photon-e2e"),
    ("photon-fetch", "photon-fetch"),
    ("plasmavmc-metadata", "plasmavmc-metadata"),
];

/// The packages that they are of: each component's, its agents', and the tools'.
pub fn packages() -> impl Iterator<Item = &'static str> {
    let components = COMPONENTS.into_iter().map(|component| component.name);
    let agents = components::programs().filter(|program| program.kind == ProgramKind::Agent);
    let agents = agents.map(|program| program.name);
    components
        .chain(agents)
        .chain(TOOLS.map(|(package, _)| package))
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

    /// Puts them into a directory, without what only a debugger reads: that is taken off once, and kept in the cache.
    pub fn place(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        let cache = Cache::open()?;
        // Each is large, and one process for each would take them one after the other.
        std::thread::scope(|scope| {
            let placing: Vec<_> = self
                .paths
                .iter()
                .map(|path| scope.spawn(|| place(&cache, path, directory)))
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

/// Copies a program without what only a debugger reads. The same file is known by its place, its size and its time.
fn place(cache: &Cache, path: &Path, directory: &Path) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} is no program's name", path.display()))?;
    let file =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let recipe = Recipe::new(1)
        .part(path.as_os_str().as_encoded_bytes())
        .part(file.len().to_be_bytes())
        .part(file.mtime().to_be_bytes())
        .part(file.mtime_nsec().to_be_bytes());
    let stripped = cache.artifact(&format!("stripped-{name}"), recipe, |dir| {
        strip(path, dir, "--strip-debug")
    })?;
    let to = directory.join(name);
    std::fs::copy(stripped.file(name), &to)
        .with_context(|| format!("cannot copy {name} to {}", to.display()))?;
    Ok(())
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

    #[test]
    fn a_program_is_stripped_again_only_when_it_is_another() {
        let scratch = std::env::temp_dir().join(format!("xtask-place-{}", std::process::id()));
        let cache = Cache::at(scratch.join("cache")).unwrap();
        let (program, placed) = (scratch.join("program"), scratch.join("placed"));
        std::fs::create_dir(&placed).unwrap();
        std::fs::copy("/bin/sh", &program).unwrap();
        let kept = || -> Vec<PathBuf> {
            let kept = std::fs::read_dir(cache.root().join("stripped-program")).unwrap();
            kept.map(|entry| entry.unwrap().path()).collect()
        };
        place(&cache, &program, &placed).unwrap();
        let first = kept();
        place(&cache, &program, &placed).unwrap();
        assert_eq!((first.len(), kept()), (1, first.clone()));
        let runs = Command::new(placed.join("program"))
            .args(["-c", "exit 7"])
            .status();
        assert_eq!(runs.unwrap().code(), Some(7));

        let file = std::fs::File::options().write(true).open(&program).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        file.set_modified(later).unwrap();
        place(&cache, &program, &placed).unwrap();
        assert_ne!(kept(), first);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
