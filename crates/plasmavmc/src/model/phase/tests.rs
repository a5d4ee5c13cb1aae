use photon_resource::{Meta, PrincipalId, Time, VmId};
use proptest::prelude::*;

use super::*;
use crate::model::{Hypervisor, RestartPolicy, Size, Spec, UserData};

fn vm(stage: Stage, phase: Phase, power_state: PowerState) -> Vm {
    Vm {
        id: VmId::generate(),
        meta: Meta {
            org_id: "acme".parse().unwrap(),
            project_id: "web".parse().unwrap(),
            owner: PrincipalId::generate(),
            name: "one".into(),
            description: String::new(),
            labels: Default::default(),
            created_at: Time::from_micros(1_700_000_000_123_456),
            updated_at: Time::from_micros(1_700_000_000_123_456),
            revision: 1,
        },
        spec: Spec {
            size: Size {
                vcpus: 1,
                memory_mib: 64,
            },
            disks: Vec::new(),
            kernel_image: None,
            kernel_command_line: String::new(),
            network: Vec::new(),
            user_data: UserData::default(),
            ssh_authorized_keys: Vec::new(),
            hostname: "one".into(),
            restart_policy: RestartPolicy::OnFailure,
            hypervisor: Hypervisor::Qemu,
            metadata: Default::default(),
        },
        spec_revision: 1,
        user_data_changes: 0,
        power_state,
        reboot_generation: 0,
        force: false,
        stop_timeout_seconds: 30,
        stage,
        node: "host".into(),
        ports: Vec::new(),
        leaving: Vec::new(),
        change: 1,
        status: Status {
            phase,
            ..Status::new()
        },
    }
}

fn placed(phase: Phase, power_state: PowerState) -> Vm {
    vm(Stage::Placed, phase, power_state)
}

fn report(phase: Phase) -> Report {
    Report {
        phase: Some(phase),
        message: String::new(),
        accelerator: String::new(),
        unit: String::new(),
        started_at: None,
        reboot_generation: 0,
        gone: false,
        taps: None,
    }
}

const STOP: Command = Command::Stop {
    force: false,
    timeout_seconds: 30,
};
const REBOOT: Command = Command::Reboot { force: false };

#[test]
fn refusals_say_what_would_be_accepted() {
    let refusal = |mut vm: Vm, command| vm.command(command).unwrap_err().to_string();
    use PowerState::{Off, On};
    let cases = [
        (
            refusal(placed(Phase::Running, On), Command::Start),
            "VM 'one' is RUNNING: it can be started when it is STOPPED or FAILED",
        ),
        (
            refusal(placed(Phase::Stopped, Off), STOP),
            "VM 'one' is STOPPED: it can be stopped when it is PROVISIONING, STARTING, RUNNING, STOPPING or FAILED",
        ),
        (
            refusal(placed(Phase::Stopped, Off), REBOOT),
            "VM 'one' is STOPPED: it can be rebooted when it is RUNNING",
        ),
        (
            refusal(vm(Stage::Removing, Phase::Deleting, On), Command::Start),
            "VM 'one' is DELETING: it can be started when it is STOPPED or FAILED",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(message, expected);
    }
}

#[test]
fn stop_then_start_goes_through_its_phases() {
    let mut vm = placed(Phase::Running, PowerState::On);
    assert!(vm.command(STOP).unwrap());
    assert_eq!(vm.status.phase, Phase::Stopping);
    // The host has taken it up, and the guest still runs.
    vm.observe(&report(Phase::Running));
    assert_eq!(vm.status.phase, Phase::Stopping);
    vm.observe(&report(Phase::Stopped));
    assert_eq!(vm.status.phase, Phase::Stopped);
    assert!(vm.command(Command::Start).unwrap());
    assert_eq!(vm.status.phase, Phase::Starting);
    assert_eq!(vm.reboot_generation, 0);
    vm.observe(&report(Phase::Running));
    assert_eq!(vm.status.phase, Phase::Running);
}

#[test]
fn a_vm_that_ended_by_itself_is_started_anew() {
    for ended in [Phase::Stopped, Phase::Failed] {
        let mut vm = placed(Phase::Running, PowerState::On);
        vm.observe(&report(ended));
        assert_eq!(vm.status.phase, ended);
        vm.command(Command::Start).unwrap();
        assert_eq!(vm.reboot_generation, 1, "{ended:?}");
        assert_eq!(vm.status.phase, Phase::Starting);
    }
}

#[test]
fn a_reboot_is_over_when_the_host_has_carried_it_out() {
    let mut vm = placed(Phase::Running, PowerState::On);
    vm.command(REBOOT).unwrap();
    vm.observe(&report(Phase::Running));
    assert_eq!(vm.status.phase, Phase::Stopping);
    vm.observe(&Report {
        reboot_generation: 1,
        ..report(Phase::Running)
    });
    assert_eq!(vm.status.phase, Phase::Running);
}

#[test]
fn deletion_waits_for_the_host_only_if_the_host_knew() {
    let mut unknown = vm(Stage::Attaching, Phase::Provisioning, PowerState::On);
    unknown.command(Command::Delete).unwrap();
    assert_eq!(unknown.stage, Stage::Releasing);

    let mut known = placed(Phase::Running, PowerState::On);
    known.command(Command::Delete).unwrap();
    assert_eq!(known.stage, Stage::Removing);
    assert!(
        !known.command(Command::Delete).unwrap(),
        "a second time changes nothing"
    );
    known.observe(&report(Phase::Running));
    assert_eq!(
        (known.stage, known.status.phase),
        (Stage::Removing, Phase::Deleting)
    );
    known.observe(&Report {
        gone: true,
        ..report(Phase::Deleting)
    });
    assert_eq!(known.stage, Stage::Releasing);
}

#[test]
fn gone_counts_only_for_a_vm_that_is_being_deleted() {
    let mut vm = placed(Phase::Running, PowerState::On);
    vm.observe(&Report {
        gone: true,
        ..report(Phase::Running)
    });
    assert_eq!(vm.stage, Stage::Placed);
}

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Provisioning),
        Just(Phase::Starting),
        Just(Phase::Running),
        Just(Phase::Stopping),
        Just(Phase::Stopped),
        Just(Phase::Failed),
        Just(Phase::Deleting),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Command),
    Attached,
    Report(Phase, u64, bool),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Ask(Command::Start)),
        any::<bool>().prop_map(|force| Step::Ask(Command::Stop {
            force,
            timeout_seconds: 30
        })),
        any::<bool>().prop_map(|force| Step::Ask(Command::Reboot { force })),
        Just(Step::Ask(Command::Delete)),
        Just(Step::Attached),
        (phases(), 0u64..4, any::<bool>())
            .prop_map(|(phase, generation, gone)| Step::Report(phase, generation, gone)),
    ]
}

proptest! {
    /// Whatever is asked and reported in whatever order: a deletion is never undone, a VM is shown
    /// DELETING exactly while it is being deleted, and a host that knew of a VM says `gone` before the
    /// server lets its ports go.
    #[test]
    fn no_order_of_events_breaks_the_life(steps in proptest::collection::vec(steps(), 0..30), off in any::<bool>()) {
        let power = if off { PowerState::Off } else { PowerState::On };
        let mut vm = vm(Stage::Attaching, Phase::Provisioning, power);
        let (mut placed, mut said_gone, mut generation) = (false, false, 0);
        for step in steps {
            let was_deleting = vm.stage.is_deleting();
            match step {
                Step::Ask(command) => { let _ = vm.command(command); }
                Step::Attached => if vm.stage == Stage::Attaching { vm.stage = Stage::Placed; placed = true; },
                Step::Report(phase, reboot_generation, gone) => {
                    said_gone |= gone && vm.stage == Stage::Removing;
                    vm.observe(&Report { reboot_generation, gone, ..report(phase) });
                }
            }
            prop_assert!(!was_deleting || vm.stage.is_deleting());
            prop_assert_eq!(vm.status.phase == Phase::Deleting, vm.stage.is_deleting());
            prop_assert!(vm.stage != Stage::Releasing || !placed || said_gone);
            prop_assert!(vm.reboot_generation >= generation);
            generation = vm.reboot_generation;
        }
    }
}
