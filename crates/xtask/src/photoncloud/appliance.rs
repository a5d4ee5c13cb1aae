//! An example host of the flake (`tests/golden`) on hosts that are no NixOS: the very files that evaluation
//! gives it, the units of this tree, the programs of this tree.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::programs::Programs;
use super::rendered::{Rendered, UNITS};
use super::{BINDIR, GROUPS, KERNEL_SETTINGS};
use crate::rack::Host;

/// Programs of a compute host.
const COMPUTE: &[&str] = &[
    "photon-enrol",
    "prismnet-agent",
    "plasmavmc-agent",
    "flashdns-agent",
    "plasmavmc-metadata",
];

/// Lays the host's files out below `root`: its settings and units, and which of these run.
///
/// # Errors
/// When there is no such example host, or a file cannot be written.
pub fn lay_out(root: &Path, name: &str) -> Result<()> {
    let rendered = Rendered::host(name)?;
    rendered.place(root)?;
    let units = root.join(UNITS);
    std::fs::create_dir_all(&units)?;
    for (unit, text) in super::units()? {
        std::fs::write(units.join(unit), text)?;
    }
    for (target, unit) in &rendered.wants {
        let wants = units.join(format!("{target}.wants"));
        std::fs::create_dir_all(&wants)?;
        symlink(Path::new("..").join(unit), wants.join(unit))
            .with_context(|| format!("cannot enable {unit}"))?;
    }
    let settings = root.join(KERNEL_SETTINGS);
    std::fs::create_dir_all(settings.parent().context("a file lies in a directory")?)?;
    std::fs::write(settings, super::kernel_settings())?;
    std::fs::write(root.join("etc/hostname"), format!("{name}\n"))?;
    Ok(())
}

/// Makes a host of the rack the example host `name`; what it shall run is not started yet. Its underlay becomes
/// `enp1s0`, as a machine with a real card would name it, with the address that its flake gives it.
///
/// # Errors
/// When it cannot be laid out, or a command on the host fails.
pub async fn install(host: &Host, programs: &Programs, name: &str) -> Result<()> {
    let share = host.share();
    programs.place(&share.join("bin"))?;
    lay_out(&share.join("root"), name)?;
    host.check(&format!(
        "set -e\n\
         mkdir -p /usr/lib/photoncloud\n\
         ln -sfn /run/rack/share/bin {BINDIR}\n\
         ln -sf {BINDIR}/photon /usr/local/bin/photon\n\
         cp -a --no-preserve=ownership /run/rack/share/root/etc/. /etc/\n\
         /usr/lib/systemd/systemd-sysctl /{KERNEL_SETTINGS}\n\
         {GROUPS}\n\
         hostname {name}\n\
         ip link set vec0 down\n\
         ip link set vec0 name enp1s0\n\
         rm /run/systemd/network/01-rack-underlay.network\n\
         systemctl daemon-reload\n\
         networkctl reload\n\
         ip link set enp1s0 up"
    ))
    .await?;
    Ok(())
}

/// The closure's stand-in for a compute host: what comes over a Debian system, as a packed archive.
///
/// # Errors
/// When it cannot be laid out or packed.
pub fn pack(
    to: &Path,
    programs: &Programs,
    name: &str,
    authorized_key: &str,
    scratch: &Path,
) -> Result<()> {
    let root = scratch.join(name);
    lay_out(&root, name)?;
    programs.place_some(&root.join(BINDIR.trim_start_matches('/')), COMPUTE)?;
    // QEMU is three times as large as all the rest, and no virtual machine is started on such a host: its agent
    // only looks whether it is there.
    let bin = root.join("usr/bin");
    std::fs::create_dir_all(&bin)?;
    for program in ["qemu-system-x86_64", "qemu-img"] {
        let path = bin.join(program);
        std::fs::write(
            &path,
            "#!/bin/sh\necho 'no QEMU in a stand-in' >&2\nexit 1\n",
        )?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    let ssh = root.join("root/.ssh");
    std::fs::create_dir_all(&ssh)?;
    std::fs::write(ssh.join("authorized_keys"), authorized_key)?;
    std::fs::set_permissions(root.join("root"), Permissions::from_mode(0o700))?;
    let output = Command::new("tar")
        .args(["--zstd", "--owner=0", "--group=0", "-cf"])
        .arg(to)
        .arg("-C")
        .args([&root, Path::new(".")])
        .output()
        .context("cannot start tar")?;
    if !output.status.success() {
        bail!(
            "cannot pack {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
