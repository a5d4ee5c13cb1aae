//! Installations: what is started, what its end means, and what must never be wiped.

use photon_api::provisioner::v1::*;
use tonic::Code;

use photon_testcloud::provisioner::{Rack, mode};
use photon_testkit::until;

fn unit(id: &str) -> String {
    format!("photon-install-{id}.service")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_installer_is_given_what_it_needs_and_no_secret_on_its_command_line() {
    let rack = Rack::start().await;
    let (id, token) = rack.installing(2, "node02").await;
    let task = rack.systemd().task(&unit(&id)).unwrap();
    let extra = rack.extra(&id);
    let expected = [
        "/bin/install-machine",
        "--flake",
        "/etc/nixos#node02",
        "--target-host",
        "root@127.0.0.1",
        "--extra-files",
        extra.to_str().unwrap(),
        "--phases",
        "disko,install,reboot",
        "-i",
        "/etc/ssh-key",
    ];
    assert_eq!(task.exec_start, expected);
    assert!(!format!("{task:?}").contains(&token));
    assert_eq!(token.len(), 64, "256 bits in hex");
    assert_eq!(mode(extra.parent().unwrap()), 0o700);
    for (path, expected) in [
        ("var/lib/photoncloud", 0o755),
        ("var/lib/photoncloud/pki", 0o700),
        ("var/lib/photoncloud/pki/join-token", 0o600),
        ("var/lib/photoncloud/pki/ca.pem", 0o644),
        ("etc/photoncloud/provisioner-endpoint", 0o644),
    ] {
        assert_eq!(mode(&extra.join(path)), expected, "{path}");
    }
    let endpoint = std::fs::read_to_string(extra.join("etc/photoncloud/provisioner-endpoint"));
    assert!(endpoint.unwrap().starts_with("https://127.0.0.1:"));
    // Nor in the store: there is only its digest.
    for file in std::fs::read_dir(rack.place().state_dir("provisioner"))
        .unwrap()
        .flatten()
    {
        if file.file_type().unwrap().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            let found = bytes.windows(token.len()).any(|it| it == token.as_bytes());
            assert!(!found, "the token is in {}", file.path().display());
        }
    }

    // It netboots while the installer works, and from its disk when that is done.
    assert!(rack.boot(2).await.contains("/boot/bzImage"));
    assert!(!rack.report(2).await.boot_disk);
    rack.systemd().exits(&unit(&id), 0);
    until(async || rack.machine(&id).await.installed_at).await;
    assert!(rack.boot(2).await.ends_with("exit\n"));
    assert!(rack.report(2).await.boot_disk);
    until(async || (!extra.exists()).then_some(())).await;
    until(async || rack.systemd().task(&unit(&id)).is_none().then_some(())).await;
    assert_eq!(rack.machine(&id).await.state(), MachineState::Installing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_provisioner_goes_on_watching_the_installer() {
    let mut rack = Rack::start().await;
    let (id, token) = rack.installing(2, "node02").await;
    rack.stop("provisioner").await;
    rack.start_again("provisioner");
    let machine = until(async || {
        let request = GetMachineRequest { id: id.clone() };
        let request = rack.operator(request);
        let answer = rack.machines().get_machine(request).await.ok()?;
        answer.into_inner().machine
    })
    .await;
    assert_eq!(machine.state(), MachineState::Installing);
    // What ends while it is away is seen when it is back.
    rack.stop("provisioner").await;
    rack.systemd().exits(&unit(&id), 0);
    rack.start_again("provisioner");
    until(async || {
        let request = rack.operator(GetMachineRequest { id: id.clone() });
        let answer = rack.machines().get_machine(request).await.ok()?;
        answer.into_inner().machine?.installed_at
    })
    .await;
    rack.enrol(2, "node02", &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_a_power_cut_ended_is_told_and_begun_again_by_hand_alone() {
    let mut rack = Rack::start().await;
    let (id, token) = rack.installing(2, "node02").await;
    rack.stop("provisioner").await;
    rack.systemd().power_cut();
    rack.start_again("provisioner");
    let failed = until(async || {
        let request = rack.operator(GetMachineRequest { id: id.clone() });
        let answer = rack.machines().get_machine(request).await.ok()?;
        let machine = answer.into_inner().machine?;
        (machine.state() == MachineState::Failed).then_some(machine)
    })
    .await;
    assert!(
        failed
            .reason
            .contains("interrupted; `photon machine reinstall node02`"),
        "{}",
        failed.reason
    );
    until(async || (!rack.extra(&id).exists()).then_some(())).await;
    // Its token is of no use, and reports begin nothing.
    let status = rack.enrol(2, "node02", &token).await.err().unwrap();
    assert!(status.message().contains("failed"), "{status}");
    rack.report(2).await;
    assert_eq!(rack.machine(&id).await.state(), MachineState::Failed);
    assert!(rack.systemd().task(&unit(&id)).is_none());

    rack.reinstall(&id, "node02").await.unwrap();
    let second = rack.installer_runs(2, &id).await;
    assert_ne!(second, token);
    let status = rack.enrol(2, "node02", &token).await.err().unwrap();
    assert!(status.message().contains("given up"), "{status}");
    rack.enrol(2, "node02", &second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_machine_is_never_wiped_but_by_a_confirmed_reinstallation() {
    let rack = Rack::start().await;
    let (id, host) = rack.ready(2, "node02").await;
    until(async || rack.systemd().task(&unit(&id)).is_none().then_some(())).await;
    let before = rack.machine(&id).await;
    // It netboots by accident, or somebody reports in its name, with other hardware even.
    let mut forged = photon_testcloud::provisioner::report_of(2);
    forged.memory_mib = 1;
    forged.disks.clear();
    assert_eq!(rack.post_report(&forged).await.0, 200);
    assert!(rack.report(2).await.boot_disk);
    assert!(rack.boot(2).await.ends_with("exit\n"));
    let status = rack.approve(&id, "node02").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    for typed in ["", "node03"] {
        let status = rack.reinstall(&id, typed).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("wipes the disks"), "{status}");
    }
    let after = rack.machine(&id).await;
    assert_eq!(
        (after.state(), &after.inventory),
        (MachineState::Ready, &before.inventory)
    );
    assert!(rack.systemd().task(&unit(&id)).is_none());

    // Confirmed, it waits for the machine to netboot; its certificate and identities end at once.
    let approved = rack.reinstall(&id, "node02").await.unwrap();
    assert_eq!(approved.state(), MachineState::Approved);
    let status = rack
        .enrolment(Some(&host))
        .report_ready(ReportReadyRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    until(async || (rack.has_identities("node02").await == [false, false]).then_some(())).await;
    assert!(
        rack.systemd().task(&unit(&id)).is_none(),
        "not before it reports"
    );
    assert!(rack.boot(2).await.contains("/boot/bzImage"));
    rack.installer_runs(2, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_stops_the_installer() {
    let rack = Rack::start().await;
    let (id, token) = rack.installing(2, "node02").await;
    let status = rack.reinstall(&id, "node02").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    rack.retire(&id, "node02").await.unwrap();
    // The fake's stop ends when it is told to.
    until(async || {
        use photon_host::systemd::{ActiveState, ServiceManager};
        let units = rack.systemd().services("photon-install-").await.unwrap();
        units
            .iter()
            .any(|it| it.active == ActiveState::Deactivating)
            .then_some(())
    })
    .await;
    rack.systemd().stopped(&unit(&id));
    until(async || (!rack.extra(&id).exists()).then_some(())).await;
    let status = rack.enrol(2, "node02", &token).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}
