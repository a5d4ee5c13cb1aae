//! With the real QEMU under TCG. (The host's side is QEMU's own network instead of a TAP, which would need a right.)

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::*;
use crate::hypervisor::{Accelerator, Boot, Control, DiskFile, GuestEvent, Hypervisor, Qemu};

const LIMIT: Duration = Duration::from_secs(30);

/// A boot sector that lets go of whatever it is asked to let go of, as Linux' acpiphp does (QEMU's
/// `docs/specs/acpi_pci_hotplug.rst`; the registers of a q35 begin at 0xcc0).
///
/// ```text
///         cli
///         xor ecx, ecx
/// again:  mov dx, 0xcd0 ; mov eax, ecx ; out dx, eax       of which bus
///         mov dx, 0xcc4 ; in eax, dx                       what is to go, a bit for each slot
///         test eax, eax ; jz next
///         mov dx, 0xcc8 ; out dx, eax                      it may
/// next:   inc cx ; and cx, 0x1f ; jmp again
/// ```
const OBEYS: [u8; 33] = [
    0xfa, 0x66, 0x31, 0xc9, 0xba, 0xd0, 0x0c, 0x66, 0x89, 0xc8, 0x66, 0xef, 0xba, 0xc4, 0x0c, 0x66,
    0xed, 0x66, 0x85, 0xc0, 0x74, 0x05, 0xba, 0xc8, 0x0c, 0x66, 0xef, 0x41, 0x83, 0xe1, 0x1f, 0xeb,
    0xe3,
];
/// One that does nothing: `cli ; hlt ; jmp` to itself.
const IGNORES: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfe];

struct Live {
    qmp: Qmp,
    _process: Child,
    _directory: tempfile::TempDir,
}

fn nic(tap: &str) -> Nic {
    Nic {
        tap: tap.to_owned(),
        mac: "fa:16:3e:00:00:01".to_owned(),
        mtu: 1450,
    }
}

fn machine(directory: &std::path::Path) -> Machine {
    Machine {
        id: photon_resource::VmId::generate(),
        name: "live".to_owned(),
        vcpus: 1,
        memory_mib: 64,
        boot: Boot::Disk,
        disks: vec![],
        seed: None,
        interfaces: vec![],
        runtime_dir: directory.to_owned(),
    }
}

async fn make_disk(raw: &std::path::Path, path: &std::path::Path) {
    let made = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([raw, path])
        .status();
    let made = made
        .await
        .expect("qemu-img: the Debian package qemu-utils has it");
    assert!(made.success());
}

async fn run(argv: &[String], directory: tempfile::TempDir) -> Live {
    let mut process = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("qemu-system-x86_64: the Debian package qemu-system-x86 has it");
    let socket = directory.path().join(super::super::MONITOR_SOCKET);
    let uid = nix::unistd::getuid().as_raw();
    let connected = async {
        loop {
            match Qmp::connect(&socket, uid).await {
                Ok(qmp) => return qmp,
                Err(error) => {
                    let ended = process.try_wait().unwrap();
                    assert!(ended.is_none(), "QEMU has ended: {ended:?} ({error})");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    let qmp = timeout(LIMIT, connected).await.expect("QEMU answers");
    Live {
        qmp,
        _process: process,
        _directory: directory,
    }
}

/// Boots a sector.
async fn boot(code: &[u8]) -> Live {
    let directory = tempfile::tempdir().unwrap();
    let (raw, disk) = (directory.path().join("raw"), directory.path().join("disk"));
    let mut sector = code.to_vec();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    std::fs::write(&raw, sector).unwrap();
    make_disk(&raw, &disk).await;
    let mut machine = machine(directory.path());
    machine.disks.push(DiskFile {
        serial: "root".to_owned(),
        path: disk,
    });
    let argv = Qemu::new("qemu-system-x86_64")
        .launch(&machine, Accelerator::Tcg)
        .argv;
    run(&argv, directory).await
}

impl Live {
    async fn plug(&self, tap: &str) {
        let nic = nic(tap);
        let place = self.qmp.plugs().await.unwrap().free[0].clone();
        let own = json!({ "type": "user", "id": netdev(tap) });
        plug(&self.qmp, &nic, own, &place).await.unwrap();
    }

    async fn held(&self, tap: &str) -> Option<Held> {
        self.qmp.plugs().await.unwrap().held.get(tap).copied()
    }

    async fn unplugged(&self) {
        let told =
            async { while self.qmp.event().await.expect("QEMU runs") != GuestEvent::Unplugged {} };
        timeout(LIMIT, told).await.expect("the guest lets go");
    }
}

#[tokio::test]
async fn an_interface_comes_and_goes_with_a_guest_that_obeys() {
    let live = boot(&OBEYS).await;
    let before = live.qmp.plugs().await.unwrap();
    assert!(before.has_places && before.held.is_empty(), "{before:?}");
    assert_eq!(before.free.len(), 8);

    live.plug("pt0123456789a").await;
    live.plug("ptbbbbbbbbbbb").await;
    // Once more is no other.
    live.plug("pt0123456789a").await;
    let plugs = live.qmp.plugs().await.unwrap();
    assert_eq!(plugs.held.len(), 2);
    assert!(
        plugs.held.values().all(|held| *held == Held::Plugged),
        "{plugs:?}"
    );
    assert_eq!(plugs.free, before.free[2..]);

    // Until it has let go, which it may be asked before it is up.
    let gone = async {
        while live.held("pt0123456789a").await == Some(Held::Plugged) {
            live.qmp.unplug("pt0123456789a").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, gone).await.expect("the guest lets go");
    live.unplugged().await;
    if live.held("pt0123456789a").await.is_some() {
        live.qmp.unplug("pt0123456789a").await.unwrap();
    }
    assert_eq!(live.held("pt0123456789a").await, None);
    assert_eq!(live.held("ptbbbbbbbbbbb").await, Some(Held::Plugged));
    assert_eq!(live.qmp.plugs().await.unwrap().free.len(), 7);
    // What is gone goes again, and comes again.
    live.qmp.unplug("pt0123456789a").await.unwrap();
    live.plug("pt0123456789a").await;
    assert_eq!(live.held("pt0123456789a").await, Some(Held::Plugged));
}

#[tokio::test]
async fn a_guest_that_ignores_it_keeps_its_interface_until_it_is_reset() {
    let live = boot(&IGNORES).await;
    live.plug("pt0123456789a").await;
    live.qmp.unplug("pt0123456789a").await.unwrap();
    // It may be asked again.
    live.qmp.unplug("pt0123456789a").await.unwrap();
    assert_eq!(live.held("pt0123456789a").await, Some(Held::Plugged));
    live.qmp.reset().await.unwrap();
    live.unplugged().await;
    let bare = async {
        while live.held("pt0123456789a").await != Some(Held::Bare) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, bare).await.expect("its device is gone");
    live.qmp.unplug("pt0123456789a").await.unwrap();
    assert_eq!(live.held("pt0123456789a").await, None);
}

/// As many disks and interfaces as the server takes of a VM, beside seed and random numbers; each interface can be taken
/// out, and there is room for more.
#[tokio::test]
async fn the_machine_has_slots_for_all_that_the_server_takes() {
    const DISKS: usize = 16;
    const INTERFACES: usize = 16;
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("raw");
    std::fs::write(&raw, [0; 512]).unwrap();
    let mut machine = machine(directory.path());
    for disk in 0..DISKS {
        let path = directory.path().join(disk.to_string());
        make_disk(&raw, &path).await;
        machine.disks.push(DiskFile {
            serial: disk.to_string(),
            path,
        });
    }
    machine.seed = Some(raw);
    machine.interfaces = (0..INTERFACES).map(|at| nic(&format!("pt{at}"))).collect();
    let argv = Qemu::new("qemu-system-x86_64")
        .launch(&machine, Accelerator::Tcg)
        .argv;
    let argv: Vec<String> = argv
        .into_iter()
        .map(|value| match value.strip_prefix("tap,id=") {
            Some(rest) => format!("user,id={}", rest.split(',').next().unwrap_or_default()),
            None => value,
        })
        .collect();
    let live = run(&argv, directory).await;
    let plugs = live.qmp.plugs().await.unwrap();
    assert_eq!(plugs.held.len(), INTERFACES);
    assert!(
        plugs.held.values().all(|held| *held == Held::Plugged),
        "{plugs:?}"
    );
    assert_eq!(plugs.free.len(), MOST - INTERFACES);
}
