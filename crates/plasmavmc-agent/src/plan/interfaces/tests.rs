use serde_json::json;

use super::*;
use crate::plan::{Observed, Phase, RestartPolicy};

fn vm(taps: &[&str]) -> DesiredVm {
    let interfaces = taps
        .iter()
        .map(|tap| json!({"tap": tap, "mac": "fa:16:3e:00:00:01", "name": tap}));
    serde_json::from_value(json!({
        "org": "acme", "project": "web", "name": "a", "hostname": "a", "vcpus": 1, "memory_mib": 64, "power": "on",
        "interfaces": interfaces.collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn running(held: &[(&str, Held)], free: usize) -> ObservedVm {
    ObservedVm {
        unit: Unit::Running(Run::default()),
        interfaces: Some(Interfaces {
            held: held
                .iter()
                .map(|(tap, held)| ((*tap).to_owned(), *held))
                .collect(),
            free,
            has_places: true,
            tried: BTreeMap::new(),
        }),
        ..ObservedVm::default()
    }
}

fn tried(mut there: ObservedVm, tap: &str, attempt: Attempt) -> ObservedVm {
    there
        .interfaces
        .as_mut()
        .unwrap()
        .tried
        .insert(tap.to_owned(), attempt);
    there
}

fn planned(vm: &DesiredVm, there: &ObservedVm, links: &[&str]) -> (Vec<Step>, String) {
    plan(
        vm,
        there,
        &links.iter().map(|link| (*link).to_owned()).collect(),
    )
}

fn plug(tap: &str) -> Step {
    Step::Plug {
        tap: tap.to_owned(),
    }
}

fn unplug(tap: &str) -> Step {
    Step::Unplug {
        tap: tap.to_owned(),
    }
}

#[test]
fn a_new_interface_is_plugged_once_its_tap_is_there() {
    let there = running(&[("a", Held::Plugged)], 7);
    let wanted = vm(&["a", "b"]);
    let (steps, told) = planned(&wanted, &there, &["a"]);
    assert!(steps.is_empty());
    assert!(told.contains("waits for the network interface b"), "{told}");
    assert_eq!(
        planned(&wanted, &there, &["a", "b"]),
        (vec![plug("b")], String::new())
    );
    // Half of it was done when the agent was killed.
    let bare = running(&[("a", Held::Plugged), ("b", Held::Bare)], 7);
    assert_eq!(planned(&wanted, &bare, &["a"]).0, [plug("b")]);
    let there = running(&[("a", Held::Plugged), ("b", Held::Plugged)], 6);
    assert_eq!(
        planned(&wanted, &there, &["a", "b"]),
        (vec![], String::new())
    );
}

#[test]
fn one_that_goes_is_unplugged_until_its_tap_is_closed_and_before_others_come() {
    let wanted = vm(&["b"]);
    let there = running(&[("a", Held::Plugged)], 7);
    assert_eq!(
        planned(&wanted, &there, &["a", "b"]).0,
        [unplug("a"), plug("b")]
    );
    let asked = tried(there, "a", Attempt::Asked);
    let (steps, told) = planned(&wanted, &asked, &["b"]);
    assert_eq!(steps, [plug("b")]);
    assert!(
        told.contains("asked to let go of the interface on a"),
        "{told}"
    );
    // It has, whenever it was asked.
    let bare = tried(running(&[("a", Held::Bare)], 7), "a", Attempt::Asked);
    assert_eq!(planned(&vm(&[]), &bare, &[]).0, [unplug("a")]);
    assert_eq!(
        planned(&vm(&[]), &running(&[], 8), &["a"]),
        (vec![], String::new())
    );
}

#[test]
fn what_does_not_work_is_told_and_not_hammered() {
    let failed = || Attempt::Failed("no memory".to_owned());
    let (steps, told) = planned(&vm(&["a"]), &tried(running(&[], 8), "a", failed()), &["a"]);
    assert!(
        steps.is_empty() && told.contains("can't be plugged in yet: no memory"),
        "{told}"
    );
    let there = tried(running(&[("a", Held::Plugged)], 8), "a", failed());
    let (steps, told) = planned(&vm(&[]), &there, &["a"]);
    assert!(
        steps.is_empty() && told.contains("can't be taken out yet: no memory"),
        "{told}"
    );
}

#[test]
fn without_a_place_it_waits_for_the_next_start() {
    let (steps, told) = planned(&vm(&["a", "b"]), &running(&[], 1), &["a", "b"]);
    assert_eq!(steps, [plug("a")]);
    assert!(
        told.contains("interface b is there when the VM is stopped and started"),
        "{told}"
    );
    // Started by the release before.
    let mut there = running(&[("a", Held::Fixed)], 0);
    there.interfaces.as_mut().unwrap().has_places = false;
    let (steps, told) = planned(&vm(&["b"]), &there, &["a", "b"]);
    assert!(steps.is_empty(), "{steps:?}");
    assert!(
        told.contains("the interface on a stays") && told.contains("left no place"),
        "{told}"
    );
    // What it was started with, and keeps, is no news.
    assert_eq!(
        planned(&vm(&["a"]), &there, &["a"]),
        (vec![], String::new())
    );
}

#[test]
fn a_port_is_held_until_it_is_known_not_to_be() {
    let names = |taps: &[&str]| Some(taps.iter().map(|tap| (*tap).to_owned()).collect());
    let there = running(&[("a", Held::Bare), ("b", Held::Fixed)], 8);
    assert_eq!(taps(&there), names(&["a", "b"]));
    let unknown = ObservedVm {
        interfaces: None,
        ..there.clone()
    };
    assert_eq!(taps(&unknown), None);
    let stopping = ObservedVm {
        unit: Unit::Stopping(Run::default()),
        ..there
    };
    assert_eq!(taps(&stopping), None);
    assert_eq!(taps(&ObservedVm::default()), names(&[]));
}

#[test]
fn a_unit_that_would_open_what_is_gone_is_made_anew() {
    let run = Run {
        taps: Some(["a".to_owned(), "b".to_owned()].into()),
        ..Run::default()
    };
    let failed = ObservedVm {
        unit: Unit::Failed(run, "status 1".into()),
        ..ObservedVm::default()
    };
    let id = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap();
    let planned = |vm: DesiredVm| {
        let mut observed = Observed::default();
        let desired = crate::plan::desired::Desired {
            vms: [(id, vm)].into(),
            ..Default::default()
        };
        observed.desired = desired.into();
        observed.vms.insert(id, failed.clone());
        let mut plan = crate::plan::plan(&observed);
        (
            plan.steps.remove(&id).unwrap_or_default(),
            plan.reports[&id].phase,
        )
    };
    assert_eq!(planned(vm(&["a"])), (vec![Step::Clear], Phase::Starting));
    assert_eq!(planned(vm(&["a", "b", "c"])), (vec![], Phase::Failed));
    let never = DesiredVm {
        restart_policy: RestartPolicy::Never,
        ..vm(&["a"])
    };
    assert_eq!(planned(never), (vec![], Phase::Failed));
}
