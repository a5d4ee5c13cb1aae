//! A VM as a systemd unit, both ways: what is started, and what is read of it.

use std::path::PathBuf;
use std::time::Duration;

use photon_host::systemd::{
    ActiveState, Limits, Restart, Sandbox, ServiceStatus, TransientService, nested_slice,
};
use photon_resource::VmId;

use super::layout::Layout;
use crate::hypervisor::{Accelerator, Boot, DiskFile, Hypervisor, Launch, Machine, Nic};
use crate::plan::desired::DesiredVm;
use crate::plan::desired::RestartPolicy;
use crate::plan::{Run, Unit};

#[cfg(test)]
mod tests;

/// What every VM's unit is called, before the id.
pub const PREFIX: &str = "photon-vm-";

/// The unit itself remembers what it was started for, so that no file can tell otherwise.
const REBOOT_GENERATION: &str = "PHOTON_REBOOT_GENERATION";
const ACCELERATOR: &str = "PHOTON_ACCELERATOR";
/// `kept`: the process keeps what its guest prints. Units of an earlier release are without it.
const CONSOLE: &str = "PHOTON_CONSOLE";
const KEPT: &str = "kept";
/// Names the stop command's program in QEMU's own environment: Nix's garbage collector keeps every store
/// path that it finds in the environment of a running process, so an upgrade of the agent does not take
/// away the program that a VM of before it is stopped with.
const STOP_PROGRAM: &str = "PHOTON_STOP_PROGRAM";

/// Of all that a host runs, our own programs are killed first when there is no memory left (1000, in their units): they
/// start again, and a guest does not notice. Then a virtual machine, and only then what the system itself runs (0), whose
/// end would hurt every guest. With 1000 points for all memory (the kernel's `oom_badness`), a virtual machine that has
/// less than nine tenths of it is spared as long as a program of ours runs.
pub const OOM_SCORE_ADJUST: i32 = 100;

/// Longest that a stop may take before systemd ends it: more than any guest may be given (600 s).
const STOP_LIMIT: Duration = Duration::from_secs(620);

/// The id in a unit's name.
pub fn vm_of(unit: &str) -> Option<VmId> {
    unit.strip_prefix(PREFIX)?
        .strip_suffix(".service")?
        .parse()
        .ok()
}

/// The machine that a VM is on this host.
pub fn machine(layout: &Layout, id: VmId, vm: &DesiredVm) -> Machine {
    Machine {
        id,
        name: vm.name.clone(),
        vcpus: vm.vcpus,
        memory_mib: vm.memory_mib,
        boot: match &vm.kernel {
            None => Boot::Disk,
            Some(kernel) => Boot::Kernel {
                kernel: layout.image(&kernel.kernel.sha256),
                initrd: kernel
                    .initrd
                    .as_ref()
                    .map(|initrd| layout.image(&initrd.sha256)),
                command_line: kernel.command_line.clone(),
            },
        },
        disks: vm
            .disks
            .iter()
            .map(|disk| DiskFile {
                serial: disk.id.to_string(),
                path: layout.disk(id, &disk.id),
            })
            .collect(),
        seed: Some(layout.seed(id)),
        interfaces: vm
            .interfaces
            .iter()
            .map(|interface| Nic {
                tap: interface.tap.clone(),
                mac: interface.mac.clone(),
                mtu: interface.mtu,
            })
            .collect(),
        runtime_dir: layout.runtime(id),
    }
}

/// The unit that runs a VM.
pub fn service(
    layout: &Layout,
    hypervisor: &dyn Hypervisor,
    accelerator: Accelerator,
    stop_program: &str,
    id: VmId,
    vm: &DesiredVm,
) -> TransientService {
    let machine = machine(layout, id, vm);
    let Launch {
        argv,
        devices,
        memory_bytes,
        tasks,
        generates_code,
        keeps_output,
    } = hypervisor.launch(&machine, accelerator);
    let (restart, remain_after_exit) = match vm.restart_policy {
        // The unit stays when the guest powers itself down: that is how it is known that it was started.
        RestartPolicy::OnFailure => (Restart::OnFailure, true),
        RestartPolicy::Never => (Restart::No, true),
        RestartPolicy::Always => (Restart::Always, false),
    };
    let mut readable: Vec<PathBuf> = vm
        .image_files()
        .into_iter()
        .map(|file| layout.image(&file.sha256))
        .collect();
    readable.push(layout.notes(id));
    readable.push(stop_program.into());
    let mut environment = vec![
        (
            REBOOT_GENERATION.to_owned(),
            vm.reboot_generation.to_string(),
        ),
        (ACCELERATOR.to_owned(), accelerator.to_string()),
        (STOP_PROGRAM.to_owned(), stop_program.to_owned()),
    ];
    if keeps_output {
        environment.push((CONSOLE.to_owned(), KEPT.to_owned()));
    }
    TransientService {
        name: id.unit_name(),
        description: format!("VM {} of {}/{}", vm.name, vm.org, vm.project),
        slice: nested_slice(&["photon", "tenants", vm.org.as_str(), vm.project.as_str()]),
        user: id.unix_user(),
        exec_start: argv,
        exec_stop: Some(vec![
            stop_program.to_owned(),
            "power-down".to_owned(),
            hypervisor
                .power_socket(&machine.runtime_dir)
                .display()
                .to_string(),
            "--timeout-file".to_owned(),
            layout.stop_timeout(id).display().to_string(),
        ]),
        environment,
        // At shutdown the guests still have their network while they are asked to power down.
        after: vec!["systemd-networkd.service".to_owned()],
        restart,
        remain_after_exit,
        stop_timeout: STOP_LIMIT,
        limits: Limits {
            memory_bytes,
            cpus: vm.vcpus,
            cpu_weight: 100,
            io_weight: 100,
            tasks,
            oom_score_adjust: OOM_SCORE_ADJUST,
        },
        sandbox: Sandbox {
            devices,
            writable: vec![layout.vm(id)],
            readable,
            runtime_directory: layout.runtime_name(id),
            deny_write_execute: !generates_code,
        },
    }
}

/// What a unit is doing, in the plan's words. `panicked` is the run that was noted for its kernel's panic.
pub fn observed(status: &ServiceStatus, panicked: Option<&str>) -> Unit {
    let run = Run {
        reboot_generation: status
            .variable(REBOOT_GENERATION)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0),
        accelerator: status.variable(ACCELERATOR).unwrap_or_default().to_owned(),
        started_at: status.started_at,
        keeps_output: status.variable(CONSOLE) == Some(KEPT),
    };
    if status.job.as_deref() == Some("stop") {
        return Unit::Stopping(run);
    }
    match status.active {
        ActiveState::Active if status.sub == "exited" => Unit::Exited(run),
        ActiveState::Active => Unit::Running(run),
        ActiveState::Activating => Unit::Starting(run),
        ActiveState::Deactivating => Unit::Stopping(run),
        ActiveState::Failed => {
            let panicked = panicked.is_some_and(|it| it == Run::name(run.started_at));
            Unit::Failed(run, failure(status, panicked))
        }
        ActiveState::Inactive if status.job.is_some() => Unit::Starting(run),
        // Loaded, but with nothing of it left: systemd is about to forget it.
        ActiveState::Inactive => Unit::Absent,
    }
}

/// Why a unit failed, for people.
fn failure(status: &ServiceStatus, panicked: bool) -> String {
    let number = status.exit_status;
    if panicked && status.result == "exit-code" {
        return "the guest panicked: its kernel says why on the console".to_owned();
    }
    let reason = match status.result.as_str() {
        // systemd.exec(5), "Process exit codes".
        "exit-code" if (200..=243).contains(&number) => {
            format!("its process could not be set up by systemd (status {number})")
        }
        "exit-code" => format!("its process ended with status {number}"),
        "signal" | "core-dump" => format!("its process was ended by signal {number}"),
        "oom-kill" => "its process needed more memory than it may have".to_owned(),
        "start-limit-hit" if panicked => {
            "the guest panicked again and again and is not restarted any more".to_owned()
        }
        "start-limit-hit" => "it failed again and again and is not restarted any more".to_owned(),
        "timeout" => "it took too long".to_owned(),
        other => format!("it failed ({other})"),
    };
    format!("{reason}; the host's journal of {} has more", status.name)
}
