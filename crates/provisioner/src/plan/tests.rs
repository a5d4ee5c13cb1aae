use proptest::prelude::*;

use super::*;
use crate::model::Hardware;

const LIMIT: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn machine(state: State) -> Machine {
    let address = "192.0.2.9".parse().unwrap();
    let mut machine = Machine::discovered(Hardware::default(), address, at(0));
    machine.state = state;
    machine.name = Some("node02".into());
    machine
}

fn observed(machines: Vec<Machine>, units: Vec<(MachineId, Unit)>, now: SystemTime) -> Observed {
    Observed {
        now,
        machines,
        units,
        directories: Vec::new(),
        can_install: true,
        limit: LIMIT,
    }
}

#[test]
fn an_installation_begins_with_the_first_report_after_the_approval() {
    let mut approved = machine(State::Approved);
    approved.state_changed_at = at(100);
    // Its last report came before it was approved: it may run from its disk by now.
    approved.reported_at = at(99);
    assert_eq!(plan(&observed(vec![approved.clone()], vec![], at(101))), []);
    approved.reported_at = at(105);
    let start = [Step::Start(approved.id)];
    assert_eq!(
        plan(&observed(vec![approved.clone()], vec![], at(106))),
        start
    );
    // But not when that was long ago.
    let late = at(105) + RECENT;
    assert_eq!(plan(&observed(vec![approved.clone()], vec![], late)), []);
    let mut without = observed(vec![approved], vec![], at(106));
    without.can_install = false;
    assert_eq!(plan(&without), []);
}

#[test]
fn the_result_of_the_unit_is_the_result_of_the_installation() {
    let mut installing = machine(State::Installing);
    installing.state_changed_at = at(0);
    let id = installing.id;
    let with = |unit: Option<Unit>, now| {
        let units = unit.map(|unit| (id, unit)).into_iter().collect();
        plan(&observed(vec![installing.clone()], units, now))
    };
    assert_eq!(with(Some(Unit::Running), at(60)), []);
    assert_eq!(with(Some(Unit::Done), at(60)), [Step::Installed(id)]);
    let failed = with(Some(Unit::Failed("status 1".into())), at(60));
    assert_eq!(failed, [Step::Fail(id, "status 1".into())]);
    let [Step::Fail(_, why)] = &with(None, at(60))[..] else {
        panic!("a vanished unit is a failure")
    };
    assert!(
        why.contains("interrupted; `photon machine reinstall node02`"),
        "{why}"
    );
    let [Step::Fail(_, why)] = &with(Some(Unit::Running), at(3601))[..] else {
        panic!("it took too long")
    };
    assert!(why.contains("60 minutes"), "{why}");
}

#[test]
fn an_installed_machine_has_to_enrol_in_time() {
    let mut installed = machine(State::Installing);
    installed.state_changed_at = at(0);
    installed.installed_at = Some(at(600));
    let id = installed.id;
    let with =
        |units: Vec<(MachineId, Unit)>, now| plan(&observed(vec![installed.clone()], units, now));
    assert_eq!(with(vec![], at(700)), []);
    assert_eq!(with(vec![(id, Unit::Done)], at(700)), [Step::Forget(id)]);
    assert!(
        matches!(&with(vec![], at(3601))[..], [Step::Fail(_, why)] if why.contains("not enrolled"))
    );
}

#[test]
fn what_is_left_of_an_installation_that_was_given_up_is_cleared_away() {
    for state in [
        State::Retired,
        State::Failed,
        State::Approved,
        State::Joined,
    ] {
        let machine = machine(state);
        let id = machine.id;
        let with = |unit| plan(&observed(vec![machine.clone()], vec![(id, unit)], at(10)));
        let host = state == State::Joined;
        let stop = [Step::Stop(id)];
        assert_eq!(
            with(Unit::Running),
            if host { &[][..] } else { &stop[..] },
            "{state}"
        );
        assert_eq!(with(Unit::Done), [Step::Forget(id)], "{state}");
        let mut directory = observed(vec![machine.clone()], vec![], at(10));
        directory.directories = vec![id];
        assert_eq!(plan(&directory), [Step::Forget(id)], "{state}");
    }
}

#[test]
fn only_so_many_machines_are_installed_at_once() {
    let mut machines: Vec<Machine> = (0..20).map(|_| machine(State::Approved)).collect();
    for machine in &mut machines {
        machine.reported_at = at(5);
    }
    let steps = plan(&observed(machines, vec![], at(6)));
    assert_eq!(steps.len(), AT_ONCE);
}

prop_compose! {
    fn any_machine()(state in 0..State::ALL.len(), reported in 0_u64..9000, changed in 0_u64..9000,
                     installed in prop::option::of(0_u64..9000)) -> Machine {
        let mut machine = machine(State::ALL[state]);
        machine.reported_at = at(reported);
        machine.state_changed_at = at(changed);
        machine.installed_at = installed.map(at);
        machine
    }
}

prop_compose! {
    fn any_observation()(machines in prop::collection::vec(any_machine(), 0..6),
                         units in prop::collection::vec(prop::option::of(0..3), 6),
                         directories in prop::collection::vec(any::<bool>(), 6),
                         now in 0_u64..12_000, can_install: bool) -> Observed {
        let units = machines.iter().zip(units).filter_map(|(machine, unit)| {
            let unit = match unit? {
                0 => Unit::Running,
                1 => Unit::Done,
                _ => Unit::Failed("status 1".into()),
            };
            Some((machine.id, unit))
        }).collect();
        let directories = machines.iter().zip(directories)
            .filter_map(|(machine, there)| there.then_some(machine.id)).collect();
        Observed { now: at(now), machines, units, directories, can_install, limit: LIMIT }
    }
}

proptest! {
    /// Whatever is seen, an installer is started only for a machine that is approved and was heard of since.
    #[test]
    fn nothing_but_an_approved_machine_is_ever_wiped(observed in any_observation()) {
        for step in plan(&observed) {
            if let Step::Start(id) = step {
                let machine = observed.machines.iter().find(|machine| machine.id == id).unwrap();
                prop_assert_eq!(machine.state, State::Approved);
                prop_assert!(machine.reported_at > machine.state_changed_at);
                prop_assert!(!observed.units.iter().any(|(unit, _)| *unit == id));
            }
        }
    }

    /// Nothing is told to fail that is a host.
    #[test]
    fn only_an_installation_can_fail(observed in any_observation()) {
        for step in plan(&observed) {
            if let Step::Fail(id, _) | Step::Installed(id) = step {
                let machine = observed.machines.iter().find(|machine| machine.id == id).unwrap();
                prop_assert_eq!(machine.state, State::Installing);
            }
        }
    }
}
