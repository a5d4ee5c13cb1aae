//! Virtual machines.

mod console;
mod create;

use std::time::Duration;

use clap::{Args, Subcommand};
use photon_api::plasmavmc::v1::{
    DeleteVmRequest, GetVmRequest, Labels, ListVmsRequest, RebootVmRequest, StartVmRequest,
    StopVmRequest, UpdateVmRequest, Vm, VmPhase, WatchVmRequest,
};
use tonic::Code;

use super::{all_pages, confirm, label_map, parse_label, present, read_text};
use crate::error::Failure;
use crate::output::{Column, Output, Progress};
use crate::session::Session;

const MESSAGE: &str = "plasmavmc.v1.Vm";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("PHASE", "phase"),
    ("VCPUS", "spec.vcpus"),
    ("MEMORY MIB", "spec.memory_mib"),
    ("NODE", "node"),
    ("MESSAGE", "status_message"),
];

/// Virtual machines.
#[derive(Subcommand)]
pub enum VmCommand {
    /// Make a VM and start it.
    Create(Box<create::NewVm>),
    /// Show one.
    Get {
        /// Name or id.
        name: String,
    },
    /// List the project's.
    List {
        /// Only with this label; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Change one. vCPUs, memory and user data count from the next start.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        /// Virtual CPUs.
        #[arg(long)]
        vcpus: Option<u32>,
        /// Memory in MiB.
        #[arg(long)]
        memory: Option<u64>,
        /// File with cloud-init user data; `-` is standard input.
        #[arg(long)]
        user_data: Option<std::path::PathBuf>,
        /// KEY=VALUE; replaces all labels; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Start one that is stopped.
    Start {
        /// Name or id.
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Ask the guest to power down, then quit.
    Stop {
        /// Name or id.
        name: String,
        /// Quit at once, as when the power is cut.
        #[arg(long)]
        force: bool,
        /// Seconds that the guest has to power down. Default: 30.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        grace: u32,
        #[command(flatten)]
        wait: Wait,
    },
    /// Restart the guest.
    Reboot {
        /// Name or id.
        name: String,
        /// Reset at once, without asking the guest.
        #[arg(long)]
        force: bool,
    },
    /// Remove one with its disks; its ports stay.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Do not wait for its host, which is lost. For operators, with the VM's id; the host must be off or cut off.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// The serial console. Ctrl-] leaves it.
    Console {
        /// Name or id.
        name: String,
    },
    /// Print a line for every change. Without a name: of all VMs of the project.
    Watch {
        /// Name or id.
        name: Option<String>,
    },
}

/// Whether to wait until it is done.
#[derive(Args)]
pub struct Wait {
    /// Return only when it is done, showing progress.
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 300, requires = "wait")]
    timeout: u64,
}

/// What a waiting command waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Running,
    Stopped,
    Gone,
}

/// The VM of this name or id.
async fn find(session: &Session, name: &str) -> Result<Vm, Failure> {
    let request = GetVmRequest {
        id: name.to_owned(),
        org_id: session.org(),
        project_id: session.project(),
    };
    let answer = session.vms().await?.get_vm(request).await?.into_inner();
    present(answer.vm, "VM")
}

/// `photon vm`
pub async fn run(command: VmCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut vms = session.vms().await?;
    match command {
        VmCommand::Create(new) => create::run(*new, session, output).await,
        VmCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        VmCommand::List { labels } => {
            let request = ListVmsRequest {
                org_id: session.org(),
                project_id: session.project(),
                labels: label_map(&labels),
                ..Default::default()
            };
            let all = all_pages!(vms, list_vms, vms, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        VmCommand::Update {
            name,
            rename,
            description,
            vcpus,
            memory,
            user_data,
            labels,
        } => {
            let request = UpdateVmRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                labels: (!labels.is_empty()).then(|| Labels {
                    labels: label_map(&labels),
                }),
                vcpus,
                memory_mib: memory,
                user_data: user_data.as_deref().map(read_text).transpose()?,
                ..Default::default()
            };
            let answer = vms.update_vm(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.vm, "VM")?)
        }
        VmCommand::Start { name, wait } => {
            let id = find(session, &name).await?.id;
            let answer = vms
                .start_vm(StartVmRequest {
                    id,
                    ..Default::default()
                })
                .await?
                .into_inner();
            finish(
                session,
                output,
                present(answer.vm, "VM")?,
                &wait,
                Until::Running,
            )
            .await
        }
        VmCommand::Stop {
            name,
            force,
            grace,
            wait,
        } => {
            let id = find(session, &name).await?.id;
            let request = StopVmRequest {
                id,
                force,
                timeout_seconds: grace,
                ..Default::default()
            };
            let answer = vms.stop_vm(request).await?.into_inner();
            finish(
                session,
                output,
                present(answer.vm, "VM")?,
                &wait,
                Until::Stopped,
            )
            .await
        }
        VmCommand::Reboot { name, force } => {
            let id = find(session, &name).await?.id;
            let answer = vms
                .reboot_vm(RebootVmRequest {
                    id,
                    force,
                    ..Default::default()
                })
                .await?;
            output.one(MESSAGE, &present(answer.into_inner().vm, "VM")?)
        }
        VmCommand::Delete {
            name,
            yes,
            force,
            wait,
        } => {
            let vm = find(session, &name).await?;
            confirm(yes, &format!("Remove VM {} and its disks?", vm.name))?;
            let request = DeleteVmRequest {
                id: vm.id.clone(),
                force,
                ..Default::default()
            };
            vms.delete_vm(request).await?;
            if wait.wait {
                wait_for(session, &vm, Duration::from_secs(wait.timeout), Until::Gone).await?;
                output.done(&format!("VM {name} is gone."));
            } else {
                output.done(&format!("VM {name} is being removed."));
            }
            Ok(())
        }
        VmCommand::Console { name } => console::run(session, &find(session, &name).await?).await,
        VmCommand::Watch { name } => watch(session, output, name).await,
    }
}

/// Prints the VM, after waiting if that was asked for.
async fn finish(
    session: &Session,
    output: &Output,
    vm: Vm,
    wait: &Wait,
    until: Until,
) -> Result<(), Failure> {
    let vm = if wait.wait {
        wait_for(session, &vm, Duration::from_secs(wait.timeout), until)
            .await?
            .unwrap_or(vm)
    } else {
        vm
    };
    output.one(MESSAGE, &vm)
}

fn phase_name(vm: &Vm) -> String {
    vm.phase()
        .as_str_name()
        .trim_start_matches("VM_PHASE_")
        .to_lowercase()
}

/// Follows the VM until it is as wanted; `None` when it is gone.
async fn wait_for(
    session: &Session,
    vm: &Vm,
    timeout: Duration,
    until: Until,
) -> Result<Option<Vm>, Failure> {
    let mut progress = Progress::new();
    let following = async {
        let mut client = session.vms().await?;
        let request = WatchVmRequest {
            id: vm.id.clone(),
            ..Default::default()
        };
        let mut changes = match client.watch_vm(request).await {
            Ok(changes) => changes.into_inner(),
            Err(status) if status.code() == Code::NotFound && until == Until::Gone => {
                return Ok(None);
            }
            Err(status) => return Err(status.into()),
        };
        while let Some(change) = changes.message().await? {
            if change.deleted {
                return match until {
                    Until::Gone => Ok(None),
                    _ => Err(Failure::Local(format!(
                        "VM {} was removed meanwhile",
                        vm.name
                    ))),
                };
            }
            let Some(now) = change.vm else { continue };
            progress.show(&format!(
                "VM {}: {} {}",
                now.name,
                phase_name(&now),
                now.status_message
            ));
            match (now.phase(), until) {
                (VmPhase::Running, Until::Running) | (VmPhase::Stopped, Until::Stopped) => {
                    return Ok(Some(now));
                }
                (VmPhase::Failed, Until::Running | Until::Stopped) => {
                    return Err(Failure::Local(format!(
                        "VM {} failed: {}",
                        now.name, now.status_message
                    )));
                }
                _ => {}
            }
        }
        Err(Failure::Local(
            "the server ended the watch; look with `photon vm get`".into(),
        ))
    };
    let result = tokio::time::timeout(timeout, following).await;
    progress.finish();
    result.unwrap_or_else(|_| {
        Err(Failure::TimedOut(format!(
            "VM {} was not there after {} s; it goes on by itself: `photon vm get {}` shows how far it is",
            vm.name,
            timeout.as_secs(),
            vm.name
        )))
    })
}

async fn watch(session: &Session, output: &Output, name: Option<String>) -> Result<(), Failure> {
    let id = match name {
        Some(name) => find(session, &name).await?.id,
        None => String::new(),
    };
    let request = WatchVmRequest {
        id,
        org_id: session.org(),
        project_id: session.project(),
    };
    let mut changes = session.vms().await?.watch_vm(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        if output.for_people() {
            let vm = change.vm.unwrap_or_default();
            let phase = if change.deleted {
                "gone".to_owned()
            } else {
                phase_name(&vm)
            };
            println!("{}  {}  {phase}  {}", vm.id, vm.name, vm.status_message);
        } else {
            output.one("plasmavmc.v1.WatchVmResponse", &change)?;
        }
    }
    Ok(())
}
