//! The kernel of a rack host: User-mode Linux, an ordinary program that needs no KVM.
//!
//! Debian's packaged one lacks conntrack zones, most nftables families and PSI, so it is compiled
//! from Debian's kernel source with `assets/host-kernel.config` over `allnoconfig`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Artifact, Cache, Recipe, remove_tree};
use crate::progress::{Step, contained, tail};

const FRAGMENT: &str = include_str!("../../assets/host-kernel.config");

/// The program in the artifact.
pub const PROGRAM: &str = "linux";

/// An apt pattern: whichever 7.x is in sid; its minor version moves on every few weeks.
const SOURCE: &str = "?name(^linux-source-7[.][0-9]+$)";

pub fn ensure(cache: &Cache) -> Result<Artifact> {
    let recipe = Recipe::new(1).part(FRAGMENT).part(SOURCE);
    cache.artifact("host-kernel", recipe, build)
}

/// What it is compiled of, counted of a whole build of 7.2: only the progress that is told hangs on it.
const OBJECTS: usize = 1100;

/// Directories whose code no host's kernel is made of: most of what would be unpacked. What describes the configuration
/// (Kconfig, Makefile) is wanted of all of them.
const UNWANTED: &[&str] = &[
    "arch/[a-tv-w]*",
    "drivers/accel",
    "drivers/clk",
    "drivers/crypto",
    "drivers/gpu",
    "drivers/hid",
    "drivers/hwmon",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/md",
    "drivers/media",
    "drivers/mtd",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/phy",
    "drivers/pinctrl",
    "drivers/platform",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
    "sound",
    "tools/perf",
    "tools/testing",
];

fn build(dir: &Path) -> Result<()> {
    let step = Step::named(
        "kernel",
        "building the hosts' kernel (once; the longest part of it all)",
    );
    let log = dir.join("build.log");
    let packages = dir.join("packages");
    super::mmdebstrap(&step, "extract", "sid", SOURCE, &packages, &log).with_context(|| {
        "Debian's sid has no package linux-source-7.x, or it cannot be fetched; \
         the rack's kernel is known to build from 7.x only"
    })?;
    let tree = unpack(&step, &packages, dir, &log)?;
    let out = dir.join("out");
    std::fs::create_dir(&out)?;
    let fragment = dir.join("fragment.config");
    std::fs::write(&fragment, FRAGMENT)?;

    let make = || {
        // A make has makes under it: all of them end with this process.
        let mut command = contained("make");
        command
            .args(["ARCH=um", "-C"])
            .arg(&tree)
            .arg(format!("O={}", out.display()))
            .env("KCONFIG_ALLCONFIG", &fragment)
            // What was built on one machine is the same on another.
            .env("KBUILD_BUILD_USER", "photon")
            .env("KBUILD_BUILD_HOST", "rack");
        command
    };
    step.run(make().arg("allnoconfig"), &log)?;
    all_honoured(&out.join(".config"))?;
    let jobs = std::thread::available_parallelism()?;
    step.count(OBJECTS, "objects");
    let mut compiled = 0;
    step.run_lines(make().arg(format!("-j{jobs}")).arg("linux"), &log, |line| {
        if is_compilation(line) {
            compiled += 1;
            step.done(compiled);
        }
    })?;

    std::fs::rename(out.join("linux"), dir.join(PROGRAM))?;
    std::fs::rename(out.join("modules.builtin"), dir.join("modules.builtin"))?;
    for leftover in [&packages, &tree, &out] {
        remove_tree(leftover)?;
    }
    step.end();
    Ok(())
}

/// kbuild's word for an object that it begins: `  CC      mm/memory.o`, `  AS      arch/x86/um/setjmp_64.o`.
fn is_compilation(line: &str) -> bool {
    let line = line.strip_prefix("  ");
    line.is_some_and(|line| line.starts_with("CC ") || line.starts_with("AS "))
}

fn unpack(step: &Step, packages: &Path, dir: &Path, log: &Path) -> Result<PathBuf> {
    // More than one 7.x may be there for a while; the last by name is the newer.
    let mut sources: Vec<PathBuf> = std::fs::read_dir(packages.join("usr/src"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    sources.retain(|path| path.to_string_lossy().ends_with(".tar.xz"));
    sources.sort();
    let Some(source) = sources.last() else {
        bail!("the package linux-source has no tar.xz in usr/src any more");
    };
    let tree = dir.join("source");
    std::fs::create_dir(&tree)?;
    let mut tar = Command::new("tar");
    tar.args(["--use-compress-program=xz -T0", "--strip-components=1"])
        .args(
            UNWANTED
                .iter()
                .map(|path| format!("--exclude=*/{path}/*.[chS]")),
        )
        .args([
            "--exclude=*/Documentation/*.rst",
            "--exclude=*/Documentation/*.yaml",
        ])
        .arg("-xf")
        .arg(source)
        .arg("-C")
        .arg(&tree);
    step.run(&mut tar, log)?;
    Ok(tree)
}

/// Kconfig drops without a word what it does not know; a host without it would fail in some far
/// corner instead of here.
fn all_honoured(config: &Path) -> Result<()> {
    let text = std::fs::read_to_string(config)?;
    let missing: Vec<&str> = FRAGMENT
        .lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter(|line| !text.lines().any(|set| set == *line))
        .collect();
    if !missing.is_empty() {
        bail!(
            "this kernel's configuration does not take: {}; adjust crates/xtask/assets/host-kernel.config\n{}",
            missing.join(", "),
            tail(config, 3)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_as_kbuild_tells_them() {
        assert!(is_compilation("  CC      mm/memory.o"));
        assert!(is_compilation("  AS      arch/x86/um/setjmp_64.o"));
        for other in [
            "  HOSTCC  scripts/kallsyms",
            "  AR      mm/built-in.a",
            "  CALL    x",
            "",
        ] {
            assert!(!is_compilation(other), "{other}");
        }
    }
}
