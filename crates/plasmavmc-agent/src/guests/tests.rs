//! With the real QEMU under TCG, which `cargo xtask test` installs, and guests of a boot sector. As root, as the agent is.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tokio::process::{Child, Command};

use super::*;
use crate::hypervisor::qemu::{PRINTED_LIMIT, has_hub};
use crate::hypervisor::qmp::Qmp;
use crate::hypervisor::{Accelerator, Boot, DiskFile, Launch, Machine, Qemu};

/// Firmware and guest are up within half a second; a machine under load takes its time.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something is typed, then tells QEMU what a kernel tells that panics.
///
/// ```text
/// wait:   mov dx, 0x3fd  ; in al, dx   ; test al, 1   ; jz wait     COM1's line status
///         mov dx, 0x505  ; mov al, 1   ; out dx, al                 PVPANIC_PANICKED
/// end:    hlt            ; jmp end
/// ```
const PANICS: [u8; 17] = [
    0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, 0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xf4, 0xeb,
    0xfd,
];

/// Writes to the next cluster of its disk for whatever is typed, and says `W` when it could and `E` when not.
///
/// ```text
///         xor ax, ax        ; mov ds, ax
/// again:  mov dx, 0x3fd     ; in al, dx      ; test al, 1   ; jz again     COM1's line status
///         mov dx, 0x3f8     ; in al, dx
///         mov si, packet    ; mov ax, 0x4300 ; mov dl, 0x80 ; int 0x13     "extended write"
///         mov al, 'W'       ; jnc say        ; mov al, 'E'
/// say:    mov dx, 0x3f8     ; out dx, al
///         add [packet+8], word 128           ; adc [packet+10], word 0     the next 64 KiB
///         jmp again
/// packet: db 16, 0          ; dw 64 sectors  ; dw 0, 0x1000 (from there)   ; dq 2048 (to there)
/// ```
const WRITES: [u8; 80] = [
    0x31, 0xc0, 0x8e, 0xd8, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, 0xba, 0xf8, 0x03, 0xec,
    0xbe, 0x40, 0x7c, 0xb4, 0x43, 0xb0, 0x00, 0xb2, 0x80, 0xcd, 0x13, 0xb0, 0x57, 0x73, 0x02, 0xb0,
    0x45, 0xba, 0xf8, 0x03, 0xee, 0x81, 0x06, 0x48, 0x7c, 0x80, 0x00, 0x83, 0x16, 0x4a, 0x7c, 0x00,
    0xeb, 0xd2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
    0x10, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x08, 0, 0, 0, 0, 0, 0,
];

/// Says what is typed, and `.` whenever nothing is.
///
/// ```text
/// again:  mov dx, 0x3fd  ; in al, dx      ; test al, 1      COM1's line status
///         mov dx, 0x3f8  ; jz idle        ; in al, dx       typed: say it
///         jmp say
/// idle:   mov cx, 0xffff ; loop $         ; mov al, '.'     a while later
/// say:    out dx, al     ; jmp again
/// ```
const TALKS: [u8; 24] = [
    0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0xba, 0xf8, 0x03, 0x74, 0x03, 0xec, 0xeb, 0x07, 0xb9, 0xff,
    0xff, 0xe2, 0xfe, 0xb0, 0x2e, 0xee, 0xeb, 0xe8,
];

const QEMU: &str = "qemu-system-x86_64";

struct Host {
    _directory: tempfile::TempDir,
    layout: Layout,
    hypervisor: Arc<Qemu>,
    guests: Guests,
    signal: Signal,
    id: VmId,
    keeps_output: bool,
}

impl Host {
    /// Of an older QEMU.
    fn new() -> Self {
        Self::of(Qemu::new(QEMU))
    }

    fn of(hypervisor: Qemu) -> Self {
        let hypervisor = Arc::new(hypervisor);
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout {
            state: directory.path().join("state"),
            run: directory.path().join("run"),
            userdb: directory.path().join("userdb"),
        };
        let (id, signal) = (VmId::generate(), Signal::new());
        for path in [layout.vm(id), layout.runtime(id), layout.notes(id)] {
            std::fs::create_dir_all(path).unwrap();
        }
        // For the VM's user to enter.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        Self {
            guests: Guests::new(hypervisor.clone(), layout.clone(), signal.clone()),
            _directory: directory,
            layout,
            keeps_output: false,
            hypervisor,
            signal,
            id,
        }
    }

    /// Starts a guest of this boot sector, as the VM's user, and follows it.
    async fn start(&mut self, code: &[u8], disk_bytes: u64) -> Child {
        let (layout, uid) = (&self.layout, Some(self.id.unix_uid()));
        let raw = layout.vm(self.id).join("raw");
        let mut sector = code.to_vec();
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        std::fs::write(&raw, sector).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&raw).unwrap();
        file.set_len(disk_bytes).unwrap();
        let path = layout.vm(self.id).join("disk");
        let converted = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args([&raw, &path])
            .status()
            .await
            .expect("qemu-img: the Debian package qemu-utils has it");
        assert!(converted.success());
        for path in [&path, &layout.runtime(self.id)] {
            chown(path, uid, uid).unwrap();
        }
        let machine = Machine {
            id: self.id,
            name: "guest".to_owned(),
            vcpus: 1,
            memory_mib: 64,
            boot: Boot::Disk,
            disks: vec![DiskFile {
                serial: "root".to_owned(),
                path,
            }],
            seed: None,
            interfaces: vec![],
            runtime_dir: layout.runtime(self.id),
        };
        let Launch {
            argv, keeps_output, ..
        } = self.hypervisor.launch(&machine, Accelerator::Tcg);
        self.keeps_output = keeps_output;
        let process = Command::new(&argv[0])
            .args(&argv[1..])
            .uid(self.id.unix_uid())
            .gid(self.id.unix_uid())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("qemu-system-x86_64: the Debian package qemu-system-x86 has it");
        self.guests.follow(&self.running());
        process
    }

    fn started_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(42)
    }

    fn running(&self) -> BTreeMap<VmId, Running> {
        let running = Running {
            started_at: Some(self.started_at()),
            keeps_output: self.keeps_output,
        };
        [(self.id, running)].into()
    }

    /// Waits for what comes with a signal.
    async fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let wait = async {
            while !is() {
                let _ =
                    tokio::time::timeout(Duration::from_millis(50), self.signal.notified()).await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect(what);
    }
}

#[tokio::test]
async fn a_panic_ends_the_process_with_an_error_and_is_noted_of_that_run() {
    let mut host = Host::new();
    let mut process = host.start(&PANICS, 1 << 20).await;
    let connected = || host.guests.lock()[&host.id].control.borrow().is_some();
    host.until("QEMU answers", connected).await;
    let console = host.guests.console(host.id).unwrap();
    // Until the guest is there to read.
    let typing = tokio::spawn(async move {
        loop {
            console.type_in(b"x".to_vec());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let ended = tokio::time::timeout(LIMIT, process.wait()).await.unwrap();
    typing.abort();
    // systemd has told of the end first.
    host.guests.follow(&BTreeMap::new());
    assert_eq!(
        ended.unwrap().code(),
        Some(1),
        "an error, for the restart policy"
    );
    let noted = || std::fs::read_to_string(host.layout.panicked(host.id)).ok();
    host.until("the panic is noted", || noted().is_some()).await;
    assert_eq!(noted(), Some("42".to_owned()));
}

#[tokio::test]
async fn a_guest_without_room_stands_still_says_so_and_goes_on_when_there_is_some() {
    let mut host = Host::new();
    // Of this thread alone, and of what it starts.
    unshare(CloneFlags::CLONE_NEWNS).expect("root");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let state = host.layout.state.clone();
    let room = |flags, bytes: u64| {
        let size = format!("size={bytes},mode=755");
        mount(
            Some("tmpfs"),
            &state,
            Some("tmpfs"),
            flags,
            Some(size.as_str()),
        )
        .unwrap();
    };
    room(MsFlags::empty(), 4 << 20);
    std::fs::create_dir_all(host.layout.vm(host.id)).unwrap();

    let _process = host.start(&WRITES, 1 << 30).await;
    let console = host.guests.console(host.id).unwrap();
    let typing = Arc::clone(&console);
    let typing = tokio::spawn(async move {
        loop {
            typing.type_in(b"xxxx".to_vec());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let halted = || host.guests.is_out_of_room(host.id);
    host.until("it halts", halted).await;
    let printed = || String::from_utf8(console.watch().0).unwrap();
    let before = printed().len();
    assert!(before > 10, "{}", printed());

    room(MsFlags::MS_REMOUNT, 256 << 20);
    let goes_on = || !halted() && printed().len() > before + 10;
    host.until("it goes on", goes_on).await;
    typing.abort();
    assert!(!printed().contains('E'), "no write failed: {}", printed());
}

/// Who is connected to a serial line and does not read makes the guest wait.
#[tokio::test]
async fn nobody_is_connected_to_a_console_that_nobody_watches_and_what_it_says_is_kept() {
    assert!(has_hub(Path::new(QEMU)).await, "QEMU 10.0 or later");
    let mut host = Host::of(Qemu::new(QEMU).with_hub(true));
    let _process = host.start(&TALKS, 1 << 20).await;
    let socket = host.hypervisor.power_socket(&host.layout.runtime(host.id));
    let connect = async {
        loop {
            match Qmp::connect(&socket, host.id.unix_uid()).await {
                Ok(monitor) => return monitor,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let monitor = tokio::time::timeout(LIMIT, connect).await.unwrap();
    let is_connected = async || {
        let lines = monitor.execute("query-chardev").await.unwrap();
        let mut lines = lines.as_array().unwrap().iter();
        let line = lines.find(|line| line["label"] == "typed").unwrap();
        !line["filename"]
            .as_str()
            .unwrap()
            .starts_with("disconnected")
    };
    assert!(!is_connected().await);

    let console = host.guests.console(host.id).unwrap();
    let (_, mut output) = console.watch();
    let talk = async {
        loop {
            console.type_in(b"x".to_vec());
            if output.recv().await.unwrap().contains(&b'x') {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, talk)
        .await
        .expect("the guest answers");
    assert!(is_connected().await);

    drop(output);
    let left = async {
        while is_connected().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, left)
        .await
        .expect("the connection ends");
    // What it says meanwhile is there for who comes next.
    let (recent, mut output) = console.watch();
    assert!(recent.contains(&b'x'));
    let next = tokio::time::timeout(LIMIT, output.recv()).await.unwrap();
    assert!(!next.unwrap().is_empty());
    assert!(console.watch().0.len() <= PRINTED_LIMIT);
}
