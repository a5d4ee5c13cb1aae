//! The agent that runs until it is stopped, and the commands beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::statvfs;
use photon_agent::{Agent, Cache, Command, Ready, carry_out};
use photon_api::components::PLASMAVMC;
use photon_api::plasmavmc::v1 as wire;
use photon_host::links::Netlink;
use photon_host::systemd::{ServiceManager, SystemdBus};
use photon_program::{AgentSettings, Component, ComponentSettings, Invalid};
use photon_reconcile::Signal;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consoles::serve_consoles;
use crate::guests::Guests;
use crate::hypervisor::qemu::{self, DiskLimits, FASTEST, LONGEST_BURST};
use crate::hypervisor::{Accelerator, Hypervisor, Qemu, accelerator};
use crate::images::{Images, Registry};
use crate::layout::Layout;
use crate::link::{self, NoRegistry, ServerImages};
use crate::metadata;
use crate::plan::desired::Desired;
use crate::plan::{Observed, Phase, Plan};
use crate::reconciler::{Host, Reports, VmReconciler};
use crate::signals;

/// The agent's name; `/metrics` is at the port + 1000.
pub const COMPONENT: Component = Component::agent_of(&PLASMAVMC);

const RECONCILER: &str = "vms";

/// The section `[plasmavmc-agent]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// QEMU's program: a path, or a name in `$PATH`.
    qemu: PathBuf,
    /// qemu-img's, the same way.
    qemu_img: PathBuf,
    /// `kvm` or `tcg`; unset: what works, found out by trying.
    accelerator: Option<Accelerator>,
    /// Memory that is not for VMs.
    reserved_memory_mib: u64,
    /// What one disk of a VM may read and write together, in bytes per second; 0: no limit. As the next two, it holds for
    /// VMs that are started from then on (decision 0033).
    disk_bytes_per_second: u64,
    /// How many requests one disk may make per second; 0: no limit.
    disk_operations_per_second: u64,
    /// For how many seconds a disk that has rested may be four times as fast; 0: never.
    disk_burst_seconds: u64,
    /// Whether guests may run guests of their own, under KVM. It holds for VMs that are started from then on.
    nested_virtualization: bool,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            qemu: "qemu-system-x86_64".into(),
            qemu_img: "qemu-img".into(),
            accelerator: None,
            reserved_memory_mib: 256,
            disk_bytes_per_second: 256 << 20,
            disk_operations_per_second: 10_000,
            disk_burst_seconds: 10,
            nested_virtualization: false,
        }
    }
}

impl Section {
    fn disk_limits(&self) -> DiskLimits {
        DiskLimits {
            bytes_per_second: self.disk_bytes_per_second,
            operations_per_second: self.disk_operations_per_second,
            burst_seconds: self.disk_burst_seconds,
        }
    }
}

impl ComponentSettings for Section {
    fn apply_env(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Invalid> {
        if let Some(qemu) = env("PLASMAVMC_QEMU") {
            self.qemu = qemu.into();
        }
        if let Some(qemu_img) = env("PLASMAVMC_QEMU_IMG") {
            self.qemu_img = qemu_img.into();
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), Invalid> {
        for (key, value, most) in [
            ("disk_bytes_per_second", self.disk_bytes_per_second, FASTEST),
            (
                "disk_operations_per_second",
                self.disk_operations_per_second,
                FASTEST,
            ),
            ("disk_burst_seconds", self.disk_burst_seconds, LONGEST_BURST),
        ] {
            if value > most {
                let key = format!("{}.{key}", COMPONENT.name);
                return Err(Invalid::new(key, value, format!("0 to {most}")));
            }
        }
        Ok(())
    }
}

type Settings = AgentSettings<Section>;

/// Runs the agent until `shutdown`.
///
/// Errors: settings that can't work, no hypervisor, no netlink socket. An unreachable control plane is none.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<()> {
    let layout = Layout::host(&settings.state_dir);
    let mut agent = Agent::new(COMPONENT, &settings, &PLASMAVMC).await?;
    let session = agent.session().clone();
    let signal = agent.signal().clone();
    let registry = Arc::new(ServerImages(session.clone()));
    let host = host(&settings, &layout, registry, &signal).await?;
    // What was heard last holds until the server is heard: after a power cut it may be away.
    let wanted = agent.follow(Cache::<Desired>::in_directory(&layout.state));
    let (reports, published) = watch::channel(Reports::default());
    agent.report(published, link::report);
    agent.watch(host.links.changes());
    agent.spawn(signals::units(Arc::clone(&host.systemd), signal.clone()));
    let node = node(&settings, &host)?;
    agent.spawn(link::heartbeat(session.clone(), node));
    let links = Arc::clone(&host.links);
    agent.spawn(serve_consoles(session, host.guests.clone(), links));
    agent.spawn(metadata::keep(layout, wanted.clone()));
    let reconciler = VmReconciler::new(host, wanted, reports, signal);
    agent
        .drive(RECONCILER, reconciler, Ready::AtOnce, shutdown)
        .await;
    Ok(())
}

/// Runs one of the operator's commands, without a server.
///
/// Errors: no desired state, or what goes wrong with the host.
pub async fn run_command(settings: Settings, command: Command) -> Result<()> {
    let layout = Layout::host(&settings.state_dir);
    let signal = Signal::new();
    let host = host(&settings, &layout, Arc::new(NoRegistry), &signal).await?;
    let cache = Cache::<Desired>::in_directory(&layout.state);
    let (_desired, wanted) = watch::channel(Some(command.desired(&cache).await?));
    let (reports, published) = watch::channel(Reports::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(signals::units(Arc::clone(&host.systemd), signal.clone()));
    let mut reconciler = VmReconciler::new(host, wanted, reports, signal.clone());
    if !command.changes() {
        reconciler = reconciler.only_looking();
    }
    carry_out(
        &command,
        COMPONENT,
        &mut reconciler,
        &signal,
        || is_settled(&published.borrow()),
        status,
    )
    .await
}

/// What is reported of each VM.
fn status(_: &Observed, plan: &Plan) -> serde_json::Value {
    let vms = plan.reports.iter().map(|(id, report)| {
        json!({
            "vm": id,
            "phase": format!("{:?}", report.phase),
            "accelerator": report.accelerator,
            "message": report.message,
            "reboot_generation": report.reboot_generation,
            "gone": report.gone,
        })
    });
    json!({ "revision": plan.revision, "vms": vms.collect::<Vec<_>>() })
}

/// Whether nothing is under way any more.
fn is_settled(reports: &Reports) -> bool {
    reports.vms.values().all(|report| match report.phase {
        Phase::Running | Phase::Stopped | Phase::Failed => true,
        Phase::Deleting => report.gone,
        Phase::Provisioning | Phase::Starting | Phase::Stopping => false,
    })
}

/// The parts of this host. Also sets the file mode mask: what is secret here is made with a mode of its own, and
/// the rest is read by systemd, by nss-systemd in any process, and by the VMs' users.
async fn host(
    settings: &Settings,
    layout: &Layout,
    registry: Arc<dyn Registry>,
    signal: &Signal,
) -> anyhow::Result<Host> {
    umask(Mode::from_bits_truncate(0o022));
    for directory in [layout.images(), layout.vms(), layout.run.clone()] {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
    }
    let section = &settings.component;
    let program = program(&section.qemu)?;
    let accelerator = match section.accelerator {
        Some(accelerator) => accelerator,
        None => accelerator(&program, Path::new("/dev/kvm"), &layout.accelerator()).await,
    };
    let has_hub = qemu::has_hub(&program).await;
    let qemu = Qemu::new(program)
        .with_hub(has_hub)
        .with_disk_limits(section.disk_limits())
        .with_nested_virtualization(section.nested_virtualization);
    let hypervisor: Arc<dyn Hypervisor> = Arc::new(qemu);
    let systemd: Arc<dyn ServiceManager> = Arc::new(SystemdBus::default());
    Ok(Host {
        layout: layout.clone(),
        systemd,
        links: Arc::new(Netlink::new()?),
        accelerator,
        images: Images::new(layout.clone(), registry, signal.clone()),
        guests: Guests::new(Arc::clone(&hypervisor), layout.clone(), signal.clone()),
        hypervisor,
        qemu_img: program_or_name(&section.qemu_img),
        stop_program: std::env::current_exe()
            .context("this program's own path")?
            .display()
            .to_string(),
    })
}

/// The absolute path of a program: units are started with it, and systemd has a `$PATH` of its own.
fn program(name: &Path) -> anyhow::Result<PathBuf> {
    let found = program_or_name(name);
    if found.is_absolute() && found.exists() {
        return Ok(found);
    }
    bail!(
        "{} is not in $PATH: install QEMU (Debian: qemu-system-x86), or set plasmavmc-agent.qemu",
        name.display()
    )
}

fn program_or_name(name: &Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| name.to_owned())
}

/// What the host can hold.
fn node(settings: &Settings, host: &Host) -> anyhow::Result<wire::Node> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let total_kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse().ok())
        .context("/proc/meminfo has no MemTotal")?;
    let reserved = settings.component.reserved_memory_mib;
    let overhead = host.hypervisor.overhead(host.accelerator);
    let disks = statvfs(&host.layout.vms()).context("the file system of disks")?;
    Ok(wire::Node {
        name: settings.node.clone(),
        vcpus: u32::try_from(std::thread::available_parallelism()?.get())?,
        memory_mib: (total_kib / 1024).saturating_sub(reserved),
        accelerator: host.accelerator.to_string(),
        memory_overhead: Some(wire::MemoryOverhead {
            per_vm_mib: overhead.per_vm_mib,
            per_vcpu_mib: overhead.per_vcpu_mib,
            per_gib_mib: overhead.per_gib_mib,
        }),
        disk_bytes: disks.blocks() * disks.fragment_size(),
        hypervisors: vec![wire::HypervisorKind::Qemu.into()],
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_qemu_would_not_take_are_refused_by_name() {
        assert_eq!(Section::default().validate(), Ok(()));
        let none = Section {
            disk_bytes_per_second: 0,
            disk_operations_per_second: 0,
            disk_burst_seconds: 0,
            ..Section::default()
        };
        assert_eq!(none.validate(), Ok(()));
        assert_eq!(none.disk_limits(), DiskLimits::NONE);
        let too_long = Section {
            disk_burst_seconds: LONGEST_BURST + 1,
            ..none
        };
        let error = too_long.validate().unwrap_err();
        assert_eq!(error.key, "plasmavmc-agent.disk_burst_seconds");
        assert_eq!(error.expected, "0 to 60");
    }
}
