//! Virtual machines.

mod console;
mod create;
mod metadata;
mod outside;
mod tunnel;
mod wait;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use photon_api::plasmavmc::v1::{
    DeleteVmRequest, GetVmRequest, Labels, ListVmsRequest, MetadataEndpoint, RebootVmRequest,
    StartVmRequest, StopVmRequest, UpdateVmRequest, Vm, VmPhase, WatchVmRequest, WatchVmResponse,
};
use photon_api::prismnet::v1::{GetPortRequest, GetSubnetRequest, ListPortsRequest};
use photon_client::call::{Call, Resource};
use serde_json::{Value, json};

use self::metadata::Metadata;
use self::wait::{Until, Wait, finish, phase_name, wait_for};
use super::size::{parse_mib, parse_seconds};
use super::{ChosenLabels, OtherLabels, Renaming, confirm, read_user_data};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    About, Changing, Desk, Flags, Listed, Noun, Once, One, USUAL, Words, may_be_gone, plain_request,
};
use crate::output::{Column, Output, to_json};

/// Virtual machines.
pub struct Vms;

impl Noun for Vms {
    type Resource = Vm;
    type Get = GetVmRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteVmRequest;

    const WORDS: Words = Words {
        noun: "VM",
        update: "Change one. vCPUs, memory and user data count from the next start",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("PHASE", "phase"),
        ("ADDRESS", "addresses"),
        ("VCPUS", "spec.vcpus"),
        ("MEMORY", "spec.memory_mib"),
        ("HOST", "node"),
        ("AGE", "created_at"),
        ("MESSAGE", "status_message"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        for row in rows.iter_mut() {
            row["addresses"] = addresses(row).into();
        }
        // Not attached yet, or by a release that did not tell.
        let unknown = |row: &Value| !port_ids(row).is_empty() && row["addresses"] == json!([]);
        if !rows.iter().any(unknown) {
            return;
        }
        let ports = desk.all(ListPortsRequest::default()).await;
        let known: HashMap<String, String> = ports
            .unwrap_or_default()
            .into_iter()
            .map(|port| match port.ip_address.is_empty() {
                true => (port.id, port.ipv6_address),
                false => (port.id, port.ip_address),
            })
            .collect();
        for row in rows.iter_mut().filter(|row| unknown(row)) {
            let ids = port_ids(row);
            let of_row: Vec<&String> = ids.iter().filter_map(|id| known.get(id)).collect();
            row["addresses"] = json!(of_row);
        }
    }

    async fn print(desk: &Desk<'_>, vm: &Vm) -> Result<(), Failure> {
        if !desk.output.for_people() {
            return desk.output.one(vm);
        }
        let mut shown = to_json(Vm::NAME, vm)?;
        name_networks(desk, &mut shown).await;
        desk.output.value(&shown)
    }

    fn question(vm: &Vm) -> String {
        format!("Remove VM {} and its disks?", vm.name)
    }
}

/// The ports of a row's network.
fn port_ids(row: &Value) -> Vec<String> {
    let network = row["spec"]["network"].as_array().into_iter().flatten();
    let ids = network.filter_map(|interface| interface["port_id"].as_str());
    ids.map(str::to_owned).collect()
}

/// The addresses that a row's VM says of its interfaces: one of each.
fn addresses(row: &Value) -> Vec<String> {
    let interfaces = row["interfaces"].as_array().into_iter().flatten();
    let of = |interface: &Value| {
        let fields = ["ip_address", "ipv6_address"].into_iter();
        let mut given = fields.filter_map(|field| interface[field].as_str());
        given.find(|address| !address.is_empty()).map(str::to_owned)
    };
    interfaces.filter_map(of).collect()
}

/// Puts the names of ports and subnets beside the addresses of a VM's interfaces. What can't be had is left out.
async fn name_networks(desk: &Desk<'_>, vm: &mut Value) {
    for interface in vm["interfaces"].as_array_mut().into_iter().flatten() {
        let id = interface["port_id"].as_str().unwrap_or_default();
        let Ok(port) = desk.find::<GetPortRequest>("port", id).await else {
            continue;
        };
        interface["port"] = port.name.into();
        let subnet = desk.find::<GetSubnetRequest>("subnet", &port.subnet_id);
        if let Ok(subnet) = subnet.await {
            interface["subnet"] = subnet.name.into();
        }
    }
}

/// The verbs of VMs, most of which can be waited for.
#[derive(Subcommand)]
pub enum VmCommand {
    /// Make a VM and start it.
    Create(Box<Changing<create::NewVm>>),
    #[command(about = Vms::WORDS.get, visible_alias = "show")]
    Get(One<Vms>),
    #[command(about = Vms::WORDS.list, visible_alias = "ls")]
    List(Listed<Filter>),
    #[command(about = Vms::WORDS.update)]
    Update(Box<Changing<About<Vms>>>),
    /// Start one that is stopped.
    Start(Changing<Start>),
    /// Ask the guest to power down, then quit.
    Stop(Changing<Stop>),
    /// Restart the guest.
    Reboot(Changing<Reboot>),
    /// Remove one with its disks and the ports that were made with it; ports of `--port` stay.
    #[command(visible_alias = "rm")]
    Delete(Changing<Delete>),
    /// The serial console. Ctrl-] leaves it.
    Console(One<Vms>),
    /// Carry standard input to a TCP port of the guest, and what it sends to standard output: for ssh's ProxyCommand.
    Tunnel(tunnel::Tunnel),
    /// Print a line for every change. Without a name: of all VMs of the project.
    Watch {
        /// Name or id.
        #[arg(add = names::<Vms>())]
        name: Option<String>,
    },
}

/// Which VMs.
#[derive(Args)]
pub struct Filter {
    /// Only in this phase.
    #[arg(long)]
    phase: Option<Phase>,
    #[command(flatten)]
    labels: ChosenLabels,
}

plain_request! {
    Filter as ListVmsRequest, |this| {
        phase: this.phase.map_or(VmPhase::Unspecified, Into::into).into(),
        labels: this.labels.map(),
    }
}

/// What a VM is doing.
#[derive(Clone, Copy, ValueEnum)]
pub enum Phase {
    /// Its host is preparing it.
    Provisioning,
    /// It is being started.
    Starting,
    /// The guest runs.
    Running,
    /// The guest has been asked to power down.
    Stopping,
    /// It has no process; its disks are kept.
    Stopped,
    /// It could not start, or ended by itself.
    Failed,
    /// Its host is removing it.
    Deleting,
}

impl From<Phase> for VmPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Provisioning => Self::Provisioning,
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Stopping => Self::Stopping,
            Phase::Stopped => Self::Stopped,
            Phase::Failed => Self::Failed,
            Phase::Deleting => Self::Deleting,
        }
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    /// Virtual CPUs.
    #[arg(long)]
    vcpus: Option<u32>,
    /// Memory in MiB, or with a unit: 2G.
    #[arg(long, value_parser = parse_mib)]
    memory: Option<u64>,
    /// File with cloud-init user data, plain or compressed with gzip; `-` is standard input.
    #[arg(long)]
    user_data: Option<PathBuf>,
    /// Whether the guest is told what it is, at 169.254.169.254. This and the next two count at once.
    #[arg(long, value_enum, value_name = "WHETHER")]
    metadata: Option<Told>,
    #[command(flatten)]
    options: Metadata,
    #[command(flatten)]
    labels: OtherLabels,
}

/// Whether a guest is told what it is.
#[derive(Clone, Copy, ValueEnum)]
pub enum Told {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Flags for Update {
    type Request = UpdateVmRequest;

    async fn request(self, _: &Desk<'_>) -> Result<UpdateVmRequest, Failure> {
        let user_data = read_user_data(self.user_data.as_deref())?;
        let endpoint = match self.metadata {
            None => MetadataEndpoint::Unspecified,
            Some(Told::On) => MetadataEndpoint::Enabled,
            Some(Told::Off) => MetadataEndpoint::Disabled,
        };
        Ok(UpdateVmRequest {
            name: self.meta.rename,
            description: self.meta.description,
            labels: self.labels.map().map(|labels| Labels { labels }),
            vcpus: self.vcpus,
            memory_mib: self.memory,
            user_data: user_data.text,
            user_data_binary: user_data.binary,
            metadata_options: self.options.options(endpoint),
            ..Default::default()
        })
    }
}

/// What to start.
#[derive(Args)]
pub struct Start {
    #[command(flatten)]
    vm: One<Vms>,
    #[command(flatten)]
    wait: Wait,
}

/// What to stop, and how.
#[derive(Args)]
pub struct Stop {
    #[command(flatten)]
    vm: One<Vms>,
    /// Quit at once, as when the power is cut.
    #[arg(long)]
    force: bool,
    /// How long the guest has to power down, in seconds or with a unit: 2m. Default: 30.
    #[arg(long, value_parser = parse_seconds, default_value = "0", hide_default_value = true, value_name = "TIME")]
    grace: u32,
    #[command(flatten)]
    wait: Wait,
}

/// What to restart, and how.
#[derive(Args)]
pub struct Reboot {
    #[command(flatten)]
    vm: One<Vms>,
    /// Reset at once, without asking the guest.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

/// What to remove, and how.
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    vm: One<Vms>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Do not wait for its host, which is lost. For operators, with the VM's id; the host must be off or cut off.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

/// `photon vm`
pub async fn run(command: VmCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        VmCommand::Create(new) => create::run(new.flags, &new.once, desk).await,
        VmCommand::Get(one) => desk.show(one).await,
        VmCommand::List(list) => desk.list::<Vms>(list).await,
        VmCommand::Update(change) => desk.update(*change).await,
        VmCommand::Start(Changing { flags, once }) => {
            let request = StartVmRequest {
                id: desk.id_of::<Vms>(&flags.vm.name, &once).await?,
                ..Default::default()
            };
            let vm = desk.make(&once, request).await?;
            finish(desk, vm, &flags.wait, Until::Running).await
        }
        VmCommand::Stop(Changing { flags, once }) => {
            let request = StopVmRequest {
                id: desk.id_of::<Vms>(&flags.vm.name, &once).await?,
                force: flags.force,
                timeout_seconds: flags.grace,
                ..Default::default()
            };
            let vm = desk.make(&once, request).await?;
            finish(desk, vm, &flags.wait, Until::Stopped).await
        }
        VmCommand::Reboot(Changing { flags, once }) => {
            let request = RebootVmRequest {
                id: desk.id_of::<Vms>(&flags.vm.name, &once).await?,
                force: flags.force,
                ..Default::default()
            };
            // Until the new run is reported it is `stopping` or `starting`.
            let vm = desk.make(&once, request).await?;
            finish(desk, vm, &flags.wait, Until::Running).await
        }
        VmCommand::Delete(Changing { flags, once }) => delete(flags, &once, desk).await,
        VmCommand::Console(vm) => {
            let vm = desk.find::<GetVmRequest>("VM", &vm.name).await?;
            console::run(desk, &vm).await
        }
        VmCommand::Tunnel(tunnel) => tunnel::run(tunnel, desk).await,
        VmCommand::Watch { name } => watch(desk, name).await,
    }
}

async fn delete(flags: Delete, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let name = flags.vm.name;
    let vm = match desk.find::<GetVmRequest>("VM", &name).await {
        Ok(vm) => {
            confirm(flags.yes, &Vms::question(&vm))?;
            vm
        }
        Err(failure) => Vm {
            id: may_be_gone(failure, once, &name)?,
            name: name.clone(),
            ..Default::default()
        },
    };
    let request = DeleteVmRequest {
        id: vm.id.clone(),
        force: flags.force,
        ..Default::default()
    };
    desk.change(once, request).await?;
    if !flags.wait.wait {
        return desk.output.done(&format!("VM {name} is being removed."));
    }
    wait_for(desk, &vm, flags.wait.limit(), Until::Gone).await?;
    desk.output.done(&format!("VM {name} is gone."))
}

async fn watch(desk: &Desk<'_>, name: Option<String>) -> Result<(), Failure> {
    let id = match name {
        Some(name) => desk.find::<GetVmRequest>("VM", &name).await?.id,
        None => String::new(),
    };
    let session = desk.session;
    let request = WatchVmRequest {
        id,
        ..Default::default()
    };
    let request = request.within(&session.org, &session.project);
    let mut changes = session.watch(request).await?;
    let lost = |status| session.channels.error("plasmavmc", status);
    while let Some(change) = changes.message().await.map_err(lost)? {
        print_change(desk.output, change)?;
    }
    Ok(())
}

fn print_change(output: &Output, change: WatchVmResponse) -> Result<(), Failure> {
    if !output.for_people() {
        return output.message("plasmavmc.v1.WatchVmResponse", &change);
    }
    let vm = change.vm.unwrap_or_default();
    let phase = match change.deleted {
        true => "gone".to_owned(),
        false => phase_name(&vm),
    };
    // A tenant chose the name, a host the message: none of their hidden characters reaches the terminal.
    let line = format!("{}  {}  {phase}  {}", vm.id, vm.name, vm.status_message);
    output.line(&line.replace(photon_resource::is_hidden, " "))
}
