//! A guest as tenants bring it: a disk with a boot loader, Debian, and cloud-init, as a qcow2 image. It is made for
//! an emulated processor: what a test does not ask of it does not start.

use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use super::find;
use crate::cache::{Artifact, Cache, Recipe, remove_tree};
use crate::progress::Step;

/// The image in the artifact.
pub const IMAGE: &str = "disk.qcow2";

const SUITE: &str = "trixie";
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,iproute2,cloud-init,openssh-server,\
                        linux-image-cloud-amd64,busybox-static,grub-pc-bin,grub-common";
const CLOUD: &str = include_str!("../../assets/cloud-guest/cloud.cfg");
const GRUB: &str = include_str!("../../assets/cloud-guest/grub.cfg");
const INIT: &str = include_str!("../../assets/cloud-guest/init.sh");

/// Sparse: it takes what is in it.
const DISK_BYTES: u64 = 1 << 30;
const SECTOR: u64 = 512;
/// Where the one partition begins, in sectors: the boot loader lies before it.
const PARTITION: u64 = 2048;

/// Modules that are kept: the disk's, the network card's, the seed's, and the power button's.
const MODULES: &[&str] = &[
    "autofs4",
    "button",
    "evdev",
    "failover",
    "fat",
    "net_failover",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_utf8",
    "vfat",
    "virtio-rng",
    "virtio_blk",
    "virtio_net",
];

/// Units that cost time where the processor is emulated.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "cloud-init-hotplugd.socket",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty@tty1.service",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "serial-getty@ttyS0.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase.service",
    "systemd-random-seed.service",
    "systemd-timesyncd.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
];

const ENABLED: &[(&str, &str)] = &[
    (
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
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

/// What is not looked at any more once the image is made.
const BULK: &[&str] = &[
    "usr/lib/grub",
    "usr/share/grub",
    "usr/lib/udev/hwdb.bin",
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/cache/debconf",
];

pub fn ensure(cache: &Cache) -> Result<Artifact> {
    let mut recipe = Recipe::new(1)
        .part(SUITE)
        .part(PACKAGES)
        .part(CLOUD)
        .part(GRUB)
        .part(INIT);
    for part in MODULES.iter().chain(MASKED).chain(BULK) {
        recipe = recipe.part(part);
    }
    cache.artifact("cloud-guest-image", recipe, build)
}

fn build(dir: &Path) -> Result<()> {
    let step = Step::named(
        "guest with cloud-init",
        "building the guest with cloud-init (once)",
    );
    let log = dir.join("build.log");
    let root = dir.join("root");
    super::mmdebstrap(&step, "minbase", SUITE, PACKAGES, &root, &log)?;
    let loader = loader(&step, &root, &log)?;
    kernel(&step, &root, &log)?;
    configure(&root)?;

    let disk = dir.join("disk.raw");
    std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    let kib = (DISK_BYTES - PARTITION * SECTOR) / 1024;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-L", "guest"])
        // What GRUB reads.
        .args(["-O", "^metadata_csum,^64bit,^orphan_file"])
        .arg("-E")
        .arg(format!("lazy_itable_init=1,offset={}", PARTITION * SECTOR))
        .arg("-d")
        .args([&root, &disk])
        .arg(format!("{kib}k"));
    step.run(&mut mkfs, &log)?;
    let mut file = std::fs::File::options().write(true).open(&disk)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&loader)?;
    drop(file);
    let mut convert = Command::new("qemu-img");
    convert
        .args(["convert", "-c", "-O", "qcow2"])
        .args(["-o", "compression_type=zstd"])
        .args([&disk, &dir.join(IMAGE)]);
    step.run(&mut convert, &log)?;
    std::fs::remove_file(&disk)?;
    remove_tree(&root)?;
    step.end();
    Ok(())
}

/// The disk's first sectors: GRUB's boot sector with the partition table, and right behind it GRUB itself, where
/// its boot sector looks for it unless it is told otherwise.
fn loader(step: &Step, root: &Path, log: &Path) -> Result<Vec<u8>> {
    std::fs::write(root.join("boot/grub.cfg"), GRUB)?;
    let mut make = Command::new("chroot");
    make.arg(root)
        .args(["grub-mkimage", "-O", "i386-pc", "-o", "/boot/core.img"])
        .args(["-c", "/boot/grub.cfg", "-p", "/boot/grub"])
        .args(["biosdisk", "part_msdos", "ext2", "linux"]);
    step.run(&mut make, log)?;
    let boot = std::fs::read(root.join("usr/lib/grub/i386-pc/boot.img"))?;
    let core = std::fs::read(root.join("boot/core.img"))?;
    std::fs::remove_file(root.join("boot/core.img"))?;
    first_sectors(&boot, &core)
}

/// The partition table is that of a PC's master boot record: four entries of 16 bytes from byte 446 on, then the
/// signature 0x55 0xaa.
fn first_sectors(boot: &[u8], core: &[u8]) -> Result<Vec<u8>> {
    const CODE: usize = 440;
    let code = boot
        .get(..CODE)
        .context("GRUB's boot sector is shorter than a boot sector")?;
    let end = SECTOR * PARTITION;
    ensure!(
        SECTOR + core.len() as u64 <= end,
        "GRUB has {} bytes and does not fit before the partition",
        core.len()
    );
    let mut sectors = code.to_vec();
    sectors.resize(446, 0);
    // Active; Linux; begin and end by cylinder, head and sector as for what lies beyond their reach.
    sectors.extend([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    let length = DISK_BYTES / SECTOR - PARTITION;
    for number in [PARTITION, length] {
        let number = u32::try_from(number).context("the partition is beyond 2 TiB")?;
        sectors.extend(number.to_le_bytes());
    }
    sectors.resize(510, 0);
    sectors.extend([0x55, 0xaa]);
    sectors.extend(core);
    Ok(sectors)
}

/// Kernel and initramfs under the names that GRUB's configuration has, and of the modules those that are needed.
fn kernel(step: &Step, root: &Path, log: &Path) -> Result<()> {
    let boot = root.join("boot");
    let kernel = find(&boot, |name| name.starts_with("vmlinuz-"))?
        .context("the package of the cloud kernel has no boot/vmlinuz-*")?;
    std::fs::rename(&kernel, boot.join("vmlinuz"))?;
    for entry in std::fs::read_dir(&boot)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if ["initrd.img-", "System.map-", "config-"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    let modules = root.join("usr/lib/modules");
    let release = std::fs::read_dir(&modules)?
        .next()
        .context("the package of the cloud kernel has no modules")??
        .file_name();
    let block = find(&modules, |name| name == "virtio_blk.ko.xz")?
        .context("the cloud kernel has no module virtio_blk.ko.xz")?;
    step.run(Command::new("xz").args(["-d", "-k", "-f"]).arg(&block), log)?;
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "root"] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file(
        "bin/busybox",
        0o755,
        &std::fs::read(root.join("usr/bin/busybox"))?,
    );
    archive.file("init", 0o755, INIT.as_bytes());
    let unpacked = block.with_extension("");
    archive.file("virtio_blk.ko", 0o644, &std::fs::read(&unpacked)?);
    std::fs::remove_file(&unpacked)?;
    std::fs::write(boot.join("initrd"), archive.finish())?;

    prune(&modules)?;
    let mut depmod = Command::new("chroot");
    depmod.arg(root).arg("depmod").arg(release);
    step.run(&mut depmod, log)
}

/// Removes the modules that nobody asks for.
fn prune(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            prune(&entry.path())?;
            continue;
        }
        let name = entry.file_name();
        let module = name.to_str().and_then(|name| name.strip_suffix(".ko.xz"));
        if module.is_some_and(|name| !MODULES.contains(&name)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn configure(root: &Path) -> Result<()> {
    for (path, content) in [
        ("etc/cloud/cloud.cfg", CLOUD),
        ("etc/fstab", "/dev/vda1 / ext4 rw,noatime 0 1\n"),
        // Empty, not absent: systemd then does not take every boot for the first.
        ("etc/machine-id", ""),
        ("etc/hostname", "unnamed\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
    ] {
        let path = root.join(path);
        std::fs::write(&path, content)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let units = Path::new("etc/systemd/system");
    let masked = MASKED.iter().map(|unit| (units.join(unit), "/dev/null"));
    let enabled = ENABLED.iter().map(|(link, to)| (link.into(), *to));
    for (link, target) in masked.chain(enabled) {
        let link = root.join(link);
        std::fs::create_dir_all(link.parent().context("a path in the image has a parent")?)?;
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        symlink(target, &link).with_context(|| format!("cannot link {}", link.display()))?;
    }
    for bulk in BULK {
        let path = root.join(bulk);
        if path.is_file() {
            std::fs::remove_file(&path)?;
        } else {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_stands_where_the_bios_and_its_boot_sector_look() {
        let sectors = first_sectors(&[7; 512], b"core").unwrap();
        assert_eq!(sectors[..440], [7; 440]);
        assert_eq!(sectors[446], 0x80);
        assert_eq!(sectors[454..458], 2048_u32.to_le_bytes());
        assert_eq!(sectors[510..512], [0x55, 0xaa]);
        assert_eq!(&sectors[512..], b"core");
    }

    #[test]
    fn a_loader_that_would_reach_into_the_partition_is_refused() {
        let error = first_sectors(&[0; 512], &vec![0; 1 << 20]).unwrap_err();
        assert!(error.to_string().contains("does not fit"), "{error}");
    }
}
