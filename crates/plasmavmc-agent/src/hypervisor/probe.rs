//! Finds out by trying whether KVM works: `/dev/kvm` may exist and yet be so slow or broken that guests hang
//! in it, as it is inside some virtual machines.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use photon_host::{durable, process};

/// How a guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU, translated.
    Tcg,
}

impl Accelerator {
    /// As the API and QEMU name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A boot sector: writes to the debug-exit device, then halts for good.
///
/// ```text
///   mov dx, 0xf4 ; mov al, 0x31 ; out dx, al ; hlt ; jmp $-1
/// ```
const BOOT_CODE: [u8; 9] = [0xba, 0xf4, 0x00, 0xb0, 0x31, 0xee, 0xf4, 0xeb, 0xfd];
/// QEMU's exit status after `out 0xf4, 0x31`: (0x31 << 1) | 1.
const REACHED: &str = "exit status: 99";
/// Longest that the firmware and the boot sector may take; 0.1 s is usual with either accelerator.
const LIMIT: Duration = Duration::from_secs(20);
/// Longest that KVM may take when there is nothing to compare it with.
const LIMIT_ALONE: Duration = Duration::from_secs(3);
/// KVM that is this much slower than TCG, which runs in the same moment on the same host, is not in order.
const SLOWER_AT_MOST: u32 = 4;
/// Below this KVM is in order, however fast TCG was.
const FAST_ENOUGH: Duration = Duration::from_millis(500);

/// The accelerator that works on this host. Tried once after each boot: `cache` (below `/run`) keeps the result.
///
/// A probe that fails for another reason than KVM (a missing QEMU) gives TCG: starting a VM tells then what
/// is wrong.
pub async fn accelerator(qemu: &Path, kvm: &Path, cache: &Path) -> Accelerator {
    match std::fs::read_to_string(cache).as_deref() {
        Ok("kvm") => return Accelerator::Kvm,
        Ok("tcg") => return Accelerator::Tcg,
        _ => {}
    }
    let found = if kvm.exists() {
        try_both(qemu, cache).await
    } else {
        tracing::info!("no {}: guests run under TCG", kvm.display());
        Accelerator::Tcg
    };
    if let Err(error) = durable::write_volatile(cache, found.as_str().as_bytes(), 0o644) {
        tracing::warn!(%error, "the accelerator will be tried again at the next start");
    }
    found
}

async fn try_both(qemu: &Path, cache: &Path) -> Accelerator {
    let sector = cache.with_extension("img");
    let mut image = BOOT_CODE.to_vec();
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    if let Err(error) = durable::write_volatile(&sector, &image, 0o600) {
        tracing::warn!(%error, "KVM can't be tried: guests run under TCG");
        return Accelerator::Tcg;
    }
    let tcg = boot(qemu, Accelerator::Tcg, &sector, LIMIT).await;
    let limit = match tcg {
        Ok(took) => (took * SLOWER_AT_MOST).max(FAST_ENOUGH),
        // TCG can't run where this program may not make code; what remains is an absolute measure.
        Err(_) => LIMIT_ALONE,
    };
    let kvm = boot(qemu, Accelerator::Kvm, &sector, limit).await;
    // A leftover in /run harms nobody.
    let _ = durable::remove(&sector);
    match (kvm, tcg) {
        (Ok(kvm), tcg) => {
            tracing::info!(?kvm, ?tcg, "KVM works");
            Accelerator::Kvm
        }
        (Err(reason), tcg) => {
            tracing::warn!(
                reason,
                ?tcg,
                "KVM is there but does not work: guests run under TCG"
            );
            Accelerator::Tcg
        }
    }
}

async fn boot(
    qemu: &Path,
    accelerator: Accelerator,
    sector: &Path,
    limit: Duration,
) -> Result<Duration, String> {
    let drive = format!("if=ide,format=raw,file={}", sector.display());
    let began = Instant::now();
    let result = process::run(
        &qemu.display().to_string(),
        &[
            "-machine",
            "pc",
            "-accel",
            accelerator.as_str(),
            "-m",
            "16",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-drive",
            &drive,
        ],
        b"",
        limit,
    )
    .await;
    match result {
        Err(photon_host::Error::Failed { status, .. }) if status == REACHED => Ok(began.elapsed()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("the guest ended without having run".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu() -> &'static Path {
        Path::new("qemu-system-x86_64")
    }

    /// With the real QEMU, which `cargo xtask test` installs.
    #[tokio::test]
    async fn tcg_reaches_the_boot_sector() {
        let directory = tempfile::tempdir().unwrap();
        let sector = directory.path().join("sector");
        let mut image = BOOT_CODE.to_vec();
        image.resize(510, 0);
        image.extend([0x55, 0xaa]);
        std::fs::write(&sector, image).unwrap();
        let took = boot(qemu(), Accelerator::Tcg, &sector, LIMIT).await;
        assert!(
            took.is_ok(),
            "QEMU (Debian package qemu-system-x86) can't run a boot sector: {took:?}"
        );
    }

    #[tokio::test]
    async fn a_sector_that_never_ends_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let sector = directory.path().join("sector");
        let mut image = vec![0xf4, 0xeb, 0xfd];
        image.resize(510, 0);
        image.extend([0x55, 0xaa]);
        std::fs::write(&sector, image).unwrap();
        let limit = Duration::from_millis(300);
        let error = boot(qemu(), Accelerator::Tcg, &sector, limit).await;
        assert!(error.unwrap_err().contains("did not end"));
    }

    #[tokio::test]
    async fn without_the_device_it_is_tcg_and_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("accelerator");
        let absent = directory.path().join("kvm");
        let found = accelerator(qemu(), &absent, &cache).await;
        assert_eq!(found, Accelerator::Tcg);
        std::fs::write(&cache, "kvm").unwrap();
        assert_eq!(accelerator(qemu(), &absent, &cache).await, Accelerator::Kvm);
    }
}
