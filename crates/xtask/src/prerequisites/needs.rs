//! What is needed, and who packs it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::rack::firmware;

/// Something that must be on this machine.
#[derive(Debug)]
pub struct Need {
    /// What messages call it.
    pub name: &'static str,
    look: Look,
    /// The Debian package that has it.
    pub debian: &'static str,
    /// The attribute of nixpkgs that has it, or of this flake.
    pub nix: &'static str,
}

/// How to see whether it is there.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// A program of the need's name.
    Program,
    /// A C header that the compiler finds, wherever it lies.
    Header(&'static str),
    /// Something that a function finds where some distribution has it.
    Found(fn() -> bool),
}

const fn program(name: &'static str, debian: &'static str, nix: &'static str) -> Need {
    Need {
        name,
        look: Look::Program,
        debian,
        nix,
    }
}

/// What any rack needs: its images and its kernel are made here.
pub const RACK: &[Need] = &[
    program("mmdebstrap", "mmdebstrap", "mmdebstrap"),
    program("make", "make", "gnumake"),
    program("gcc", "gcc", "gcc"),
    program("ld", "binutils", "binutils"),
    program("strip", "binutils", "binutils"),
    program("flex", "flex", "flex"),
    program("bison", "bison", "bison"),
    program("bc", "bc", "bc"),
    program("perl", "perl", "perl"),
    program("tar", "tar", "gnutar"),
    program("xz", "xz-utils", "xz"),
    program("zstd", "zstd", "zstd"),
    program("mkfs.ext4", "e2fsprogs", "e2fsprogs"),
    program("ip", "iproute2", "iproute2"),
    program("nsenter", "util-linux", "util-linux"),
    program("unshare", "util-linux", "util-linux"),
    program("setpriv", "util-linux", "util-linux"),
    Need {
        name: "C headers",
        look: Look::Header("stdio.h"),
        debian: "libc6-dev",
        nix: "gcc",
    },
];

/// What tests run on this machine itself besides: QEMU with its tools, the real nft, the generic
/// client and what its answers are read with, the operator's way to hosts, the firmware of bare machines, what
/// Nix runs over scripts, and the solver that policies are proven with.
pub const TESTS: &[Need] = &[
    program("qemu-system-x86_64", "qemu-system-x86", "qemu"),
    program("qemu-img", "qemu-utils", "qemu"),
    program("nft", "nftables", "nftables"),
    program("jq", "jq", "jq"),
    program("ssh", "openssh-client", "openssh"),
    program("ssh-keygen", "openssh-client", "openssh"),
    program("objcopy", "binutils", "binutils"),
    program("shellcheck", "shellcheck", "shellcheck"),
    program("mypy", "mypy", "mypy"),
    program("cvc5", "cvc5", "cvc5"),
    Need {
        name: "pyflakes",
        look: Look::Found(pyflakes_is_here),
        debian: "pyflakes3",
        nix: "python3Packages.pyflakes",
    },
    program("pip3", "python3-pip", "python3Packages.pip"),
    Need {
        name: "iPXE for QEMU's network card",
        look: Look::Found(firmware::has_network_rom),
        debian: "ipxe-qemu",
        nix: "qemu",
    },
    Need {
        name: "UEFI for QEMU",
        look: Look::Found(firmware::has_uefi),
        debian: "ovmf",
        nix: "qemu",
    },
];

/// What the benchmark runs on this machine itself besides.
pub const BENCH: &[Need] = &[program("systemd-nspawn", "systemd-container", "systemd")];

/// Those of the needs that are not met.
pub fn missing(wanted: &[&'static [Need]]) -> Vec<&'static Need> {
    let wanted = wanted.iter().copied().flatten();
    wanted.filter(|need| !is_met(need)).collect()
}

fn is_met(need: &Need) -> bool {
    match need.look {
        Look::Program => program_is_here(need.name),
        Look::Header(header) => compiler_finds(header),
        Look::Found(found) => found(),
    }
}

/// Whether a program is on the PATH.
pub fn program_is_here(name: &str) -> bool {
    // sbin is not on the PATH of everyone who may become root by sudo.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|directory| directory.join(name).is_file())
}

/// Debian's name of it, or everybody else's.
fn pyflakes_is_here() -> bool {
    program_is_here("pyflakes3") || program_is_here("pyflakes")
}

fn compiler_finds(header: &str) -> bool {
    // The machine's own place needs no compiler, which may be missing as well.
    if Path::new("/usr/include").join(header).is_file() {
        return true;
    }
    let mut compiler = Command::new("gcc");
    compiler.args(["-include", header, "-E", "-x", "c", "/dev/null"]);
    let silent = compiler.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photoncloud::tree;

    #[test]
    fn the_development_shell_has_all_of_it() {
        let flake = std::fs::read_to_string(tree().join("flake.nix")).unwrap();
        let (_, shell) = flake.split_once("devShells =").unwrap();
        let (shell, _) = shell.split_once("formatter =").unwrap();
        for need in [RACK, TESTS, BENCH].into_iter().flatten() {
            let attribute = format!(".{}", need.nix);
            let mut lines = shell.lines().map(|line| line.trim_end_matches(';'));
            assert!(
                lines.any(|line| line.ends_with(&attribute)),
                "{} ({})",
                need.nix,
                need.name
            );
        }
    }

    #[test]
    fn what_is_there_is_not_missing() {
        const HERE: &[Need] = &[
            program("sh", "dash", "bash"),
            program("no-such-program", "nobody", "nobody"),
            Need {
                name: "found",
                look: Look::Found(|| true),
                debian: "nobody",
                nix: "nobody",
            },
            Need {
                name: "no header",
                look: Look::Header("no/such/header.h"),
                debian: "nobody",
                nix: "nobody",
            },
        ];
        let names: Vec<&str> = missing(&[HERE]).iter().map(|need| need.name).collect();
        assert_eq!(names, ["no-such-program", "no header"]);
    }
}
