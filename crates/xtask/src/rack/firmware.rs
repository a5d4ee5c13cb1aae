//! The firmware that QEMU's packages bring, wherever a distribution puts it.

use std::path::{Path, PathBuf};

/// What QEMU's virtual network card boots the network with; QEMU finds it by itself in the same places.
const NETWORK_ROM: &str = "efi-virtio.rom";

/// UEFI for q35: its code, and the variables of a new machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uefi {
    pub code: PathBuf,
    pub variables: PathBuf,
}

/// Whether a machine with the usual firmware can boot over the network.
pub fn has_network_rom() -> bool {
    // Debian 13; Debian 12 (ipxe-qemu).
    let debian = ["/usr/share/qemu", "/usr/lib/ipxe/qemu"].map(PathBuf::from);
    let mut places = debian.into_iter().chain(beside_qemu());
    places.any(|place| place.join(NETWORK_ROM).is_file())
}

pub fn has_uefi() -> bool {
    uefi().is_some()
}

/// Debian's (package `ovmf`), else QEMU's own.
pub fn uefi() -> Option<Uefi> {
    let debian = Path::new("/usr/share/OVMF");
    let own = beside_qemu();
    let own = own.map(|place| (place, "edk2-x86_64-code.fd", "edk2-i386-vars.fd"));
    let mut found = [(debian.to_owned(), "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")]
        .into_iter()
        .chain(own)
        .map(|(place, code, variables)| Uefi {
            code: place.join(code),
            variables: place.join(variables),
        });
    found.find(|uefi| uefi.code.is_file() && uefi.variables.is_file())
}

/// `share/qemu` of the QEMU on the PATH, as Nix has it: not in `/usr`.
fn beside_qemu() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut programs = std::env::split_paths(&path).map(|place| place.join("qemu-system-x86_64"));
    let program = programs.find(|program| program.is_file())?;
    // A profile has links to the programs, and the package has the files.
    let program = program.canonicalize().ok()?;
    Some(program.parent()?.parent()?.join("share/qemu"))
}
