//! The guest that racks boot as a tenant's VM: Debian's cloud kernel and a busybox initramfs that
//! asks for an address, says so on its serial line, and gives a shell there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::cpio::Archive;
use super::{find, initramfs};
use crate::cache::{Artifact, Cache, Recipe, remove_tree};
use crate::progress::Step;

/// In the artifact: the kernel as Debian packs it; unpacked, which boots faster where the processor
/// is emulated; and the initramfs.
pub const KERNEL: &str = "vmlinuz";
pub const KERNEL_UNPACKED: &str = "vmlinux";
pub const INITRD: &str = "initrd";

const SUITE: &str = "trixie";
const PACKAGES: &str = "linux-image-cloud-amd64,busybox-static";
const INIT: &str = include_str!("../../assets/guest/init.sh");

/// Modules of the cloud kernel that are not built in, each after those it needs.
const MODULES: &[&str] = &[
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "cdrom",
    "isofs",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "nls_utf8",
    "fat",
    "vfat",
    "evdev",
    "button",
    "pvpanic",
    "pvpanic-mmio",
];

pub fn ensure(cache: &Cache) -> Result<Artifact> {
    let mut recipe = Recipe::new(1)
        .part(SUITE)
        .part(PACKAGES)
        .part(INIT)
        .part(initramfs::DHCP);
    for module in MODULES {
        recipe = recipe.part(module);
    }
    cache.artifact("guest-image", recipe, build)
}

fn build(dir: &Path) -> Result<()> {
    let step = Step::named("guests' image", "building the guests' image (once)");
    let log = dir.join("build.log");
    let packages = dir.join("packages");
    super::mmdebstrap(&step, "extract", SUITE, PACKAGES, &packages, &log)?;

    let kernel = find(&packages.join("boot"), |name| name.starts_with("vmlinuz-"))?
        .context("the package of the cloud kernel has no boot/vmlinuz-*")?;
    let packed = std::fs::read(&kernel)?;
    std::fs::write(dir.join(KERNEL), &packed)?;
    let payload = dir.join("payload.zst");
    std::fs::write(&payload, payload_of(&packed)?)?;
    let mut zstd = Command::new("zstd");
    zstd.args(["-d", "-q", "-f", "-o"])
        .args([&dir.join(KERNEL_UNPACKED), &payload]);
    step.run(&mut zstd, &log)?;
    std::fs::remove_file(&payload)?;

    std::fs::write(dir.join(INITRD), initrd(&step, &packages, &log)?)?;
    remove_tree(&packages)?;
    step.end();
    Ok(())
}

/// The compressed kernel inside a bzImage, by the offsets of its setup header (the kernel's
/// Documentation/arch/x86/boot.rst: `setup_sects` 0x1f1, `payload_offset` 0x248, `payload_length`).
fn payload_of(image: &[u8]) -> Result<&[u8]> {
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the kernel image is cut")?;
        let bytes: [u8; 4] = bytes.try_into().expect("four bytes were taken");
        Ok(u32::from_le_bytes(bytes) as usize)
    };
    ensure!(
        image.get(0x202..0x206) == Some(b"HdrS"),
        "the cloud kernel is no bzImage"
    );
    let sectors = match image[0x1f1] {
        0 => 4, // an old default that the protocol keeps
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    let payload = image
        .get(start..start + word(0x24c)?)
        .context("the kernel image's payload lies outside of it")?;
    // After the stream stand four bytes with the unpacked size, which are not zstd's.
    let Some((stream, _size)) = payload.split_last_chunk::<4>() else {
        bail!("the kernel image's payload is empty");
    };
    ensure!(
        stream.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        "the cloud kernel is not packed with zstd any more (first bytes {:02x?})",
        &stream[..4.min(stream.len())]
    );
    Ok(stream)
}

fn initrd(step: &Step, packages: &Path, log: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    initramfs::put(&mut archive, INIT, MODULES, packages, step, log)?;
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_found_by_the_setup_header() {
        let mut image = vec![0_u8; 0x800];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&0x10_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&12_u32.to_le_bytes());
        image[0x410..0x418].copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4]);
        assert_eq!(
            payload_of(&image).unwrap(),
            [0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4]
        );
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let error = payload_of(&[0; 0x400]).unwrap_err().to_string();
        assert!(error.contains("no bzImage"), "{error}");
    }
}
