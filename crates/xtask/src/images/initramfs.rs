//! The initramfs that guests and bare machines boot: busybox, the first process, and modules of Debian's cloud kernel.
//! Not compressed: unpacking under an emulated processor would cost more than reading does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::find;
use crate::progress::Step;

/// What busybox's DHCP client runs.
pub const DHCP: &str = include_str!("../../assets/guest/dhcp.sh");

/// Puts it into `archive`, from unpacked packages: `init` is the first process, which loads `modules` as listed in
/// `modules/order`.
pub fn put(
    archive: &mut Archive,
    init: &str,
    modules: &[&str],
    packages: &Path,
    step: &Step,
    log: &Path,
) -> Result<()> {
    let busybox = std::fs::read(packages.join("usr/bin/busybox"))
        .context("the package busybox-static has no usr/bin/busybox")?;
    for directory in ["bin", "dev", "modules", "etc"] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &busybox);
    archive.link("bin/sh", "busybox");
    archive.file("init", 0o755, init.as_bytes());
    archive.file("etc/dhcp", 0o755, DHCP.as_bytes());
    let tree = packages.join("usr/lib/modules");
    let mut order = String::new();
    for module in modules {
        let packed = find(&tree, |name| name == format!("{module}.ko.xz"))?
            .with_context(|| format!("the cloud kernel has no module {module}.ko.xz"))?;
        step.run(
            Command::new("xz").args(["-d", "-k", "-f"]).arg(&packed),
            log,
        )?;
        let name = format!("{module}.ko");
        archive.file(
            &format!("modules/{name}"),
            0o644,
            &std::fs::read(packed.with_extension(""))?,
        );
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    Ok(())
}
