use serde_json::json;

use super::*;
use crate::hypervisor::Qemu;

fn vm(policy: &str) -> DesiredVm {
    serde_json::from_value(json!({
        "org": "acme-corp", "project": "web", "name": "a", "hostname": "a", "vcpus": 2, "memory_mib": 128,
        "power": "on", "restart_policy": policy, "reboot_generation": 4, "user_data": "password: hunter2",
        "disks": [{"id": "root", "size_bytes": 1 << 20}],
        "kernel": {"kernel": {"sha256": "a".repeat(64), "size_bytes": 1, "source": {"path": "/k"}}},
    }))
    .unwrap()
}

fn made(policy: &str) -> TransientService {
    let id = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap();
    let qemu = Qemu::new("/usr/bin/qemu-system-x86_64");
    let layout = Layout::host("/var/lib/photoncloud/plasmavmc-agent");
    service(
        &layout,
        &qemu,
        Accelerator::Tcg,
        "/bin/agent",
        id,
        &vm(policy),
    )
}

#[test]
fn a_vm_sees_its_own_files_and_no_others() {
    let unit = made("on_failure");
    let state = "/var/lib/photoncloud/plasmavmc-agent";
    let id = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
    assert_eq!(
        unit.sandbox.writable,
        [PathBuf::from(format!("{state}/vms/{id}"))]
    );
    let image = format!("{state}/images/{}", "a".repeat(64));
    let notes = format!("/run/photoncloud/vm-notes/{id}");
    assert_eq!(
        unit.sandbox.readable,
        [image, notes, "/bin/agent".to_owned()].map(PathBuf::from)
    );
    assert_eq!(
        unit.sandbox.runtime_directory,
        format!("photoncloud/vm/{id}")
    );
    assert_eq!(unit.user, "pvm-6f0c1d2e");
    assert_eq!(unit.slice, "photon-tenants-acme\\x2dcorp-web.slice");
}

#[test]
fn nothing_secret_is_in_what_everybody_can_read() {
    assert!(!format!("{:?}", made("always").properties()).contains("hunter2"));
}

#[test]
fn the_restart_policy_is_systemds() {
    let restarts = ["on_failure", "always", "never"].map(|policy| {
        let unit = made(policy);
        (unit.restart, unit.remain_after_exit)
    });
    assert_eq!(
        restarts,
        [
            (Restart::OnFailure, true),
            (Restart::Always, false),
            (Restart::No, true)
        ]
    );
}

fn status(active: ActiveState, sub: &str) -> ServiceStatus {
    ServiceStatus {
        name: "photon-vm-6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e.service".to_owned(),
        active,
        sub: sub.to_owned(),
        result: "success".to_owned(),
        exit_status: 0,
        environment: made("always")
            .environment
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        started_at: None,
        job: None,
    }
}

#[test]
fn what_was_started_is_read_back_from_the_unit() {
    let run = Run {
        reboot_generation: 4,
        accelerator: "tcg".to_owned(),
        started_at: None,
        keeps_output: false,
    };
    use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};
    let seen = |active, sub| observed(&status(active, sub), None);
    assert_eq!(seen(Active, "running"), Unit::Running(run.clone()));
    assert_eq!(seen(Active, "exited"), Unit::Exited(run.clone()));
    assert_eq!(
        seen(Activating, "auto-restart"),
        Unit::Starting(run.clone())
    );
    assert_eq!(seen(Deactivating, "stop"), Unit::Stopping(run.clone()));
    assert_eq!(seen(Inactive, "dead"), Unit::Absent);
    assert!(matches!(seen(Failed, "failed"), Unit::Failed(..)));
    let mut stopping = status(Active, "running");
    stopping.job = Some("stop".to_owned());
    assert_eq!(observed(&stopping, None), Unit::Stopping(run));
    let name = &stopping.name;
    assert_eq!(vm_of(name).unwrap().unit_name(), *name);
    assert_eq!(vm_of("photon-vm-x.service"), None);
}

/// A VM that an earlier release started has another console than one of today.
#[test]
fn a_unit_remembers_what_console_it_was_started_with() {
    let mut running = status(ActiveState::Active, "running");
    let keeps = |status: &ServiceStatus| match observed(status, None) {
        Unit::Running(run) => run.keeps_output,
        other => panic!("{other:?}"),
    };
    assert!(!keeps(&running));
    running.environment.push("PHOTON_CONSOLE=kept".to_owned());
    assert!(keeps(&running));
}

#[test]
fn a_failure_is_told_in_words() {
    let mut failed = status(ActiveState::Failed, "failed");
    (failed.result, failed.exit_status) = ("exit-code".to_owned(), 1);
    let Unit::Failed(_, reason) = observed(&failed, None) else {
        panic!("not failed");
    };
    assert!(
        reason.contains("status 1") && reason.contains("journal of photon-vm-"),
        "{reason}"
    );
}

#[test]
fn a_panic_is_told_of_the_run_that_it_was_in_alone() {
    let mut failed = status(ActiveState::Failed, "failed");
    (failed.result, failed.exit_status) = ("exit-code".to_owned(), 1);
    failed.started_at = Some(std::time::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042));
    let reason = |status: &ServiceStatus, note| match observed(status, note) {
        Unit::Failed(_, reason) => reason,
        other => panic!("{other:?}"),
    };
    let this_run = Some("1700000000000042");
    assert!(reason(&failed, this_run).starts_with("the guest panicked"));
    assert!(reason(&failed, Some("1700000000000041")).contains("status 1"));
    failed.result = "signal".to_owned();
    assert!(reason(&failed, this_run).contains("signal 1"));
    failed.result = "start-limit-hit".to_owned();
    assert!(reason(&failed, this_run).starts_with("the guest panicked again and again"));
}

/// When the host has no memory left: a program of ours, then a virtual machine, then the system's own services.
#[test]
fn a_vm_goes_after_our_programs_and_before_the_systems() {
    let unit = made("always");
    let own = include_str!("../../../../modules/units/plasmavmc-agent.service");
    let own: i32 = own
        .lines()
        .find_map(|line| line.strip_prefix("OOMScoreAdjust="))
        .unwrap()
        .parse()
        .unwrap();
    // The kernel adds 1000 points for all of the memory: not even a VM that has most of it goes first.
    let adjust = unit.limits.oom_score_adjust;
    assert!(own >= adjust + 900, "{own} and {adjust}");
    assert!(adjust > 0);
}
