//! From discovery to approval, and out again.

use std::time::Duration;

use photon_api::inventory::{Interface, Report};
use photon_api::provisioner::v1::*;
use tonic::Code;

use photon_testcloud::provisioner::{Rack, mac, report_of};
use photon_testkit::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_known_again_and_waits_for_an_operator() {
    let rack = Rack::start().await;
    let answer = rack.report(2).await;
    assert_eq!(
        (answer.state.as_str(), answer.boot_disk),
        ("discovered", false)
    );
    assert_eq!(rack.report(2).await.id, answer.id);
    let other = rack.report(3).await;
    assert_ne!(other.id, answer.id);

    // By a MAC address alone, or with a card more.
    let mut partly = report_of(2);
    partly.serial.clear();
    partly.uuid = "Not Settable".into();
    let (status, body) = rack.post_report(&partly).await;
    assert!(status == 200 && body.contains(&answer.id), "{body}");
    let mut more = report_of(2);
    more.interfaces.push(Interface {
        mac: "5254.0000.0077".into(),
        ..Interface::default()
    });
    assert_eq!(rack.post_report(&more).await.0, 200);
    for id in [
        answer.id.as_str(),
        "S-2",
        "52-54-00-00-00-77",
        "525400000002",
        &photon_testcloud::provisioner::uuid(2).to_uppercase(),
    ] {
        assert_eq!(rack.machine(id).await.id, answer.id, "{id}");
    }
    let machine = rack.machine(&answer.id).await;
    let inventory = machine.inventory.unwrap();
    assert_eq!(inventory.interfaces.len(), 2);
    assert_eq!(inventory.disks[0].size_bytes, 8 << 30);
    assert_eq!(machine.reported_address, "127.0.0.1");

    let request = rack.operator(ListMachinesRequest {
        state: MachineState::Discovered.into(),
        ..Default::default()
    });
    let listed = rack.machines().list_machines(request).await;
    let listed = listed.unwrap().into_inner().machines;
    let ids: Vec<&str> = listed.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [answer.id.as_str(), other.id.as_str()]);
    // Nobody has approved it: nothing is installed, whatever it reports.
    assert!(
        rack.systemd()
            .task(&format!("photon-install-{}.service", answer.id))
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_part_is_told_and_changes_nothing() {
    let rack = Rack::start().await;
    let (second, third) = (rack.report(2).await.id, rack.report(3).await.id);
    let mut mixed = report_of(2);
    mixed.interfaces[0].mac = mac(3);
    let (status, body) = rack.post_report(&mixed).await;
    assert_eq!(status, 409, "{body}");
    for id in [&second, &third] {
        let machine = rack.machine(id).await;
        assert_eq!(machine.conflicts.len(), 1, "{:?}", machine.conflicts);
        assert!(body.contains(id.as_str()), "{body}");
    }
    assert_eq!(rack.post_report(&mixed).await.0, 409);
    assert_eq!(rack.machine(&second).await.conflicts.len(), 1, "told once");
    let own = rack.machine(&mac(2)).await;
    assert_eq!(own.id, second, "the index is as it was");
    assert_eq!(rack.events("provision:machines:conflict").await.len(), 2);
    // Taking the one out frees its parts.
    rack.retire(&third, &third).await.unwrap();
    assert_eq!(rack.post_report(&mixed).await.0, 200);
}

/// What vendors give to every board of a model: a sample UUID, a placeholder for a serial number, the address of a BMC's
/// card.
#[tokio::test(flavor = "multi_thread")]
async fn two_boards_of_one_model_are_two_machines() {
    let rack = Rack::start().await;
    let uuid = "8a95d198-7f46-11e5-bf8b-08002704d48e";
    let sample_uuid = |n| Report {
        uuid: uuid.into(),
        serial: String::new(),
        ..report_of(n)
    };
    let placeholder = |n| Report {
        serial: "Fill me in, please".into(),
        ..report_of(n)
    };
    let bmc = |n| {
        let mut report = report_of(n);
        report.interfaces.push(Interface {
            name: "enp0s20f0u14".into(),
            mac: "be:3a:f2:b6:05:9f".into(),
            ..Interface::default()
        });
        report
    };
    let mut seen: Vec<(Report, String)> = Vec::new();
    for report in [
        sample_uuid(1),
        sample_uuid(2),
        placeholder(3),
        placeholder(4),
        bmc(5),
        bmc(6),
    ] {
        let answer = rack.report_as(&report).await;
        assert!(seen.iter().all(|(_, id)| *id != answer.id), "{report:?}");
        seen.push((report, answer.id));
    }
    rack.approve(&seen[0].1, "node02").await.unwrap();
    // Each is known again, and has its own hardware.
    for (report, id) in &seen {
        assert_eq!(rack.report_as(report).await.id, *id, "{report:?}");
        let machine = rack.machine(id).await;
        assert!(machine.conflicts.is_empty(), "{:?}", machine.conflicts);
        let had = machine.inventory.unwrap().interfaces;
        let macs = |mac: &String| report.interfaces.iter().any(|it| it.mac == *mac);
        assert!(had.iter().all(|it| macs(&it.mac)), "{had:?}");
    }
    // Nor does the one boot what is for the other.
    let path = |n| {
        let mac = mac(n).replace(':', "%3a");
        format!("/boot.ipxe?mac={mac}&serial=&uuid={uuid}")
    };
    for (n, called) in [(1, "node02"), (2, &seen[1].1)] {
        let (_, script) = rack.http("GET", &path(n), &[], b"").await;
        assert!(script.contains(&format!("machine {called} (")), "{script}");
    }
    let (_, script) = rack.http("GET", &path(9), &[], b"").await;
    assert!(script.contains("not known yet"), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_must_be_a_host_of_the_flake_and_free() {
    let rack = Rack::start().await;
    let (second, third) = (rack.report(2).await.id, rack.report(3).await.id);
    for (name, code, why) in [
        ("Node02", Code::InvalidArgument, "beginning with a letter"),
        ("2node", Code::InvalidArgument, "beginning with a letter"),
        ("node02#x", Code::InvalidArgument, "attribute of the flake"),
        ("node09", Code::FailedPrecondition, "it has node02, node03"),
        ("node01", Code::AlreadyExists, "node01"),
    ] {
        let status = rack.approve(&second, name).await.unwrap_err();
        assert_eq!(status.code(), code, "{name}: {status}");
        assert!(status.message().contains(why), "{name}: {status}");
    }
    let elsewhere = ApproveMachineRequest {
        id: second.clone(),
        name: "node02".into(),
        address: "192.0.2.99".into(),
        ..Default::default()
    };
    let status = rack
        .machines()
        .approve_machine(rack.operator(elsewhere))
        .await
        .unwrap_err();
    assert!(status.message().contains("192.0.2.2"), "{status}");

    let approved = rack.approve(&second, "node02").await.unwrap();
    assert_eq!(approved.address, "192.0.2.2");
    let again = rack.approve(&mac(2), "node02").await.unwrap();
    assert_eq!(again.revision, approved.revision, "it was so already");
    let status = rack.approve(&second, "node03").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let status = rack.approve(&third, "node02").await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    let status = rack.approve("no-such", "node03").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let stale = ApproveMachineRequest {
        id: third.clone(),
        name: "node03".into(),
        expected_revision: 77,
        ..Default::default()
    };
    let status = rack
        .machines()
        .approve_machine(rack.operator(stale))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_frees_the_name_and_takes_the_identities() {
    let rack = Rack::start().await;
    let (id, host) = rack.ready(2, "node02").await;
    assert_eq!(rack.has_identities("node02").await, [true, true]);
    for typed in ["", "node03"] {
        let status = rack.retire(&id, typed).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("'node02'"), "{status}");
    }
    let retired = rack.retire(&id, "node02").await.unwrap();
    assert_eq!(
        (retired.state(), retired.name.as_str()),
        (MachineState::Retired, "")
    );
    until(async || (rack.has_identities("node02").await == [false, false]).then_some(())).await;
    let renew = RenewRequest {
        certificate_request_pem: photon_testcloud::provisioner::csr("node02", &host.key),
    };
    let status = rack.enrolment(Some(&host)).renew(renew).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("retired"), "{status}");
    assert!(rack.boot(2).await.contains("taken out"));
    assert_eq!(rack.report(2).await.state, "retired");
    // Its name goes to another machine, and that one's identities stay.
    let (_, host) = rack.ready(3, "node02").await;
    let ready = ReportReadyRequest::default();
    rack.enrolment(Some(&host))
        .report_ready(ready)
        .await
        .unwrap();
    assert_eq!(rack.has_identities("node02").await, [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_step_and_what_the_installer_writes() {
    let rack = Rack::start().await;
    let id = rack.report(2).await.id;
    let request = rack.operator(WatchMachineRequest { id: id.clone() });
    let mut told = rack
        .machines()
        .watch_machine(request)
        .await
        .unwrap()
        .into_inner();
    let mut states = Vec::new();
    let mut log = String::new();
    let mut step = 0;
    loop {
        let message = tokio::time::timeout(Duration::from_secs(60), told.message()).await;
        let message = message.expect("news within a minute").unwrap().unwrap();
        if let Some(machine) = &message.machine
            && states.last() != Some(&machine.state())
        {
            states.push(machine.state());
        }
        log.push_str(&message.log);
        if states == [MachineState::Discovered] && step == 0 {
            step = 1;
            rack.approve(&id, "node02").await.unwrap();
            rack.installer_runs(2, &id).await;
            let task = rack
                .systemd()
                .task(&format!("photon-install-{id}.service"))
                .unwrap();
            std::fs::write(task.output, "formatting /dev/vda\nboom\n").unwrap();
        }
        if log.contains("boom") && step == 1 {
            step = 2;
            rack.systemd()
                .exits(&format!("photon-install-{id}.service"), 7);
        }
        if states.last() == Some(&MachineState::Failed) {
            let machine = message.machine.unwrap();
            assert!(machine.reason.contains("status 7"), "{}", machine.reason);
            assert_eq!(machine.log_tail, "formatting /dev/vda\nboom");
            break;
        }
    }
    assert_eq!(
        states,
        [
            MachineState::Discovered,
            MachineState::Approved,
            MachineState::Installing,
            MachineState::Failed
        ]
    );
    assert_eq!(log, "formatting /dev/vda\nboom\n");
}
