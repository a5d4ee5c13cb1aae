//! QEMU: the command line of a machine, and its sockets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use photon_host::process;
use serde_json::json;

pub use disk_limits::{DiskLimits, FASTEST, LONGEST_BURST};

use super::{
    Accelerator, Boot, Control, ControlError, Hypervisor, Launch, Machine, Overhead, qmp::Qmp,
};

mod disk_limits;

#[cfg(test)]
mod live;
pub(crate) mod plugs;
#[cfg(test)]
mod tests;

/// Translated code that TCG keeps. Its own default is a gigabyte, which no limit of a small VM could hold.
const TCG_CODE_CACHE_MIB: u32 = 64;
/// QEMU's own memory beside the guest's: program, device models, disk caches.
const PROCESS_MIB: u32 = 160;
/// And for each virtual processor: its thread's stacks and its share of TCG's bookkeeping.
const PER_VCPU_MIB: u32 = 8;
/// And for each GiB of the guest: page tables, dirty bitmaps and TCG's softmmu tables grow with it.
const PER_GIB_MIB: u32 = 32;
/// Threads beside one for each virtual processor: main loop, RCU, and the pool for disk requests (64).
const TASKS: u64 = 80;
const MIB: u64 = 1024 * 1024;
/// QEMU says what it can within milliseconds.
const ASKING_LIMIT: Duration = Duration::from_secs(10);

/// QEMU as it is installed on this host.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    has_hub: bool,
    disks: DiskLimits,
    nested: bool,
}

impl Qemu {
    /// Uses this program, an absolute path. Disks are as fast as the host's; guests run no guests of their own.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            has_hub: false,
            disks: DiskLimits::NONE,
            nested: false,
        }
    }

    /// Says whether the program can give a serial line several ends (`-chardev hub`, QEMU 10.0 and later); see
    /// [`has_hub`].
    pub fn with_hub(self, has_hub: bool) -> Self {
        Self { has_hub, ..self }
    }

    /// Holds each disk of the machines that are started from now on to `limits`.
    pub fn with_disk_limits(self, disks: DiskLimits) -> Self {
        Self { disks, ..self }
    }

    /// Says whether the guests of machines that are started from now on may run guests of their own (under KVM).
    pub fn with_nested_virtualization(self, nested: bool) -> Self {
        Self { nested, ..self }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

#[async_trait]
impl Hypervisor for Qemu {
    fn launch(&self, machine: &Machine, accelerator: Accelerator) -> Launch {
        // Interfaces may come while it runs.
        let mut devices = vec![PathBuf::from("/dev/net/tun")];
        if accelerator == Accelerator::Kvm {
            devices.push(PathBuf::from("/dev/kvm"));
            devices.push(PathBuf::from("/dev/vhost-net"));
        }
        let tcg = accelerator == Accelerator::Tcg;
        let vcpus = u64::from(machine.vcpus);
        let of_each = self.overhead(accelerator);
        let overhead = u64::from(of_each.per_vm_mib)
            + u64::from(of_each.per_vcpu_mib) * vcpus
            + u64::from(of_each.per_gib_mib) * machine.memory_mib / 1024;
        Launch {
            argv: arguments(self, machine, accelerator),
            devices,
            memory_bytes: (machine.memory_mib + overhead) * MIB,
            tasks: TASKS + vcpus,
            generates_code: tcg,
            keeps_output: self.has_hub,
        }
    }

    fn overhead(&self, accelerator: Accelerator) -> Overhead {
        Overhead {
            per_vm_mib: PROCESS_MIB
                + match accelerator {
                    Accelerator::Kvm => 0,
                    Accelerator::Tcg => TCG_CODE_CACHE_MIB,
                },
            per_vcpu_mib: PER_VCPU_MIB,
            per_gib_mib: PER_GIB_MIB,
        }
    }

    async fn control(
        &self,
        runtime_dir: &Path,
        uid: u32,
    ) -> Result<Box<dyn Control>, ControlError> {
        Ok(Box::new(
            Qmp::connect(&runtime_dir.join(MONITOR_SOCKET), uid).await?,
        ))
    }

    fn console(&self, runtime_dir: &Path) -> PathBuf {
        runtime_dir.join(CONSOLE_SOCKET)
    }

    fn power_socket(&self, runtime_dir: &Path) -> PathBuf {
        runtime_dir.join(POWER_SOCKET)
    }
}

const MONITOR_SOCKET: &str = "qmp.sock";
/// A second monitor, so that the unit's stop command works while the agent holds the first.
const POWER_SOCKET: &str = "power.sock";
const CONSOLE_SOCKET: &str = "console.sock";
/// Where what the guest printed last is kept, and how much of it, in bytes: a power of two.
pub(crate) const PRINTED: &str = "printed";
pub(crate) const PRINTED_LIMIT: usize = 64 * 1024;

/// Whether this program knows `-chardev hub`. One that can't be asked is taken not to.
pub async fn has_hub(program: &Path) -> bool {
    let program = program.display().to_string();
    match process::run(&program, &["-chardev", "help"], b"", ASKING_LIMIT).await {
        Ok(kinds) => String::from_utf8_lossy(&kinds)
            .split_whitespace()
            .any(|kind| kind == "hub"),
        Err(error) => {
            tracing::warn!(%error, "not known whether QEMU has hubs: guests get consoles without");
            false
        }
    }
}

fn arguments(qemu: &Qemu, machine: &Machine, accelerator: Accelerator) -> Vec<String> {
    let mut argv = vec![qemu.program.display().to_string()];
    let mut add = |option: &str, value: String| {
        argv.push(option.to_owned());
        argv.push(value);
    };
    add(
        "-name",
        format!(
            "guest={},process=vm-{}",
            escape(&machine.name),
            machine.id.unix_user()
        ),
    );
    add("-uuid", machine.id.to_string());
    add(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned(),
    );
    add("-machine", "q35,usb=off,vmport=off,hpet=off".to_owned());
    match accelerator {
        Accelerator::Kvm => {
            add("-accel", "kvm".to_owned());
            // What KVM does for guests of guests is its largest part that a guest reaches, and few need it. It holds to
            // what the guest's processor is said to have. Each of the two is of one maker's processors; QEMU knows both
            // on either.
            let processor = match qemu.nested {
                true => "host",
                false => "host,vmx=off,svm=off",
            };
            add("-cpu", processor.to_owned());
        }
        Accelerator::Tcg => {
            add(
                "-accel",
                format!("tcg,thread=multi,tb-size={TCG_CODE_CACHE_MIB}"),
            );
            // All that TCG can, but five-level page tables, which only make its page walks longer.
            add("-cpu", "max,la57=off".to_owned());
        }
    }
    add("-smp", machine.vcpus.to_string());
    add("-m", format!("{}M", machine.memory_mib));
    add("-rtc", "base=utc".to_owned());
    add("-display", "none".to_owned());
    match &machine.boot {
        Boot::Disk => add("-boot", "strict=on".to_owned()),
        Boot::Kernel {
            kernel,
            initrd,
            command_line,
        } => {
            // Starts the kernel 2.6 s sooner under TCG than SeaBIOS does, and can nothing else.
            add("-bios", "qboot.rom".to_owned());
            add("-kernel", kernel.display().to_string());
            if let Some(initrd) = initrd {
                add("-initrd", initrd.display().to_string());
            }
            add("-append", command_line.clone());
        }
    }
    for (index, disk) in machine.disks.iter().enumerate() {
        let path = escape(&disk.path.display().to_string());
        add(
            "-blockdev",
            format!("driver=file,node-name=file{index},filename={path},discard=unmap"),
        );
        add(
            "-blockdev",
            format!("driver=qcow2,node-name=disk{index},file=file{index},discard=unmap"),
        );
        let mut node = format!("disk{index}");
        if let Some(throttle) = qemu.disks.throttle() {
            // A group of its own, so that one disk does not wait for another. As JSON: QEMU (10.0) reads the limits in
            // its own syntax only under names that it calls unstable (`x-bps-total`).
            let group = json!({
                "qom-type": "throttle-group", "id": format!("limit{index}"), "limits": throttle
            });
            add("-object", group.to_string());
            // Above qcow2: what the guest asks for is counted, not what its format makes of it.
            add(
                "-blockdev",
                format!(
                    "driver=throttle,node-name=limited{index},throttle-group=limit{index},file={node},discard=unmap"
                ),
            );
            node = format!("limited{index}");
        }
        let boot = match machine.boot {
            Boot::Disk => format!(",bootindex={}", index + 1),
            Boot::Kernel { .. } => String::new(),
        };
        add(
            "-device",
            format!(
                // Without room on the host the guest stands still until there is some: an error would make it take its
                // disk for broken. Other errors are the guest's to hear of.
                "virtio-blk-pci,id=disk-{index},drive={node},serial={}{boot},werror=enospc,rerror=report",
                escape(&disk.serial)
            ),
        );
    }
    if let Some(seed) = &machine.seed {
        let path = escape(&seed.display().to_string());
        add(
            "-blockdev",
            format!("driver=file,node-name=seedfile,filename={path},read-only=on"),
        );
        add(
            "-blockdev",
            "driver=raw,node-name=seed,file=seedfile,read-only=on".to_owned(),
        );
        add("-device", "virtio-blk-pci,drive=seed".to_owned());
    }
    for port in plugs::ports(machine) {
        add("-device", port);
    }
    for (index, nic) in machine.interfaces.iter().enumerate() {
        let (netdev, device) = plugs::options(nic, index, accelerator == Accelerator::Kvm);
        add("-netdev", netdev);
        add("-device", device);
    }
    add("-device", "virtio-rng-pci".to_owned());
    // A guest's kernel tells here that it has panicked. The process then ends with an error, so that the unit's
    // restart policy decides, whatever the guest's own `panic=` says. On the ISA bus it takes no slot, and is known to
    // kernels older than pvpanic-pci (Linux 5.13) too.
    add("-device", "pvpanic".to_owned());
    add("-action", "panic=exit-failure".to_owned());
    let socket = |id: &str, name: &str| {
        let path = escape(&machine.runtime_dir.join(name).display().to_string());
        // Without a client QEMU drops what the guest prints, so nothing waits for us.
        format!("socket,id={id},path={path},server=on,wait=off")
    };
    if qemu.has_hub {
        // A client that does not read makes the guest wait, so there is one only while somebody looks; what is printed
        // meanwhile is kept here.
        add(
            "-chardev",
            format!("ringbuf,id={PRINTED},size={PRINTED_LIMIT}"),
        );
        add("-chardev", socket("typed", CONSOLE_SOCKET));
        let hub = format!("hub,id=console,chardevs.0={PRINTED},chardevs.1=typed");
        add("-chardev", hub);
    } else {
        add("-chardev", socket("console", CONSOLE_SOCKET));
    }
    add("-serial", "chardev:console".to_owned());
    for (id, name) in [("monitor", MONITOR_SOCKET), ("power", POWER_SOCKET)] {
        add("-chardev", socket(id, name));
        add("-mon", format!("chardev={id},mode=control"));
    }
    argv.extend(["-nodefaults".to_owned(), "-no-user-config".to_owned()]);
    argv
}

/// A comma ends a value in QEMU's option lists; doubled it stands for itself.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}
