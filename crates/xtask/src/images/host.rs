//! The disk of a rack host: Debian with systemd, networkd, nftables and QEMU, as an ext4 image that
//! every host lays its own changes over.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Artifact, Cache, Recipe, remove_tree};
use crate::progress::Step;

/// The image in the artifact.
pub const IMAGE: &str = "root.ext4";

/// Sparse: it takes what is in it.
const SIZE: &str = "8G";
const SUITE: &str = "trixie";
const PACKAGES: &[&str] = &[
    // A host as NixOS would make it: systemd, its networkd, D-Bus and who may ask it for what.
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "libnss-systemd",
    "udev",
    "dbus",
    "polkitd",
    // What the components drive.
    "iproute2",
    "nftables",
    "conntrack",
    "qemu-system-x86",
    "qemu-utils",
    // How operators reach a host, and what a boot server is made of.
    "openssh-server",
    "dnsmasq-base",
    "ipxe",
    // What tests look with.
    "arping",
    "busybox-static",
    "curl",
    "ethtool",
    "iputils-ping",
    "jq",
    "kmod",
    "openssl",
    "procps",
    "python3-minimal",
    "socat",
    "sqlite3",
    "strace",
    "tcpdump",
];

/// Units that a test bed does not want: they cost boot time, or act while a test looks.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty@tty1.service",
    "proc-sys-fs-binfmt_misc.automount",
    "serial-getty@ttyS0.service",
    // Started by the tests that want it.
    "ssh.service",
    "ssh.socket",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "ldconfig.service",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase.service",
    "systemd-timesyncd.service",
    "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
];

/// Path, content, mode.
const FILES: &[(&str, &str, u32)] = &[
    (
        "usr/lib/rack/setup",
        include_str!("../../assets/host/rack-setup.sh"),
        0o755,
    ),
    (
        "etc/systemd/system/rack-setup.service",
        include_str!("../../assets/host/rack-setup.service"),
        0o644,
    ),
    (
        "etc/systemd/system/rack-agent.service",
        include_str!("../../assets/host/rack-agent.service"),
        0o644,
    ),
    // The journal is read through the rack while a host runs; on disk it only costs writes.
    (
        "etc/systemd/journald.conf.d/rack.conf",
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
        0o644,
    ),
    (
        "etc/systemd/system.conf.d/rack.conf",
        "[Manager]\nDefaultTimeoutStopSec=15s\n",
        0o644,
    ),
    ("etc/fstab", "", 0o644),
    // Empty, not absent: systemd then does not take every boot for the first. The rack gives each
    // host its own id on the kernel command line.
    ("etc/machine-id", "", 0o444),
    ("etc/hostname", "host\n", 0o644),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644),
];

const ENABLED: &[(&str, &str)] = &[
    (
        "etc/systemd/system/sysinit.target.wants/rack-setup.service",
        "/etc/systemd/system/rack-setup.service",
    ),
    (
        "etc/systemd/system/sysinit.target.wants/rack-agent.service",
        "/etc/systemd/system/rack-agent.service",
    ),
    (
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/usr/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "etc/systemd/system/dbus-org.freedesktop.network1.service",
        "/usr/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "etc/systemd/system/sockets.target.wants/systemd-networkd.socket",
        "/usr/lib/systemd/system/systemd-networkd.socket",
    ),
    (
        "etc/systemd/system/default.target",
        "/usr/lib/systemd/system/multi-user.target",
    ),
];

pub fn ensure(cache: &Cache) -> Result<Artifact> {
    let mut recipe = Recipe::new(1).part(SUITE).part(SIZE);
    for part in PACKAGES.iter().chain(MASKED) {
        recipe = recipe.part(part);
    }
    for (path, content, mode) in FILES {
        recipe = recipe.part(path).part(content).part(mode.to_be_bytes());
    }
    for (link, target) in ENABLED {
        recipe = recipe.part(link).part(target);
    }
    cache.artifact("host-image", recipe, build)
}

fn build(dir: &Path) -> Result<()> {
    let step = Step::named("hosts' image", "building the hosts' image (once)");
    let log = dir.join("build.log");
    let root = dir.join("root");
    super::mmdebstrap(&step, "minbase", SUITE, &PACKAGES.join(","), &root, &log)?;
    make_a_host(&root)?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-L", "host", "-E", "lazy_itable_init=1"])
        .arg("-d")
        .args([&root, &dir.join(IMAGE)])
        .arg(SIZE);
    step.run(&mut mkfs, &log)?;
    remove_tree(&root)?;
    step.end();
    Ok(())
}

fn make_a_host(root: &Path) -> Result<()> {
    for (path, content, mode) in FILES {
        let path = root.join(path);
        replace(&path)?;
        std::fs::write(&path, content)
            .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(*mode)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let units = Path::new("etc/systemd/system");
    let masked = MASKED.iter().map(|unit| (units.join(unit), "/dev/null"));
    let enabled = ENABLED.iter().map(|(link, to)| (link.into(), *to));
    for (link, target) in masked.chain(enabled) {
        let link = root.join(link);
        replace(&link)?;
        symlink(target, &link).with_context(|| format!("cannot link {}", link.display()))?;
    }
    for bulk in ["var/lib/apt/lists", "var/cache/apt"] {
        remove_tree(&root.join(bulk))?;
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a path in the image has a parent")?;
    Ok(std::fs::create_dir_all(parent)?)
}

/// Makes room for a file: its directory is there, and what a package put in its place is not; a symbolic
/// link above all, which a write would follow out of the image.
pub(super) fn replace(path: &Path) -> Result<()> {
    make_parent(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
