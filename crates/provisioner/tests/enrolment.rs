//! A machine's way to a certificate and to the next ones, with the program's own steps against the real server: IAM,
//! the gRPC listener with TLS, the boot listener. Only systemd is a fake, so that no installer runs: its part, handing
//! the host a token, is done by the tests.

use photon_api::inventory::Answer;
use photon_api::provisioner::v1::{EnrolRequest, MachineState, RenewRequest, ReportReadyRequest};
use photon_enrol::report::{Posted, post};
use tonic::Code;

use photon_testcloud::provisioner::{HostRoot, Rack, renamed, request_for};

#[tokio::test]
async fn a_machine_enrols_renews_and_is_ready() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    let id = cluster.install(&host).await;

    let done = host.enrol().await.unwrap();
    assert!(
        done.contains("enrolled") && done.contains("node02"),
        "{done}"
    );
    assert!(!host.pki("join-token").exists() && !host.pki("enrolment-key.pem").exists());
    assert_eq!(cluster.machine(&id).await.state(), MachineState::Joined);
    // A second run finds that all is done.
    let done = host.enrol().await.unwrap();
    assert!(done.contains("has its certificate"), "{done}");

    host.ready().await.unwrap();
    host.ready().await.unwrap();
    let machine = cluster.machine(&id).await;
    assert_eq!(machine.state(), MachineState::Ready);
    assert_eq!(machine.version, env!("CARGO_PKG_VERSION"));

    let before = (host.read("host.pem"), host.read("host-key.pem"));
    assert!(host.renew(false).await.unwrap().contains("not due yet"));
    host.renew(true).await.unwrap();
    let after = (host.read("host.pem"), host.read("host-key.pem"));
    assert!(
        before.0 != after.0 && before.1 != after.1,
        "a new key and a new certificate"
    );
    // The new pair is one that the server takes.
    host.ready().await.unwrap();
    assert_ne!(
        machine.certificate_serial,
        cluster.machine(&id).await.certificate_serial
    );
}

/// A month in a cupboard: it comes back by a token, as what it was, and nothing of it is installed.
#[tokio::test]
async fn a_host_whose_certificate_has_ended_comes_back_by_a_token() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    let id = cluster.install(&host).await;
    host.enrol().await.unwrap();
    host.ready().await.unwrap();
    let before = cluster.machine(&id).await;
    let installations = cluster.installations();
    cluster.let_expire(&host, 1);
    let ended = host.read("host.pem");

    // Without a token there is no way, and each command says which one there is.
    for refused in [
        host.enrol().await.unwrap_err(),
        host.renew(true).await.unwrap_err(),
        host.ready().await.unwrap_err(),
    ] {
        assert!(refused.is_lasting(), "{refused}");
        let said = refused.to_string();
        assert!(
            said.contains("photon machine token") && said.contains("join-token"),
            "{said}"
        );
        assert!(!said.contains("reinstall"), "{said}");
    }
    // Nor does the server take it.
    let ready = ReportReadyRequest::default();
    assert!(
        cluster
            .enrolment(Some(&host))
            .report_ready(ready)
            .await
            .is_err()
    );

    // One that is not this host's changes nothing.
    host.invite(&cluster, "guessed");
    let refused = host.enrol().await.unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert_eq!(host.read("host.pem"), ended);

    host.invite(&cluster, &cluster.join_token("node02").await.unwrap().token);
    let done = host.enrol().await.unwrap();
    assert!(done.contains("enrolled"), "{done}");
    assert!(!host.pki("join-token").exists() && !host.pki("enrolment-key.pem").exists());
    assert_ne!(host.read("host.pem"), ended);
    host.ready().await.unwrap();
    host.renew(true).await.unwrap();
    let after = cluster.machine(&id).await;
    assert_eq!(after.state(), MachineState::Ready);
    assert_eq!(after.state_changed_at, before.state_changed_at);
    assert_eq!(cluster.installations(), installations);
    assert!(cluster.netboots(&host).await.boot_disk);
}

/// Its key may have been seen: with a token it gets another, and the old one is worth nothing.
#[tokio::test]
async fn a_host_gives_up_a_certificate_that_holds_for_a_token_alone() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    cluster.install(&host).await;
    host.enrol().await.unwrap();
    let old = (host.read("host.pem"), host.read("host-key.pem"));
    let token = cluster.join_token("node02").await.unwrap().token;
    let done = host.enrol().await.unwrap();
    assert!(done.contains("has its certificate"), "{done}");
    // By one that is refused nothing is lost.
    host.invite(&cluster, "guessed");
    let refused = host.enrol().await.unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert!(
        refused.to_string().contains("while its certificate holds"),
        "{refused}"
    );
    assert_eq!((host.read("host.pem"), host.read("host-key.pem")), old);
    host.ready().await.unwrap();

    host.invite(&cluster, &token);
    let done = host.enrol().await.unwrap();
    assert!(done.contains("enrolled"), "{done}");
    assert_ne!(host.read("host-key.pem"), old.1);
    host.ready().await.unwrap();
    // The power went before the token was forgotten: it is not sent again, and nothing changes.
    let new = host.read("host.pem");
    std::fs::copy(host.pki("host-key.pem"), host.pki("enrolment-key.pem")).unwrap();
    std::fs::write(host.pki("join-token"), &token).unwrap();
    let done = host.enrol().await.unwrap();
    assert!(done.contains("has its certificate"), "{done}");
    assert_eq!(host.read("host.pem"), new);
    assert!(!host.pki("join-token").exists());
    // With the old pair it is nobody.
    std::fs::write(host.pki("host.pem"), old.0).unwrap();
    std::fs::write(host.pki("host-key.pem"), old.1).unwrap();
    let refused = host.ready().await.unwrap_err();
    assert!(
        refused.is_lasting() && refused.to_string().contains("enrolled again"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_unapproved_machine_gets_nothing() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    let answer = cluster.netboots(&host).await;
    assert_eq!(
        (answer.state.as_str(), answer.name.as_str()),
        ("discovered", "")
    );
    assert!(!answer.boot_disk);
    assert_eq!(cluster.installations(), 0);
    host.invite(&cluster, "guessed");
    let refused = host.enrol().await.unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert!(refused.to_string().contains("Unauthenticated"), "{refused}");
    assert_eq!(
        cluster.machine(&answer.id).await.state(),
        MachineState::Discovered
    );
    // Nor is it let in to what hosts may do.
    let renewal = RenewRequest {
        certificate_request_pem: request_for("node02").0,
    };
    let refused = cluster.enrolment(None).renew(renewal).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_and_a_replay_is_not() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    let id = cluster.install(&host).await;
    let token = host.read("join-token").trim().to_owned();
    let (request, _) = request_for("node02");
    let request = EnrolRequest {
        token: token.clone(),
        certificate_request_pem: request,
        identity: Some(host.machine_identity()),
    };
    let mut client = cluster.enrolment(None);
    let first = client.enrol(request.clone()).await.unwrap().into_inner();
    let again = client.enrol(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.certificate_pem, again.certificate_pem);
    // The same token with another key: somebody else has it.
    let replay = EnrolRequest {
        certificate_request_pem: request_for("node02").0,
        ..request
    };
    let refused = client.enrol(replay).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let refused = host.enrol().await.unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert!(!host.pki("host.pem").exists());
    assert_eq!(cluster.machine(&id).await.state(), MachineState::Joined);
}

#[tokio::test]
async fn a_token_is_of_one_machine() {
    let cluster = Rack::start().await;
    let (host, other) = (HostRoot::new(1, "node02"), HostRoot::new(2, "node03"));
    cluster.install(&host).await;
    let id = cluster.install(&other).await;
    let stolen = host.read("join-token");
    other.invite(&cluster, stolen.trim());
    let refused = other.enrol().await.unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert_eq!(cluster.machine(&id).await.state(), MachineState::Installing);
    // It was not used up by that: its own machine may still come.
    host.enrol().await.unwrap();
}

#[tokio::test]
async fn a_stolen_request_is_worth_nothing() {
    let cluster = Rack::start().await;
    let (host, thief) = (HostRoot::new(1, "node02"), HostRoot::new(2, "node03"));
    cluster.install(&host).await;
    cluster.install(&thief).await;
    let (stolen, _) = request_for("node02");
    // With the thief's own token: it is for another name.
    let as_thief = EnrolRequest {
        token: thief.read("join-token").trim().into(),
        certificate_request_pem: stolen.clone(),
        identity: Some(thief.machine_identity()),
    };
    let refused = cluster.enrolment(None).enrol(as_thief.clone()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    // Changed to the thief's name: its signature does not hold.
    let changed = EnrolRequest {
        certificate_request_pem: renamed(&stolen, "node02", "node03"),
        ..as_thief
    };
    let refused = cluster.enrolment(None).enrol(changed).await.unwrap_err();
    assert!(
        matches!(
            refused.code(),
            Code::Unauthenticated | Code::InvalidArgument
        ),
        "{refused:?}"
    );
    // As a host of its own name, asking for another's.
    thief.enrol().await.unwrap();
    host.enrol().await.unwrap();
    let renewal = RenewRequest {
        certificate_request_pem: stolen,
    };
    let refused = cluster.enrolment(Some(&thief)).renew(renewal).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(
            refused.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
        ),
        "{refused:?}"
    );
    thief.ready().await.unwrap();
}

#[tokio::test]
async fn a_retired_machine_is_let_in_no_more() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    let id = cluster.install(&host).await;
    host.enrol().await.unwrap();
    cluster.retire(&id, "node02").await.unwrap();
    for refused in [
        host.ready().await.unwrap_err(),
        host.renew(true).await.unwrap_err(),
    ] {
        assert!(refused.is_lasting(), "{refused}");
    }
    assert_eq!(cluster.machine(&id).await.state(), MachineState::Retired);
}

#[tokio::test]
async fn a_host_trusts_its_own_cluster_alone() {
    let (ours, theirs) = (Rack::start().await, Rack::start().await);
    let host = HostRoot::new(1, "node02");
    ours.install(&host).await;
    // Its way leads to somebody else's provisioner: no token is sent there.
    host.lead_to(&theirs);
    let failed = host.enrol().await.unwrap_err();
    assert!(
        failed.to_string().contains("invalid peer certificate"),
        "{failed}"
    );
    assert!(host.pki("join-token").exists());
    host.lead_to(&ours);
    host.enrol().await.unwrap();
}

/// The power goes after each step in turn; the host comes to its certificate all the same.
#[tokio::test]
async fn enrolment_goes_on_after_a_crash_at_any_step() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    let id = cluster.install(&host).await;
    let token = host.read("join-token");
    host.enrol().await.unwrap();
    let (certificate, key) = (host.read("host.pem"), host.read("host-key.pem"));
    // After the key was made, or the answer was lost: the certificate is not there, the key is.
    std::fs::rename(host.pki("host-key.pem"), host.pki("enrolment-key.pem")).unwrap();
    std::fs::remove_file(host.pki("host.pem")).unwrap();
    std::fs::write(host.pki("join-token"), &token).unwrap();
    host.enrol().await.unwrap();
    assert_eq!(
        (host.read("host.pem"), host.read("host-key.pem")),
        (certificate, key)
    );
    assert!(!host.pki("join-token").exists());
    host.ready().await.unwrap();
    assert_eq!(cluster.machine(&id).await.state(), MachineState::Ready);
}

#[tokio::test]
async fn an_installed_machine_that_netboots_is_sent_to_its_disk() {
    let cluster = Rack::start().await;
    let host = HostRoot::new(1, "node02");
    cluster.install(&host).await;
    host.enrol().await.unwrap();
    host.ready().await.unwrap();
    let before = cluster.installations();
    let answer: Answer = cluster.netboots(&host).await;
    assert!(answer.boot_disk, "{answer:?}");
    assert_eq!(answer.state, "ready");
    assert_eq!(cluster.installations(), before);
    let wrong = post(&cluster.boot_url("/inventory"), b"{".to_vec())
        .await
        .unwrap();
    assert!(
        matches!(wrong, Posted::Refused { status: 400, .. }),
        "{wrong:?}"
    );
}
