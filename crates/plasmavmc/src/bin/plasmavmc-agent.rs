//! Runs the VMs of a host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use nix::sys::stat::{Mode, umask};
use photon_api::components::PLASMAVMC;
use photon_api::plasmavmc::v1 as wire;
use photon_host::links::Netlink;
use photon_host::systemd::{ServiceManager, SystemdBus};
use photon_program::{
    AgentArgs, AgentSettings, Component, ComponentSettings, Identity, Invalid, systemd,
};
use photon_reconcile::{Driver, Reconciler, Signal, Timing};
use plasmavmc::agent::guests::Guests;
use plasmavmc::agent::images::{Images, Registry};
use plasmavmc::agent::layout::Layout;
use plasmavmc::agent::link::{Link, NoRegistry};
use plasmavmc::agent::reconciler::{Host, Reports, VmReconciler};
use plasmavmc::agent::{cache, power_down, signals};
use plasmavmc::hypervisor::{Accelerator, Hypervisor, Qemu, accelerator};
use plasmavmc::phase::Phase;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const COMPONENT: Component = Component::agent_of(&PLASMAVMC);

/// Makes this host run the VMs that plasmavmc-server placed on it
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print as JSON what has to be done to reach the state last heard of, and do nothing
    Plan(PlanArgs),
    /// Take the desired state from a file instead of the server, and work until it is reached
    Apply(ApplyArgs),
    /// Ask a guest to power down and wait for it: the stop command of a VM's unit
    #[command(hide = true)]
    PowerDown(PowerDownArgs),
}

#[derive(Args)]
struct PlanArgs {
    /// One plan, then exit
    #[arg(long, required = true)]
    once: bool,
}

#[derive(Args)]
struct ApplyArgs {
    /// File with a desired state, of the form of STATE/desired.json
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// How long to work toward it, in seconds
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

#[derive(Args)]
struct PowerDownArgs {
    /// Monitor socket
    socket: PathBuf,
    /// File with how long the guest has, in seconds
    #[arg(long)]
    timeout_file: PathBuf,
}

/// The section `[plasmavmc-agent]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    /// QEMU's program: a path, or a name in `$PATH`.
    qemu: PathBuf,
    /// qemu-img's, the same way.
    qemu_img: PathBuf,
    /// `kvm` or `tcg`; unset: what works, found out by trying.
    accelerator: Option<Accelerator>,
    /// Memory that is not for VMs.
    reserved_memory_mib: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            qemu: "qemu-system-x86_64".into(),
            qemu_img: "qemu-img".into(),
            accelerator: None,
            reserved_memory_mib: 256,
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
}

type Settings = AgentSettings<Section>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::PowerDown(args)) => power_down(&args),
        None => photon_program::agent_main(COMPONENT, &cli.agent, run),
        Some(Command::Plan(_)) => once(&cli.agent, |settings, _| print_plan(settings)),
        Some(Command::Apply(args)) => once(&cli.agent, |settings, shutdown| {
            apply(settings, shutdown, args)
        }),
    }
}

/// Runs a command beside the daemon: without `/metrics`, which that has.
fn once<F, Run>(args: &AgentArgs, run: Run) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
    Run: FnOnce(Settings, CancellationToken) -> F,
{
    let mut args = args.clone();
    args.common.metrics_listen = Some("off".to_owned());
    photon_program::agent_main(COMPONENT, &args, run)
}

fn power_down(args: &PowerDownArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let allowance = power_down::allowance(&args.timeout_file);
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| Ok(runtime.block_on(power_down::power_down(&args.socket, allowance))?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the guest can't be asked to power down: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let layout = Layout::host(&settings.state_dir);
    let signal = Signal::new();
    let endpoints = &settings.endpoints;
    let identity = Identity::new(
        &format!("{}@{}", COMPONENT.name, settings.node),
        settings.credential_file.as_deref(),
        endpoints,
    )
    .map_err(|invalid| anyhow::anyhow!("{invalid}"))?;
    let channel = endpoints
        .channel(&PLASMAVMC)
        .map_err(|invalid| anyhow::anyhow!("{invalid}"))?;
    let link = Link::new(&settings.node, channel, identity);

    let host = host(&settings, &layout, Arc::new(link.clone()), &signal).await?;
    // What was heard last holds until the server is heard: after a power cut it may be away.
    let cached = cache::read(&layout.desired()).context("the desired state kept on this host")?;
    let (desired, wanted) = watch::channel(cached.map(Arc::new));
    let (reports, published) = watch::channel(Reports::default());

    let mut tasks = JoinSet::new();
    tasks.spawn(signals::units(Arc::clone(&host.systemd), signal.clone()));
    tasks.spawn(signals::interfaces(Arc::clone(&host.links), signal.clone()));
    tasks.spawn(
        link.clone()
            .follow_desired(layout.desired(), desired, signal.clone()),
    );
    tasks.spawn(link.clone().heartbeat(node(&settings, host.accelerator)?));
    tasks.spawn(link.clone().report(published));
    tasks.spawn(link.serve_consoles(host.guests.clone()));

    let reconciler = VmReconciler::new(host, wanted, reports, signal.clone());
    systemd::ready("following the desired state");
    Driver::new("vms", reconciler, Timing::default(), signal)
        .run(shutdown)
        .await;
    tasks.shutdown().await;
    Ok(())
}

async fn print_plan(settings: Settings) -> anyhow::Result<()> {
    let layout = Layout::host(&settings.state_dir);
    let Some(desired) = cache::read(&layout.desired())? else {
        bail!(
            "no desired state is known: {} is absent",
            layout.desired().display()
        );
    };
    let signal = Signal::new();
    let host = host(&settings, &layout, Arc::new(NoRegistry), &signal).await?;
    let (_desired, wanted) = watch::channel(Some(Arc::new(desired)));
    let (reports, _) = watch::channel(Reports::default());
    let mut reconciler = VmReconciler::new(host, wanted, reports, signal).only_looking();
    let observed = reconciler
        .observe()
        .await?
        .context("nothing was observed")?;
    println!(
        "{}",
        serde_json::to_string_pretty(&reconciler.plan(&observed))?
    );
    Ok(())
}

async fn apply(
    settings: Settings,
    shutdown: CancellationToken,
    args: ApplyArgs,
) -> anyhow::Result<()> {
    let layout = Layout::host(&settings.state_dir);
    let Some(desired) = cache::read(&args.from)? else {
        bail!("{} is absent", args.from.display());
    };
    let signal = Signal::new();
    let host = host(&settings, &layout, Arc::new(NoRegistry), &signal).await?;
    cache::write(&layout.desired(), &desired)?;
    let (_desired, wanted) = watch::channel(Some(Arc::new(desired)));
    let (reports, mut published) = watch::channel(Reports::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(signals::units(Arc::clone(&host.systemd), signal.clone()));
    tasks.spawn(signals::interfaces(Arc::clone(&host.links), signal.clone()));
    let reconciler = VmReconciler::new(host, wanted, reports, signal.clone());
    let driver = Driver::new("vms", reconciler, Timing::default(), signal);
    let driver = tokio::spawn(driver.run(shutdown.clone()));
    let limit = Duration::from_secs(args.timeout);
    if let Ok(Err(_)) = tokio::time::timeout(limit, published.wait_for(is_settled)).await {
        bail!("ended before the desired state was reached");
    }
    let reports = published.borrow().clone();
    shutdown.cancel();
    driver.await?;
    for (id, report) in &reports.vms {
        println!(
            "{id} {:?} {} {}",
            report.phase, report.accelerator, report.message
        );
    }
    if !is_settled(&reports) {
        bail!("the desired state was not reached in {} s", args.timeout);
    }
    Ok(())
}

/// Whether nothing is under way any more.
fn is_settled(reports: &Reports) -> bool {
    *reports != Reports::default()
        && reports.vms.values().all(|report| match report.phase {
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
    let hypervisor: Arc<dyn Hypervisor> = Arc::new(Qemu::new(program));
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
fn node(settings: &Settings, accelerator: Accelerator) -> anyhow::Result<wire::Node> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let total_kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse().ok())
        .context("/proc/meminfo has no MemTotal")?;
    let reserved = settings.component.reserved_memory_mib;
    Ok(wire::Node {
        name: settings.node.clone(),
        vcpus: u32::try_from(std::thread::available_parallelism()?.get())?,
        memory_mib: (total_kib / 1024).saturating_sub(reserved),
        accelerator: accelerator.to_string(),
        hypervisors: vec![wire::HypervisorKind::Qemu.into()],
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    })
}
