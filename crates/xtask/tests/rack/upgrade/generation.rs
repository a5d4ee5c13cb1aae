//! A NixOS generation's stand-in for the rack's Debian hosts: a closure with unit files that name the programs of a
//! store directory of its own, and the profile that says which closure is the host's.
//!
//! What is real: systemd, the unit files of `modules/units`, the programs, the profile's links, the commands by which
//! hosts are switched. What is not: the closure was not built by Nix and holds nothing of the operating system.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::photoncloud::BINDIR;
use xtask::photoncloud::programs::Programs;
use xtask::rack::Host;

const SWITCH: &str = include_str!("switch-to-configuration");
const NIX_ENV: &str = include_str!("nix-env");

/// A closure, as it lies on this machine before it is copied to its host.
pub struct Closure {
    pub path: PathBuf,
    /// Where its programs are on the host.
    pub programs: String,
}

impl Closure {
    /// A closure for the host, of this version. `change` changes the text of units, by their names.
    pub fn build(
        host: &Host,
        programs: &Programs,
        version: &str,
        change: impl Fn(&str, String) -> String,
    ) -> Self {
        // Programs lie where the host sees them; copying hundreds of megabytes would show nothing more.
        let package = format!("{version}-photoncloud-{version}");
        let bin = host.share().join("store").join(&package).join("bin");
        place(programs, &bin, version);
        let on_host = format!("/run/rack/share/store/{package}/bin");

        let name = format!("{version}-nixos-system-{}-{version}", host.name());
        let path = host.share().join("closures").join(name);
        std::fs::create_dir_all(path.join("bin")).unwrap();
        std::fs::create_dir_all(path.join("units")).unwrap();
        let switch = path.join("bin/switch-to-configuration");
        std::fs::write(&switch, SWITCH).unwrap();
        std::fs::set_permissions(&switch, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(path.join("nixos-version"), version).unwrap();
        for (name, text) in xtask::photoncloud::units().unwrap() {
            let text = change(&name, text.replace(BINDIR, &on_host));
            std::fs::write(path.join("units").join(name), text).unwrap();
        }
        Closure {
            path,
            programs: on_host,
        }
    }

    /// Its path on a host.
    pub fn store_path(&self) -> String {
        format!("/nix/store/{}", self.name())
    }

    pub fn name(&self) -> &str {
        self.path.file_name().unwrap().to_str().unwrap()
    }
}

/// Each version's programs are files of their own: the build is the same, a section that names the version is added.
fn place(programs: &Programs, bin: &Path, version: &str) {
    if bin.exists() {
        return;
    }
    programs.place(bin).unwrap();
    let note = bin.join("version");
    std::fs::write(&note, version).unwrap();
    for entry in std::fs::read_dir(bin).unwrap() {
        let path = entry.unwrap().path();
        if path == note {
            continue;
        }
        let status = Command::new("objcopy")
            .arg(format!("--add-section=.photon.version={}", note.display()))
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success(), "objcopy {}", path.display());
    }
}

/// Makes a host one that has generations; PhotonCloud is installed on it already.
pub async fn prepare(host: &Host) {
    let share = host.share();
    std::fs::write(share.join("nix-env"), NIX_ENV).unwrap();
    host.check(
        "set -e\n\
         mkdir -p /nix/store /nix/var/nix/profiles\n\
         install -m 755 /run/rack/share/nix-env /usr/local/bin/nix-env",
    )
    .await
    .unwrap();
}

/// Brings the host to the closure without SSH, as an operator at its console would; `nix-env --set` makes a generation.
pub async fn switch(host: &Host, closure: &Closure) {
    let (name, store, programs) = (closure.name(), closure.store_path(), &closure.programs);
    host.check(&format!(
        "set -e\n\
         cp -r --no-clobber /run/rack/share/closures/{name} /nix/store/\n\
         cat {programs}/* >/dev/null # What Nix has just copied is in the host's memory.\n\
         nix-env -p /nix/var/nix/profiles/system --set {store}\n\
         [ -e /run/booted-system ] || ln -s {store} /run/booted-system\n\
         systemd-run --collect --pipe --wait --quiet --service-type=exec {store}/bin/switch-to-configuration switch"
    ))
    .await
    .unwrap();
}

/// Which file each program of PhotonCloud runs, and the digest of that very file, by unit.
pub async fn running(host: &Host) -> Vec<(String, String, String)> {
    let text = host
        .check(
            "for unit in iam-server prismnet-server plasmavmc-server prismnet-agent plasmavmc-agent; do \
             pid=$(systemctl show -P MainPID $unit); \
             echo $unit $(readlink /proc/$pid/exe) $(sha256sum </proc/$pid/exe); done",
        )
        .await
        .unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].into(), words[1].into(), words[2].into())
        })
        .collect()
}
