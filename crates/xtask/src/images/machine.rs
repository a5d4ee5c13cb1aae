//! What a bare machine of the rack boots: a netboot image, and the Debian system that takes the place of
//! a NixOS closure on its disk. Neither holds a program of this tree, a key or a name: what a cluster puts
//! into them is laid over at run time (see [`overlay`]).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::{find, initramfs};
use crate::cache::{Artifact, Cache, Recipe, remove_tree};
use crate::progress::Step;

/// In the artifact: the kernel; the initramfs that is netbooted; the packed system, which has the same
/// kernel and a small initramfs in its `/boot`.
pub const KERNEL: &str = "vmlinuz";
pub const INITRD: &str = "initrd";
pub const SYSTEM: &str = "system.tar.zst";

const SUITE: &str = "trixie";
const INIT: &str = include_str!("../../assets/netboot/init.sh");

/// Unpacked, not installed: files of these go into the initramfs.
const PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    "busybox-static",
    "dropbear-bin",
    "fdisk",
    "e2fsprogs",
    "extlinux",
    "libgcc-s1",
    "zstd",
];

/// What the netboot image has besides busybox: a way in, and what an installer needs of a machine.
const PROGRAMS: &[&str] = &[
    "usr/sbin/dropbear",
    "usr/bin/dropbearkey",
    "usr/sbin/sfdisk",
    "usr/sbin/mkfs.ext4",
    "usr/bin/extlinux",
    "usr/bin/zstd",
];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
/// The boot sector for a GPT, which starts the partition that is marked as bootable.
const BOOT_SECTOR: &str = "usr/lib/EXTLINUX/gptmbr.bin";

/// Modules of the cloud kernel that are not built in, each after those it needs.
const MODULES: &[&str] = &["failover", "net_failover", "virtio_net", "virtio_blk"];

const SYSTEM_PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "iproute2",
    "kmod",
    "nftables",
    "conntrack",
    "busybox-static",
    "dropbear-bin",
];

/// A machine under an emulated processor gets this over the network: what it never reads, stays out.
const BULK: &[&str] = &[
    "var/lib/apt",
    "var/lib/dpkg",
    "var/cache",
    "usr/lib/apt",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/lib/udev/hwdb.d",
    "usr/share/bash-completion",
    "usr/share/common-licenses",
    "usr/share/i18n",
    "usr/share/perl5",
    "usr/share/zoneinfo",
    "usr/share/zsh",
];

/// Kernel modules that agents' work may ask for, by directory of the kernel's tree.
const MODULE_TREES: &[&str] = &[
    "kernel/net",
    "kernel/drivers/net",
    "kernel/drivers/block",
    "kernel/fs/autofs",
    "kernel/lib",
];

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
    "ldconfig.service",
    "proc-sys-fs-binfmt_misc.automount",
    "serial-getty@ttyS0.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase.service",
    "systemd-timesyncd.service",
    "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service",
    "systemd-update-done.service",
];

/// Path, content.
const FILES: &[(&str, &str)] = &[
    (
        "boot/extlinux/extlinux.conf",
        "default system\nprompt 0\nlabel system\n  kernel /boot/vmlinuz\n  initrd /boot/initrd\n  \
         append root=/dev/vda1 console=ttyS0 quiet panic=-1 net.ifnames=0 systemd.show_status=error\n",
    ),
    ("etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    // systemd makes one at the first boot: every machine is another.
    ("etc/machine-id", "uninitialized\n"),
    (
        "etc/systemd/system/dropbear.service",
        "[Service]\nExecStartPre=/bin/mkdir -p /etc/dropbear\n\
         ExecStart=/usr/sbin/dropbear -F -R -s -j -k\n\n[Install]\nWantedBy=multi-user.target\n",
    ),
    // At a first boot systemd would enable all that can be; what runs is for the host's own files to say.
    ("etc/systemd/system-preset/00-rack.preset", "disable *\n"),
    (
        "etc/systemd/system.conf.d/rack.conf",
        "[Manager]\nDefaultTimeoutStopSec=15s\n",
    ),
    (
        "etc/systemd/journald.conf.d/rack.conf",
        "[Journal]\nStorage=volatile\n",
    ),
];

const ENABLED: &[(&str, &str)] = &[
    (
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/usr/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "etc/systemd/system/dbus-org.freedesktop.network1.service",
        "/usr/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "etc/systemd/system/multi-user.target.wants/dropbear.service",
        "/etc/systemd/system/dropbear.service",
    ),
    (
        "etc/systemd/system/default.target",
        "/usr/lib/systemd/system/multi-user.target",
    ),
];

pub fn ensure(cache: &Cache) -> Result<Artifact> {
    let mut recipe = Recipe::new(1).part(SUITE).part(INIT).part(initramfs::DHCP);
    let lists = [
        PACKAGES,
        PROGRAMS,
        MODULES,
        SYSTEM_PACKAGES,
        BULK,
        MODULE_TREES,
        MASKED,
    ];
    for part in lists.into_iter().flatten() {
        recipe = recipe.part(part);
    }
    for (name, content) in FILES.iter().chain(ENABLED) {
        recipe = recipe.part(name).part(content);
    }
    cache.artifact("machine-image", recipe, build)
}

fn build(dir: &Path) -> Result<()> {
    let step = Step::named("netboot", "building what bare machines boot (once)");
    let log = dir.join("build.log");
    let packages = dir.join("packages");
    super::mmdebstrap(
        &step,
        "extract",
        SUITE,
        &PACKAGES.join(","),
        &packages,
        &log,
    )?;
    let kernel = find(&packages.join("boot"), |name| name.starts_with("vmlinuz-"))?
        .context("the package of the cloud kernel has no boot/vmlinuz-*")?;
    std::fs::copy(&kernel, dir.join(KERNEL))?;

    let mut small = Archive::default();
    put_init(&mut small, &step, &packages, &log)?;
    let mut large = Archive::default();
    put_init(&mut large, &step, &packages, &log)?;
    put_programs(&mut large, &packages)?;
    std::fs::write(dir.join(INITRD), large.finish())?;

    let root = dir.join("root");
    super::mmdebstrap(
        &step,
        "minbase",
        SUITE,
        &SYSTEM_PACKAGES.join(","),
        &root,
        &log,
    )?;
    make_a_system(&root)?;
    std::fs::copy(&kernel, root.join("boot/vmlinuz"))?;
    std::fs::write(root.join("boot/initrd"), small.finish())?;
    put_modules(&step, &packages, &root, &log)?;
    step.run(
        Command::new("tar")
            .args(["--numeric-owner", "--zstd", "-cf"])
            .arg(dir.join(SYSTEM))
            .arg("-C")
            .args([&root, Path::new(".")]),
        &log,
    )?;
    remove_tree(&root)?;
    remove_tree(&packages)?;
    step.end();
    Ok(())
}

fn put_init(archive: &mut Archive, step: &Step, packages: &Path, log: &Path) -> Result<()> {
    initramfs::put(archive, INIT, MODULES, packages, step, log)?;
    archive.file("etc/passwd", 0o644, b"root::0:0::/root:/bin/sh\n");
    Ok(())
}

fn put_programs(archive: &mut Archive, packages: &Path) -> Result<()> {
    for directory in ["usr", "usr/bin", "usr/sbin", "usr/lib", LIBRARIES, "lib64"] {
        archive.directory(directory);
    }
    archive.directory("usr/lib/EXTLINUX");
    archive.file(
        BOOT_SECTOR,
        0o644,
        &std::fs::read(packages.join(BOOT_SECTOR))?,
    );
    archive.file(
        LOADER,
        0o755,
        &std::fs::read(packages.join("usr").join(LOADER))?,
    );
    // Those of the programs, and those that a program of this tree wants besides.
    let mut libraries = vec![
        "libc.so.6".into(),
        "libm.so.6".into(),
        "libgcc_s.so.1".into(),
    ];
    for program in PROGRAMS {
        let content = std::fs::read(packages.join(program))
            .with_context(|| format!("the netboot image's packages have no {program}"))?;
        archive.file(program, 0o755, &content);
        libraries.extend(needed(packages, program)?);
    }
    libraries.sort_unstable();
    libraries.dedup();
    for library in libraries {
        let path = Path::new(LIBRARIES).join(&library);
        let content = std::fs::read(packages.join(&path))
            .with_context(|| format!("the netboot image's packages have no {library}"))?;
        archive.file(&path.to_string_lossy(), 0o755, &content);
    }
    Ok(())
}

/// The libraries that the loader of `root` finds for a program there.
fn needed(root: &Path, program: &str) -> Result<Vec<String>> {
    let output = Command::new("chroot")
        .arg(root)
        .arg(Path::new("/usr").join(LOADER))
        .args(["--list", &format!("/{program}")])
        .output()
        .context("cannot start chroot")?;
    if !output.status.success() {
        bail!(
            "the libraries of {program} are not complete: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let listed = String::from_utf8(output.stdout)?;
    let names = listed.lines().filter_map(|line| line.split_once(" => "));
    let names = names.map(|(name, _)| name.trim().to_owned());
    // The loader names itself by its path.
    Ok(names.filter(|name| !name.starts_with('/')).collect())
}

fn make_a_system(root: &Path) -> Result<()> {
    for bulk in BULK {
        remove_tree(&root.join(bulk))?;
    }
    for (path, content) in FILES {
        super::host::replace(&root.join(path))?;
        std::fs::write(root.join(path), content)
            .with_context(|| format!("cannot write {path} of the machines' system"))?;
    }
    let units = Path::new("etc/systemd/system");
    let masked = MASKED.iter().map(|unit| (units.join(unit), "/dev/null"));
    let enabled = ENABLED.iter().map(|(link, to)| (PathBuf::from(link), *to));
    for (link, target) in masked.chain(enabled) {
        let link = root.join(link);
        super::host::replace(&link)?;
        std::os::unix::fs::symlink(target, &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    std::fs::create_dir_all(root.join("root"))?;
    std::fs::set_permissions(root.join("root"), Permissions::from_mode(0o700))?;
    Ok(())
}

/// The part of the kernel's modules that networks are made of, with their index.
fn put_modules(step: &Step, packages: &Path, root: &Path, log: &Path) -> Result<()> {
    let tree = packages.join("usr/lib/modules");
    let release = std::fs::read_dir(&tree)?
        .next()
        .context("the package of the cloud kernel has no usr/lib/modules")??
        .file_name();
    let (from, to) = (
        tree.join(&release),
        root.join("usr/lib/modules").join(&release),
    );
    for part in MODULE_TREES {
        let parent = to.join(part);
        std::fs::create_dir_all(parent.parent().context("a tree has a parent")?)?;
        step.run(
            Command::new("cp")
                .arg("-a")
                .args([&from.join(part), &parent]),
            log,
        )?;
    }
    for list in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        std::fs::copy(from.join(list), to.join(list))?;
    }
    step.run(
        Command::new("chroot")
            .arg(root)
            .arg("/usr/sbin/depmod")
            .arg(&release),
        log,
    )
}

/// What a cluster's flake would add to the netboot image: an archive that the kernel unpacks after the
/// image's own when it stands behind it in one file.
pub fn overlay(enrol: &Path) -> Result<Vec<u8>> {
    let program =
        std::fs::read(enrol).with_context(|| format!("cannot read {}", enrol.display()))?;
    let mut archive = Archive::default();
    archive.file("usr/bin/photon-enrol", 0o755, &program);
    Ok(archive.finish())
}
