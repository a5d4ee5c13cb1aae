//! What runs a guest, behind one trait.
//!
//! A hypervisor says how a machine becomes a process ([`Hypervisor::launch`], pure) and how the running
//! process is talked to. systemd runs the process; nothing here starts or ends one. QEMU is the one
//! implementation; Firecracker's API socket fits the same two halves.

pub mod console;
pub mod power_down;
mod probe;
pub mod qemu;
pub mod qmp;

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use photon_resource::VmId;

pub use probe::{Accelerator, accelerator};
pub use qemu::Qemu;

/// A machine as the hypervisor sees it: files and devices of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub id: VmId,
    /// For people, in the process list.
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub boot: Boot,
    /// In the order that the guest sees them.
    pub disks: Vec<DiskFile>,
    /// Read-only disk with the guest's cloud-init data.
    pub seed: Option<PathBuf>,
    pub interfaces: Vec<Nic>,
    /// Directory of the process's own sockets; exists from its start to its end.
    pub runtime_dir: PathBuf,
}

/// What the guest starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The firmware looks for a boot loader on the first disk.
    Disk,
    /// A Linux kernel, directly.
    Kernel {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        command_line: String,
    },
}

/// A disk's file on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// The guest reads it as the disk's serial number (`/dev/disk/by-id/virtio-…`).
    pub serial: String,
    pub path: PathBuf,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// TAP on the host, owned by the VM's user.
    pub tap: String,
    pub mac: String,
    /// What the guest is told; 0: nothing.
    pub mtu: u32,
}

/// How a machine becomes a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments. World-readable: nothing secret is in it.
    pub argv: Vec<String>,
    /// Device nodes that it opens.
    pub devices: Vec<PathBuf>,
    /// Most memory that the process needs, the guest's included, in bytes.
    pub memory_bytes: u64,
    /// Most threads that it makes.
    pub tasks: u64,
    /// Whether it generates code while it runs.
    pub generates_code: bool,
    /// Whether it keeps what the guest prints, so that nobody need be connected to its console to read it. Of one that
    /// does not, what is printed is lost while nobody is.
    pub keeps_output: bool,
}

/// Memory that processes take beside their guests' at most, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overhead {
    pub per_vm_mib: u32,
    pub per_vcpu_mib: u32,
    /// For each GiB of the guest's memory.
    pub per_gib_mib: u32,
}

/// What a guest told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// It powered itself down, or was powered down.
    Shutdown { by_guest: bool },
    /// It was reset.
    Reset { by_guest: bool },
    /// Its processors stand still: no room for its disk, or an internal error of the hypervisor.
    Stopped,
    /// They run again.
    Resumed,
    /// Its kernel panicked: the process ends.
    Panicked,
}

/// What goes wrong between the agent and a hypervisor process.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{path}: {source}", path = path.display())]
    Connect {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is served by uid {actual}, not by the VM's uid {expected}", path = path.display())]
    WrongPeer {
        path: PathBuf,
        actual: u32,
        expected: u32,
    },
    #[error("the hypervisor closed the connection")]
    Closed,
    #[error("the hypervisor did not answer '{command}' in {seconds} s")]
    Silent { command: String, seconds: u64 },
    #[error("the hypervisor refused '{command}': {reason}")]
    Refused { command: String, reason: String },
    #[error("the hypervisor sent what it must not: {0}")]
    Protocol(String),
}

/// A connection to a running machine.
#[async_trait]
pub trait Control: Send + Sync {
    /// Resets the machine as its reset button does.
    async fn reset(&self) -> Result<(), ControlError>;
    /// Whether the guest stands still because what it wrote did not fit on the host's disk.
    async fn is_out_of_room(&self) -> Result<bool, ControlError>;
    /// Lets a guest that stands still go on; what did not fit is written again.
    async fn resume(&self) -> Result<(), ControlError>;
    /// What the guest printed since this was last asked, as far as the machine keeps it: the last 64 KiB. Only of a
    /// machine that was started with [`Launch::keeps_output`].
    async fn printed(&self) -> Result<Vec<u8>, ControlError>;
    /// Presses its power button; the guest decides what to do.
    async fn power_button(&self) -> Result<(), ControlError>;
    /// The next thing that the guest told. `None`: the process ended or the connection broke.
    async fn event(&self) -> Option<GuestEvent>;
}

/// Runs machines.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// The process of a machine. Pure.
    fn launch(&self, machine: &Machine, accelerator: Accelerator) -> Launch;

    /// What each machine's process takes beside the guest's memory.
    fn overhead(&self, accelerator: Accelerator) -> Overhead;

    /// Connects to a running machine whose process runs as `uid`.
    async fn control(&self, runtime_dir: &Path, uid: u32)
    -> Result<Box<dyn Control>, ControlError>;

    /// The socket of the guest's serial console.
    fn console(&self, runtime_dir: &Path) -> PathBuf;

    /// The socket through which [`power_down`](power_down::power_down) ends the machine in good order.
    fn power_socket(&self, runtime_dir: &Path) -> PathBuf;
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("disk"),
            Self::Kernel { kernel, .. } => write!(f, "kernel {}", kernel.display()),
        }
    }
}

/// Connects to a unix socket and makes sure that the VM's own process listens there: the directory belongs
/// to the VM's user, who could have put anything in its place.
///
/// Errors: `Connect`, `WrongPeer`.
pub(crate) async fn connect_as(
    path: &Path,
    uid: u32,
) -> Result<tokio::net::UnixStream, ControlError> {
    let failed = |source| ControlError::Connect {
        path: path.to_owned(),
        source,
    };
    let stream = tokio::net::UnixStream::connect(path)
        .await
        .map_err(failed)?;
    let actual = stream.peer_cred().map_err(failed)?.uid();
    if actual != uid {
        return Err(ControlError::WrongPeer {
            path: path.to_owned(),
            actual,
            expected: uid,
        });
    }
    Ok(stream)
}
