use photon_reconcile::Plan as _;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const TAP: &str = "pt0123456789a";

fn id() -> VmId {
    "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap()
}

fn sha256() -> Sha256Hex {
    "0".repeat(64).parse().unwrap()
}

fn vm() -> DesiredVm {
    serde_json::from_value(json!({
        "org": "acme", "project": "web", "name": "a", "hostname": "a", "vcpus": 1, "memory_mib": 64,
        "power": "on", "reboot_generation": 1, "stop_timeout_seconds": 40,
        "interfaces": [{"tap": TAP, "mac": "fa:16:3e:00:00:01"}],
        "kernel": {"kernel": {"sha256": sha256(), "size_bytes": 3 << 20, "source": {"path": "/k"}}},
    }))
    .unwrap()
}

fn run(reboot_generation: u64) -> Run {
    Run {
        reboot_generation,
        accelerator: "tcg".to_owned(),
        started_at: Some(SystemTime::UNIX_EPOCH),
        keeps_output: false,
    }
}

/// A host on which everything that the VM needs is there.
fn host(vm: DesiredVm, unit: Unit) -> Observed {
    let there = ObservedVm {
        unit,
        prepared: Some(vm.preparation(id())),
        out_of_room: false,
        has_files: true,
        started: None,
    };
    Observed {
        desired: Arc::new(Desired {
            revision: 5,
            vms: [(id(), vm)].into(),
            ..Desired::default()
        }),
        vms: [(id(), there)].into(),
        interfaces: [TAP.to_owned()].into(),
        images: [sha256()].into(),
        ..Observed::default()
    }
}

fn steps(observed: &Observed) -> Vec<Step> {
    plan(observed).steps.remove(&id()).unwrap_or_default()
}

fn told(observed: &Observed) -> Report {
    plan(observed).reports.remove(&id()).unwrap()
}

#[test]
fn a_new_vm_is_fetched_then_prepared_then_started() {
    let mut host = host(vm(), Unit::Absent);
    host.vms.clear();
    host.images.clear();
    assert_eq!(steps(&host), [Step::Fetch { sha256: sha256() }]);

    host.fetching.insert(sha256(), 1 << 20);
    assert!(plan(&host).is_empty(), "it is on its way");
    assert_eq!(told(&host).message, "fetching images: 1 of 3 MiB");

    host.fetching.clear();
    host.images.insert(sha256());
    assert_eq!(steps(&host), [Step::Prepare, Step::Start]);
}

#[test]
fn no_vm_starts_before_its_interfaces_are_there() {
    let mut host = host(vm(), Unit::Absent);
    host.interfaces.clear();
    assert!(plan(&host).is_empty());
    let report = told(&host);
    assert_eq!(report.phase, Phase::Provisioning);
    assert!(report.message.contains(TAP), "{}", report.message);
    host.interfaces.insert(TAP.to_owned());
    assert_eq!(steps(&host), [Step::Start]);
}

#[test]
fn what_runs_is_left_alone() {
    let mut host = host(vm(), Unit::Running(run(1)));
    // Whatever went missing counts from the next start.
    host.images.clear();
    host.interfaces.clear();
    host.vms.get_mut(&id()).unwrap().prepared = None;
    assert!(plan(&host).is_empty());
    assert_eq!(told(&host).phase, Phase::Running);
}

#[test]
fn a_guest_that_stands_still_for_want_of_room_is_told_so_and_left_alone() {
    let mut host = host(vm(), Unit::Running(run(1)));
    host.vms.get_mut(&id()).unwrap().out_of_room = true;
    assert!(plan(&host).is_empty());
    let report = told(&host);
    assert_eq!(report.phase, Phase::Running);
    assert!(
        report.message.starts_with("halted: no room left"),
        "{}",
        report.message
    );
}

/// Each state of the unit, against each thing that can be wanted.
#[test]
fn every_state_leads_to_what_is_wanted() {
    type Change = fn(&mut DesiredVm);
    let on: Change = |_| {};
    let off: Change = |vm| vm.power = PowerState::Off;
    let cut: Change = |vm| (vm.power, vm.force) = (PowerState::Off, true);
    let reboot: Change = |vm| vm.reboot_generation = 2;
    let reset: Change = |vm| (vm.reboot_generation, vm.force) = (2, true);
    let delete: Change = |vm| vm.deleting = true;
    let failed = || Unit::Failed(run(1), "it failed".to_owned());
    let stop = Step::Stop {
        timeout_seconds: 40,
    };
    let at_once = [Step::Stop { timeout_seconds: 0 }, Step::Kill];
    let reset_2 = [Step::Reset { generation: 2 }];
    let cases: [(&str, Unit, Change, &[Step], Phase); 23] = [
        ("run", Unit::Running(run(1)), on, &[], Phase::Running),
        ("starts", Unit::Starting(run(1)), on, &[], Phase::Starting),
        ("guest off", Unit::Exited(run(1)), on, &[], Phase::Stopped),
        ("failed", failed(), on, &[], Phase::Failed),
        ("stops", Unit::Stopping(run(1)), on, &[], Phase::Stopping),
        (
            "off: run",
            Unit::Running(run(1)),
            off,
            std::slice::from_ref(&stop),
            Phase::Stopping,
        ),
        (
            "off: starts",
            Unit::Starting(run(1)),
            off,
            std::slice::from_ref(&stop),
            Phase::Stopping,
        ),
        (
            "off: stops",
            Unit::Stopping(run(1)),
            off,
            &[],
            Phase::Stopping,
        ),
        (
            "off: guest off",
            Unit::Exited(run(1)),
            off,
            &[Step::Clear],
            Phase::Stopped,
        ),
        ("off: failed", failed(), off, &[Step::Clear], Phase::Stopped),
        ("off: absent", Unit::Absent, off, &[], Phase::Stopped),
        (
            "cut: run",
            Unit::Running(run(1)),
            cut,
            &at_once,
            Phase::Stopping,
        ),
        (
            "cut: stops",
            Unit::Stopping(run(1)),
            cut,
            &[Step::Kill],
            Phase::Stopping,
        ),
        (
            "reboot: run",
            Unit::Running(run(1)),
            reboot,
            std::slice::from_ref(&stop),
            Phase::Stopping,
        ),
        (
            "reboot: done",
            Unit::Running(run(2)),
            reboot,
            &[],
            Phase::Running,
        ),
        (
            "reboot: guest off",
            Unit::Exited(run(1)),
            reboot,
            &[Step::Clear],
            Phase::Starting,
        ),
        (
            "reboot: failed",
            failed(),
            reboot,
            &[Step::Clear],
            Phase::Starting,
        ),
        (
            "reset: run",
            Unit::Running(run(1)),
            reset,
            &reset_2,
            Phase::Running,
        ),
        (
            "reset: done",
            Unit::Running(run(2)),
            reset,
            &[],
            Phase::Running,
        ),
        (
            "delete: run",
            Unit::Running(run(1)),
            delete,
            &at_once,
            Phase::Deleting,
        ),
        (
            "delete: stops",
            Unit::Stopping(run(1)),
            delete,
            &[Step::Kill],
            Phase::Deleting,
        ),
        (
            "delete: guest off",
            Unit::Exited(run(1)),
            delete,
            &[Step::Clear, Step::Remove],
            Phase::Deleting,
        ),
        (
            "delete: absent",
            Unit::Absent,
            delete,
            &[Step::Remove],
            Phase::Deleting,
        ),
    ];
    for (name, unit, change, expected, phase) in cases {
        let mut vm = vm();
        change(&mut vm);
        let host = host(vm, unit);
        assert_eq!(steps(&host), expected, "{name}");
        assert_eq!(told(&host).phase, phase, "{name}");
        assert!(!told(&host).gone, "{name}");
    }
}

#[test]
fn a_deleted_vm_is_gone_when_nothing_of_it_is_left() {
    let mut vm = vm();
    vm.deleting = true;
    let mut host = host(vm, Unit::Absent);
    host.vms.clear();
    assert!(plan(&host).is_empty());
    assert!(told(&host).gone);
}

#[test]
fn a_restart_policy_of_never_holds_over_a_reboot_of_the_host() {
    let mut never = vm();
    never.restart_policy = RestartPolicy::Never;
    let mut host = host(never.clone(), Unit::Absent);
    assert_eq!(steps(&host), [Step::Start], "it never ran");
    host.vms.get_mut(&id()).unwrap().started = Some(1);
    assert!(plan(&host).is_empty());
    assert_eq!(told(&host).phase, Phase::Stopped);
    // Its owner starts it again.
    never.reboot_generation = 2;
    host.desired = Arc::new(Desired {
        vms: [(id(), never.clone())].into(),
        ..Desired::default()
    });
    assert_eq!(steps(&host).last(), Some(&Step::Start));
    // Or stops it first, which makes the next start a new one.
    never.power = PowerState::Off;
    host.desired = Arc::new(Desired {
        vms: [(id(), never)].into(),
        ..Desired::default()
    });
    assert_eq!(steps(&host), [Step::Forget]);
}

#[test]
fn what_the_server_does_not_mention_is_not_touched() {
    let mut host = host(vm(), Unit::Running(run(1)));
    host.desired = Arc::new(Desired::default());
    assert!(plan(&host).is_empty());
    assert_eq!(told(&host).phase, Phase::Running);
    // Nor what it describes in a way that is not understood.
    host.desired = Arc::new(Desired {
        refused: [(id(), "no spec".to_owned())].into(),
        ..Desired::default()
    });
    assert!(plan(&host).is_empty());
    assert_eq!(told(&host).phase, Phase::Running);
    host.vms.clear();
    assert_eq!(told(&host).phase, Phase::Failed);
}

#[test]
fn a_vm_whose_step_failed_waits_and_says_why() {
    let mut host = host(vm(), Unit::Absent);
    host.held.insert(id(), "no space left".to_owned());
    assert!(plan(&host).is_empty());
    let report = told(&host);
    assert_eq!(
        (report.phase, report.message.as_str()),
        (Phase::Failed, "no space left")
    );
}

/// What the host does with a step, and what happens by itself.
fn carry_out(host: &mut Observed, step: &Step) {
    let vm = host.desired.vms[&id()].clone();
    let there = host.vms.entry(id()).or_default();
    match step {
        Step::Fetch { sha256 } => {
            host.images.insert(sha256.clone());
        }
        Step::Prepare => {
            there.prepared = Some(vm.preparation(id()));
            there.has_files = true;
        }
        Step::Start => {
            assert_eq!(there.unit, Unit::Absent, "never started twice");
            there.unit = Unit::Running(run(vm.reboot_generation));
            there.started = Some(vm.reboot_generation);
        }
        Step::Stop { .. } => {
            let stopping = there.unit.run().cloned().unwrap();
            there.unit = Unit::Stopping(stopping);
        }
        Step::Kill | Step::Clear => there.unit = Unit::Absent,
        Step::Reset { generation } => there.unit = Unit::Running(run(*generation)),
        Step::Forget => there.started = None,
        Step::Remove => {
            host.vms.remove(&id());
        }
    }
}

fn any_unit() -> impl Strategy<Value = Unit> {
    (0..3_u64, 0..6).prop_map(|(generation, kind)| {
        let run = run(generation);
        match kind {
            0 => Unit::Absent,
            1 => Unit::Starting(run),
            2 => Unit::Running(run),
            3 => Unit::Exited(run),
            4 => Unit::Stopping(run),
            _ => Unit::Failed(run, "it failed".to_owned()),
        }
    })
}

proptest! {
    /// From anywhere, the plans come to an end, and there the VM is as it should be.
    #[test]
    fn plans_reach_a_fixed_point(
        unit in any_unit(),
        (on, force, deleting, generation) in (any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u64),
        policy in 0..3_usize,
        (prepared, image, started) in (any::<bool>(), any::<bool>(), prop::option::of(0..3_u64)),
    ) {
        let mut vm = vm();
        vm.power = if on { PowerState::On } else { PowerState::Off };
        (vm.force, vm.deleting, vm.reboot_generation) = (force, deleting, generation);
        vm.restart_policy = [RestartPolicy::OnFailure, RestartPolicy::Always, RestartPolicy::Never][policy];
        let mut host = host(vm.clone(), unit);
        let there = host.vms.get_mut(&id()).unwrap();
        there.started = started;
        if !prepared {
            there.prepared = None;
        }
        if !image {
            host.images.clear();
        }
        for _ in 0..12 {
            let todo = steps(&host);
            for step in &todo {
                carry_out(&mut host, step);
            }
            // A stop and a start end by themselves some time.
            if let Some(there) = host.vms.get_mut(&id()) {
                match there.unit.clone() {
                    Unit::Stopping(_) if todo.is_empty() => there.unit = Unit::Absent,
                    Unit::Starting(run) if todo.is_empty() => there.unit = Unit::Running(run),
                    _ => {}
                }
            }
        }
        prop_assert!(plan(&host).is_empty(), "{:?}", plan(&host));
        let report = told(&host);
        if deleting {
            prop_assert!(report.gone && host.vms.is_empty());
        } else if on {
            prop_assert!(matches!(report.phase, Phase::Running | Phase::Stopped | Phase::Failed));
            if report.phase == Phase::Running {
                prop_assert!(report.reboot_generation >= generation);
            }
        } else {
            prop_assert_eq!(report.phase, Phase::Stopped);
            prop_assert_eq!(&host.vms[&id()].unit, &Unit::Absent);
        }
    }
}
