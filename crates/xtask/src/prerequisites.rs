//! The programs of the machine that the rack needs, installed when they are missing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::{Step, say};
use crate::rack::bare::UEFI_CODE;

/// Program or file, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("mkfs.ext4", "e2fsprogs"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    // The headers without which the kernel does not compile.
    ("/usr/include/stdio.h", "libc6-dev"),
];

/// What tests run on this machine itself besides: QEMU with its tools, the real nft, the generic
/// client and what its answers are read with, the operator's way to hosts, the firmware of bare machines.
const FOR_TESTS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("nft", "nftables"),
    ("jq", "jq"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("objcopy", "binutils"),
    ("pip3", "python3-pip"),
    ("/usr/lib/ipxe/qemu/efi-virtio.rom", "ipxe-qemu"),
    (UEFI_CODE, "ovmf"),
];

/// A program by its name, or a file by its path.
fn installed(program: &str) -> bool {
    // sbin is not on the PATH of everyone who may become root by sudo.
    let path = std::env::var("PATH").unwrap_or_default();
    // Joined to a path from the root, a directory is of no account.
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|directory| Path::new(directory).join(program).is_file())
}

fn missing(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let wanted = PROGRAMS.iter().chain(more);
    let missing = wanted.filter(|(program, _)| !installed(program));
    missing.copied().collect()
}

/// Makes sure that the rack can run here; a second call finds everything in place and does nothing.
///
/// # Errors
/// When this is not root, or something is missing that apt cannot bring; the message names it.
pub fn ensure() -> Result<()> {
    ensure_with(&[])
}

/// As [`ensure`], and that all tests can run here.
pub fn ensure_for_tests() -> Result<()> {
    ensure_with(FOR_TESTS)
}

fn ensure_with(more: &[(&'static str, &'static str)]) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the rack needs root, for network namespaces and for making the host image: \
             run this as root, for example with `sudo -E env PATH=$PATH cargo xtask ...`"
        );
    }
    if !Path::new("/dev/net/tun").exists() {
        bail!("/dev/net/tun is missing: the rack's hosts are connected by TAP devices");
    }
    let wanted = missing(more);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = wanted.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    if !installed("apt-get") {
        bail!(
            "missing: {}; this machine has no apt-get to install them with (Debian packages: {})",
            names.join(", "),
            packages.join(" ")
        );
    }
    say(format!("installing with apt-get: {}", packages.join(" ")));
    let step = Step::begin("installing packages");
    let log = std::env::temp_dir().join(format!("photon-apt-{}.log", std::process::id()));
    let outcome = install(&step, &packages, &log);
    // The log only matters when it failed, and then its end is part of the error.
    let _ = std::fs::remove_file(&log);
    outcome.with_context(|| format!("cannot install {}", packages.join(" ")))?;
    step.end();
    let still: Vec<&str> = missing(more).iter().map(|(name, _)| *name).collect();
    if !still.is_empty() {
        bail!("still missing after installation: {}", still.join(", "));
    }
    Ok(())
}

fn install(step: &Step, packages: &[&str], log: &Path) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command
    };
    // A fresh machine often has no package lists at all.
    step.run(apt().arg("update"), log)?;
    step.run(
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
        log,
    )
}
