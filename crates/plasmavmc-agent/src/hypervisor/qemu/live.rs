//! With the real QEMU under TCG, which `cargo xtask test` installs, and a guest of 46 bytes.

use std::process::Stdio;
use std::sync::Arc;

use photon_reconcile::Backoff;
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use super::*;
use crate::hypervisor::console::{Console, attach};
use crate::hypervisor::power_down::power_down;
use crate::hypervisor::{DiskFile, GuestEvent};

/// Firmware and guest are up within half a second; a machine under load takes its time.
const LIMIT: Duration = Duration::from_secs(30);

/// A boot sector that says `R`, then repeats what is typed, and powers itself down when the power button is
/// pressed.
///
/// ```text
///         cli
///         mov dx, 0x602  ; mov ax, 0x100 ; out dx, ax      PM1_EN: the power button (ACPI 6.5, 4.8.3.1)
///         mov dx, 0x3f8  ; mov al, 'R'   ; out dx, al      COM1
/// again:  mov dx, 0x600  ; in ax, dx     ; test ah, 1      PM1_STS: pressed?
///         jnz off
///         mov dx, 0x3fd  ; in al, dx     ; test al, 1      COM1's line status: typed?
///         jz again
///         mov dx, 0x3f8  ; in al, dx     ; out dx, al
///         jmp again
/// off:    mov dx, 0x604  ; mov ax, 0x2000 ; out dx, ax     PM1_CNT: SLP_EN
///         hlt
/// ```
const GUEST: [u8; 46] = [
    0xfa, 0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, 0xba, 0xf8, 0x03, 0xb0, 0x52, 0xee, 0xba, 0x00,
    0x06, 0xed, 0xf6, 0xc4, 0x01, 0x75, 0x0f, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xef, 0xba,
    0xf8, 0x03, 0xec, 0xee, 0xeb, 0xe8, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4,
];

struct Live {
    directory: tempfile::TempDir,
    qemu: Qemu,
    process: Child,
    console: Arc<Console>,
    output: broadcast::Receiver<Arc<[u8]>>,
}

fn uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(5), Duration::from_millis(100))
}

async fn boot() -> Live {
    let directory = tempfile::tempdir().unwrap();
    let (raw, path) = (directory.path().join("raw"), directory.path().join("disk"));
    let mut sector = GUEST.to_vec();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    // SeaBIOS reads no virtio disk of a single sector.
    sector.resize(1 << 20, 0);
    std::fs::write(&raw, sector).unwrap();
    let converted = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([&raw, &path])
        .status()
        .await
        .expect("qemu-img: the Debian package qemu-utils has it");
    assert!(converted.success());
    let qemu = Qemu::new("qemu-system-x86_64");
    let machine = Machine {
        id: photon_resource::VmId::generate(),
        name: "live, with a comma".to_owned(),
        vcpus: 1,
        memory_mib: 64,
        boot: Boot::Disk,
        disks: vec![DiskFile {
            serial: "root".to_owned(),
            path,
        }],
        seed: Some(raw),
        interfaces: vec![],
        runtime_dir: directory.path().to_owned(),
    };
    let argv = qemu.launch(&machine, Accelerator::Tcg).argv;
    let process = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("qemu-system-x86_64: the Debian package qemu-system-x86 has it");
    let console = Arc::new(Console::new(directory.path().join("printed")));
    let (_, output) = console.watch();
    let socket = qemu.console(directory.path());
    tokio::spawn(attach(Arc::clone(&console), socket, uid(), backoff()));
    Live {
        directory,
        qemu,
        process,
        console,
        output,
    }
}

impl Live {
    async fn printed(&mut self) -> Vec<u8> {
        let piece = timeout(LIMIT, self.output.recv()).await;
        piece.expect("the guest prints").unwrap().to_vec()
    }

    async fn control(&self) -> Box<dyn Control> {
        let mut backoff = backoff();
        let connect = async {
            loop {
                match self.qemu.control(self.directory.path(), uid()).await {
                    Ok(control) => return control,
                    Err(ControlError::Connect { .. }) => {
                        tokio::time::sleep(backoff.failed()).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(LIMIT, connect).await.expect("QEMU answers")
    }

    fn power_socket(&self) -> PathBuf {
        self.qemu.power_socket(self.directory.path())
    }
}

async fn event(control: &dyn Control) -> Option<GuestEvent> {
    timeout(LIMIT, control.event())
        .await
        .expect("something happens")
}

#[tokio::test]
async fn a_guest_prints_reads_is_reset_and_powers_itself_down() {
    let mut live = boot().await;
    assert_eq!(live.printed().await, b"R");
    live.console.type_in(b"x".to_vec());
    assert_eq!(live.printed().await, b"x");

    let control = live.control().await;
    control.reset().await.unwrap();
    assert_eq!(
        event(&*control).await,
        Some(GuestEvent::Reset { by_guest: false })
    );
    assert_eq!(live.printed().await, b"R", "it boots again");

    // The unit's stop command has a monitor of its own while the agent holds the other.
    power_down(&live.power_socket(), LIMIT).await.unwrap();
    // The firmware resets the machine once more on its way.
    let told = loop {
        match event(&*control).await {
            Some(GuestEvent::Reset { by_guest: true }) => {}
            other => break other,
        }
    };
    assert_eq!(told, Some(GuestEvent::Shutdown { by_guest: true }));
    assert_eq!(event(&*control).await, None, "the process has ended");
    assert!(live.process.wait().await.unwrap().success());
}

#[tokio::test]
async fn an_agent_that_starts_anew_connects_again() {
    let mut live = boot().await;
    assert_eq!(live.printed().await, b"R");
    drop(live.control().await);
    let control = live.control().await;
    control.reset().await.unwrap();
    assert_eq!(live.printed().await, b"R");
}

#[tokio::test]
async fn a_guest_that_does_not_obey_gets_its_time_and_no_more() {
    let mut live = boot().await;
    assert_eq!(live.printed().await, b"R");
    let control = live.control().await;
    let began = Instant::now();
    power_down(&live.power_socket(), Duration::ZERO)
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "no time: it is not asked"
    );
    live.process.start_kill().unwrap();
    assert_eq!(event(&*control).await, None);
    // Its sockets close one after the other.
    assert!(!live.process.wait().await.unwrap().success());
    let error = power_down(&live.power_socket(), LIMIT).await.unwrap_err();
    assert!(matches!(error, ControlError::Connect { .. }), "{error}");
    assert!(control.reset().await.is_err());
}

/// As many disks and interfaces as the server takes of a VM: each has a slot of its own, and so have seed and random
/// numbers. (Disks stand for interfaces, which would need TAPs.)
#[tokio::test]
async fn the_machine_has_slots_for_all_that_the_server_takes_and_no_more() {
    const TAKEN: usize = 28;
    let directory = tempfile::tempdir().unwrap();
    let path = |disk: usize| directory.path().join(disk.to_string());
    for disk in 0..=TAKEN {
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(path(disk))
            .arg("1M")
            .status();
        assert!(made.await.unwrap().success());
    }
    let seed = directory.path().join("seed");
    std::fs::write(&seed, [0; 512]).unwrap();
    let qemu = Qemu::new("qemu-system-x86_64");
    let start = |disks: usize| {
        let machine = Machine {
            id: photon_resource::VmId::generate(),
            name: "full".to_owned(),
            vcpus: 1,
            memory_mib: 64,
            boot: Boot::Disk,
            disks: (0..disks)
                .map(|disk| DiskFile {
                    serial: disk.to_string(),
                    path: path(disk),
                })
                .collect(),
            seed: Some(seed.clone()),
            interfaces: vec![],
            runtime_dir: directory.path().to_owned(),
        };
        let argv = qemu.launch(&machine, Accelerator::Tcg).argv;
        Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let refused = start(TAKEN + 1).wait_with_output();
    let refused = timeout(LIMIT, refused).await.unwrap().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("no slot"), "{said}");

    let mut full = start(TAKEN);
    let answers = async {
        while qemu.control(directory.path(), uid()).await.is_err() {
            let ended = full.try_wait().unwrap();
            assert!(ended.is_none(), "QEMU has ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, answers).await.expect("QEMU answers");
}

/// QEMU knows its limits as they were meant, for each disk.
#[tokio::test]
async fn a_disks_limits_are_those_that_qemu_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let disks: Vec<DiskFile> = ["root", "data"]
        .into_iter()
        .map(|serial| DiskFile {
            serial: serial.to_owned(),
            path: directory.path().join(serial),
        })
        .collect();
    for disk in &disks {
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&disk.path)
            .arg("1M")
            .status();
        assert!(made.await.unwrap().success());
    }
    let qemu = Qemu::new("qemu-system-x86_64").with_disk_limits(DiskLimits {
        bytes_per_second: disk_limits::FASTEST,
        operations_per_second: 300,
        burst_seconds: disk_limits::LONGEST_BURST,
    });
    let machine = Machine {
        id: photon_resource::VmId::generate(),
        name: "limited".to_owned(),
        vcpus: 1,
        memory_mib: 64,
        boot: Boot::Disk,
        disks,
        seed: None,
        interfaces: vec![],
        runtime_dir: directory.path().to_owned(),
    };
    let argv = qemu.launch(&machine, Accelerator::Tcg).argv;
    let mut process = Command::new(&argv[0])
        .args(&argv[1..])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let monitor = directory.path().join(MONITOR_SOCKET);
    let connected = async {
        loop {
            if let Ok(qmp) = Qmp::connect(&monitor, uid()).await {
                return qmp;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "QEMU has ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let qmp = timeout(LIMIT, connected).await.expect("QEMU answers");
    let shown = qmp.execute("query-block").await.unwrap();
    let of_disks: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|drive| drive["inserted"]["node-name"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(of_disks, ["limited0", "limited1"], "{shown}");
}
