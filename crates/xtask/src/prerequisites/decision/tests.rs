use super::super::needs::{BENCH, RACK, TESTS};
use super::*;

/// Those of all needs that have these names.
fn lacking(names: &[&str]) -> Vec<&'static Need> {
    let all = [RACK, TESTS, BENCH].into_iter().flatten();
    let found: Vec<&Need> = all.filter(|need| names.contains(&need.name)).collect();
    assert_eq!(found.len(), names.len(), "{names:?}");
    found
}

fn debian(version: &str, codename: &str) -> Machine {
    Machine {
        id: "debian".into(),
        version: version.into(),
        codename: codename.into(),
        name: format!("Debian GNU/Linux {version} ({codename})"),
        has_apt: true,
        has_nix: false,
        qemu: Vec::new(),
        releases: vec![codename.into(), format!("{codename}-updates")],
    }
}

fn with_qemu(mut machine: Machine, package: &str, version: &str) -> Machine {
    machine.qemu.push((package.into(), version.into()));
    machine
}

fn knowing(mut machine: Machine, release: &str) -> Machine {
    machine.releases.push(release.into());
    machine
}

const BACKPORT: &str = "1:10.0.2+ds-2+deb13u1~bpo12+1";

fn backports(packages: &[&'static str], name: &str, unknown: bool) -> Vec<Way> {
    vec![
        Way::From {
            release: "bookworm-backports".into(),
            packages: packages.to_vec(),
            unknown,
            because: format!("{name} {BACKPORT} is here and is of that release"),
        },
        Way::Usual,
    ]
}

#[test]
fn what_is_installed_on_each_system() {
    let bookworm = debian("12", "bookworm");
    let with_utils = with_qemu(bookworm.clone(), "qemu-utils", BACKPORT);
    let system = &["nft", "qemu-system-x86_64"][..];
    for (case, machine, missing, packages, ways) in [
        (
            "bare Debian 12",
            bookworm.clone(),
            &["mmdebstrap", "nft", "qemu-system-x86_64", "qemu-img"][..],
            &["mmdebstrap", "nftables", "qemu-system-x86", "qemu-utils"][..],
            vec![Way::Usual],
        ),
        (
            "bare Debian 13",
            debian("13", "trixie"),
            &[
                "qemu-system-x86_64",
                "qemu-img",
                "iPXE for QEMU's network card",
            ],
            &["ipxe-qemu", "qemu-system-x86", "qemu-utils"],
            vec![Way::Usual],
        ),
        (
            "Debian 12 with a qemu-utils of backports, which apt is not told of any more",
            with_utils.clone(),
            system,
            &["nftables", "qemu-system-x86"],
            backports(&["qemu-system-x86"], "qemu-utils", true),
        ),
        (
            "the same, and apt knows backports",
            knowing(with_utils.clone(), "bookworm-backports"),
            system,
            &["nftables", "qemu-system-x86"],
            backports(&["qemu-system-x86"], "qemu-utils", false),
        ),
        (
            "the other way round: the machine is of backports, its tools are missing",
            with_qemu(bookworm.clone(), "qemu-system-common", BACKPORT),
            &["qemu-img"],
            &["qemu-utils"],
            backports(&["qemu-utils"], "qemu-system-common", true),
        ),
        (
            "a qemu-utils of backports, and nothing of QEMU is missing",
            with_utils.clone(),
            &["flex", "bison", "nft"],
            &["bison", "flex", "nftables"],
            vec![Way::Usual],
        ),
        (
            "a qemu-utils of Debian 12 itself",
            with_qemu(bookworm.clone(), "qemu-utils", "1:7.2+dfsg-7+deb12u15"),
            system,
            &["nftables", "qemu-system-x86"],
            vec![Way::Usual],
        ),
        (
            "what is left of Debian 12's backports on a Debian 13: their release is not to be had here",
            with_qemu(debian("13", "trixie"), "qemu-utils", BACKPORT),
            system,
            &["nftables", "qemu-system-x86"],
            vec![Way::Usual],
        ),
        (
            "two programs of one package",
            bookworm.clone(),
            &["ssh", "ssh-keygen", "systemd-nspawn"],
            &["openssh-client", "systemd-container"],
            vec![Way::Usual],
        ),
    ] {
        let packages = packages.to_vec();
        assert_eq!(
            decide(&lacking(missing), &machine),
            Decision::Install { packages, ways },
            "{case}"
        );
    }
}

#[test]
fn nothing_is_done_when_nothing_is_missing() {
    assert_eq!(decide(&[], &debian("12", "bookworm")), Decision::Nothing);
}

fn refusal(machine: &Machine, missing: &[&str]) -> String {
    match decide(&lacking(missing), machine) {
        Decision::Refuse(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_apt_the_message_says_what_to_add() {
    let nixos = Machine {
        id: "nixos".into(),
        name: "NixOS 26.05".into(),
        has_nix: true,
        ..Machine::default()
    };
    let message = refusal(
        &nixos,
        &["make", "qemu-system-x86_64", "qemu-img", "C headers"],
    );
    assert!(
        message
            .starts_with("missing: make, C headers, qemu-system-x86_64, qemu-img. `nix develop`"),
        "{message}"
    );
    assert!(
        message.contains("the packages gcc gnumake qemu ("),
        "{message}"
    );

    let fedora = Machine {
        id: "fedora".into(),
        name: "Fedora Linux 44".into(),
        ..Machine::default()
    };
    assert_eq!(
        refusal(&fedora, &["flex", "ssh", "ssh-keygen"]),
        "missing: flex, ssh, ssh-keygen. Fedora Linux 44 has no apt-get to install it with: install what your \
         distribution has instead of the Debian packages flex openssh-client"
    );
}

#[test]
fn the_release_is_read_from_os_release() {
    let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
    assert_eq!(field_of(text, "ID"), "debian");
    assert_eq!(field_of(text, "VERSION_ID"), "12");
    assert_eq!(
        field_of(text, "PRETTY_NAME"),
        "Debian GNU/Linux 12 (bookworm)"
    );
    assert_eq!(field_of(text, "VERSION_CODENAME"), "");
}
