//! `cargo xtask bench`: figures, not a test. Each part is bounded in count and time; nothing is left behind.
//!
//! | part | where it runs |
//! | --- | --- |
//! | `create-port`, `authorize`, `create-vm` | release programs as processes of this machine, over the loopback of a network namespace |
//! | `vm` | systemd natively in a container (`systemd-nspawn`), because inside User-mode Linux only ratios count |
//! | `memory`, `agent-restart`, `vm-on-rack` | a rack host: what needs VRFs and bridge conntrack, which the machine's kernel may not have |

mod authorize;
mod container;
mod create_port;
pub(crate) mod figures;
mod host;
mod machine;
pub(crate) mod programs;
mod told;
mod vm;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cache::Cache;
use crate::images::Images;
use crate::native::servers::{Limits, Metrics, Servers};
use crate::native::stage;
use crate::photoncloud::programs::Programs;
use crate::photoncloud::tree;
use crate::prerequisites;
use crate::progress::{Step, say};
use crate::rack::GuestFiles;
use crate::rack::run::Run;
use container::Container;
use figures::Figure;
use machine::Machine;

const NATIVE: &str =
    "a VM, systemd native (network made beforehand: no prismnet-agent, no VRF, no filters)";
const ON_RACK: &str =
    "a VM on a rack host, the whole path with prismnet-agent (User-mode Linux: only ratios count)";

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Measure only this; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// How often a VM is started each way at most: it ends as soon as the difference is above the noise.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// `dev` is for work on the benchmark itself: its figures say nothing.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// The programs are built, and this is the program that measures.
    #[arg(long, hide = true)]
    measure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    CreatePort,
    Authorize,
    CreateVm,
    Vm,
    Memory,
    AgentRestart,
    VmOnRack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    Release,
    Dev,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    command: String,
    profile: Profile,
    machine: Machine,
    figures: &'a [Figure],
}

pub fn run(options: &Options) -> Result<()> {
    if options.wants(Part::Vm) {
        prerequisites::ensure_for_bench()?;
    } else {
        prerequisites::ensure()?;
    }
    if !options.measure {
        programs::build(options.profile)?;
        return programs::become_built(options.profile);
    }
    let machine = Machine::observe();
    println!("{machine}");
    let mut figures = Vec::new();
    // What was measured before something failed is worth something too.
    let outcome = measure(options, &mut figures);
    println!("\n{}", figures::table(&figures));
    println!("{}", machine.remark(&Machine::observe()));
    let path = write(options, machine, &figures)?;
    println!("written to {}", path.display());
    outcome
}

fn measure(options: &Options, figures: &mut Vec<Figure>) -> Result<()> {
    let loopback = [Part::CreatePort, Part::Authorize, Part::CreateVm];
    if loopback.into_iter().any(|part| options.wants(part)) {
        let step = Step::begin("measuring calls over the loopback (about two minutes)");
        figures.extend(calls(options)?);
        step.end();
    }
    if options.wants(Part::Vm) {
        let step = Step::begin("measuring VMs under a native systemd");
        figures.extend(native_vms(options)?);
        step.end();
    }
    let rack = [Part::Memory, Part::AgentRestart, Part::VmOnRack];
    if rack.into_iter().any(|part| options.wants(part)) {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(on_a_rack_host(options, figures))?;
    }
    Ok(())
}

fn native_vms(options: &Options) -> Result<Vec<Figure>> {
    let cache = Cache::open()?;
    let images = Images::ensure(&cache)?;
    let files = GuestFiles::of(&images);
    let programs = Programs::ensure()?;
    let run = Run::begin(&cache)?;
    let rounds = options.rounds as usize;
    let figures = stage::inside(&run.namespace, {
        let run = run.clone();
        async move || {
            let container = Container::boot(&run, &images, &programs).await?;
            let tenant = container.start().await?;
            let figures = vm::measure(NATIVE, &container, &tenant, &files, rounds).await?;
            container.stop().await?;
            Ok(figures)
        }
    });
    run.end()?;
    figures
}

async fn on_a_rack_host(options: &Options, figures: &mut Vec<Figure>) -> Result<()> {
    let cloud = host::Cloud::start(options.wants(Part::Memory)).await?;
    figures.extend(cloud.memory.iter().cloned());
    if options.wants(Part::VmOnRack) {
        let step = Step::begin("measuring VMs on the rack host, with prismnet-agent");
        let rounds = options.rounds as usize;
        figures
            .extend(vm::measure(ON_RACK, &cloud.host, &cloud.tenant, &cloud.guest, rounds).await?);
        step.end();
    }
    if options.wants(Part::AgentRestart) {
        figures.extend(cloud.agent_restart().await?);
    }
    Ok(())
}

fn calls(options: &Options) -> Result<Vec<Figure>> {
    let run = Run::begin(&Cache::open()?)?;
    let (namespace, directory) = (run.namespace.clone(), run.dir.clone());
    let bin = programs::measured(options.profile);
    let options = options.clone();
    let figures = stage::inside(&run.namespace, async move || {
        let servers =
            Servers::start(&bin, &directory, &namespace, Metrics::Off, Limits::Open).await?;
        let mut figures = Vec::new();
        if options.wants(Part::CreatePort) {
            figures.extend(create_port::measure(&servers.tenant).await?);
        }
        if options.wants(Part::Authorize) {
            figures.extend(authorize::over_grpc(&servers.tenant).await?);
            let program = programs::authorize_rate(&bin);
            figures.extend(authorize::in_process(&servers, &program).await?);
        }
        if options.wants(Part::CreateVm) {
            figures.extend(told::measure(&servers).await?);
        }
        servers.prismnet.stop().await?;
        servers.iam.stop().await?;
        Ok(figures)
    });
    run.end()?;
    figures
}

fn write(options: &Options, machine: Machine, figures: &[Figure]) -> Result<PathBuf> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--measure")
        .collect();
    let report = Report {
        command: format!("cargo xtask {}", arguments.join(" ")),
        profile: options.profile,
        machine,
        figures,
    };
    let directory = tree().join("target/photon");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("bench.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
    if options.profile == Profile::Dev {
        say("not optimized: these figures say nothing about PhotonCloud");
    }
    Ok(path)
}
