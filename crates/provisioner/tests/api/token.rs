//! Join tokens that operators ask for: a host comes back as it is.

use std::path::Path;
use std::time::{Duration, SystemTime};

use photon_api::provisioner::v1::*;
use rcgen::KeyPair;
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use crate::certificates::renewed;
use photon_testcloud::provisioner::{Rack, csr, enrol_request};

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, why: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(why), "no '{why}' in {status}");
}

/// Whether any file below `folder` has these bytes.
fn is_kept(folder: &Path, secret: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_kept(&path, secret);
        }
        let content = std::fs::read(&path).unwrap();
        content
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_host_enrols_again_and_only_its_new_certificate_counts() {
    let rack = Rack::start().await;
    let (id, first) = rack.ready(2, "node02").await;
    let second = renewed(&rack, &first, "node02").await.unwrap();
    let before = rack.machine(&id).await;
    let given = rack.join_token("node02").await.unwrap();
    let good = SystemTime::try_from(given.expires_at.unwrap()).unwrap();
    let minutes = u64::from(rack.settings().token_minutes);
    let good = good.duration_since(SystemTime::now()).unwrap();
    assert!(good <= Duration::from_secs(minutes * 60), "{good:?}");
    assert!(good > Duration::from_secs((minutes - 1) * 60), "{good:?}");
    // Until it has enrolled, what it has counts.
    let second = renewed(&rack, &second, "node02").await.unwrap();
    assert_eq!(rack.machine(&id).await.state(), MachineState::Ready);

    let key = KeyPair::generate().unwrap();
    let request = enrol_request(2, &csr("node02", &key), &given.token);
    let answer = rack.enrolment(None).enrol(request.clone()).await.unwrap();
    let answer = answer.into_inner();
    for old in [&first, &second] {
        let status = renewed(&rack, old, "node02").await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("enrolled again"), "{status}");
    }
    let host = photon_testcloud::provisioner::Host {
        key,
        certificate: answer.certificate_pem.clone(),
    };
    let host = renewed(&rack, &host, "node02").await.unwrap();
    rack.enrolment(Some(&host))
        .report_ready(ReportReadyRequest {
            version: "2".into(),
        })
        .await
        .unwrap();
    // A lost answer is given again, another key is a replay.
    let again = rack.enrolment(None).enrol(request).await.unwrap();
    assert_eq!(again.into_inner(), answer);
    refused(
        rack.enrol(2, "node02", &given.token).await.map(|_| ()),
        Code::Unauthenticated,
        "used already, for another key",
    );

    // It is what it was, and nothing is installed: it boots from its disk.
    let after = rack.machine(&id).await;
    assert_eq!(after.state(), MachineState::Ready);
    assert_eq!(after.state_changed_at, before.state_changed_at);
    assert_eq!((after.name, after.version), (before.name, "2".to_owned()));
    assert_ne!(after.certificate_serial, before.certificate_serial);
    assert!(rack.report(2).await.boot_disk);
    assert!(rack.boot(2).await.ends_with("exit\n"));
    assert_eq!(rack.has_identities("node02").await, [true, true]);
    assert_eq!(rack.events("provision:machines:install").await.len(), 1);

    let issued = rack.events("provision:machines:issueToken").await;
    assert_eq!(issued.len(), 1, "{issued:#?}");
    assert_eq!(issued[0].principal_name, "operator");
    assert_eq!(issued[0].resource, format!("system/machines/{id}"));
    let enrolled = rack.events("provision:enrolment:enrol").await;
    let done: Vec<_> = enrolled
        .iter()
        .filter(|event| event.principal_name == "host node02")
        .collect();
    assert_eq!(done.len(), 2, "{enrolled:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_kept_by_nobody_and_a_repeated_call_does_not_tell_it() {
    let rack = Rack::start().await;
    rack.ready(2, "node02").await;
    let request = IssueJoinTokenRequest {
        machine: "node02".into(),
        confirm_name: "node02".into(),
        request_id: "one".into(),
    };
    let mut machines = rack.machines();
    let first = machines
        .issue_join_token(rack.operator(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.token.len(), 64);
    assert!(!is_kept(
        &rack.place().state_dir("provisioner"),
        &first.token
    ));
    let digest = hex::encode(Sha256::digest(first.token.as_bytes()));
    assert!(
        is_kept(&rack.place().state_dir("provisioner"), &digest),
        "it is looked for where it would be"
    );
    let again = machines
        .issue_join_token(rack.operator(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.token.as_str(), again.expires_at),
        ("", first.expires_at)
    );
    assert_eq!(rack.events("provision:machines:issueToken").await.len(), 1);
    // It is still the one that is good; asking anew makes it useless.
    let second = rack.join_token("node02").await.unwrap();
    assert_ne!(second.token, first.token);
    let no = Code::Unauthenticated;
    refused(
        rack.enrol(2, "node02", &first.token).await.map(|_| ()),
        no,
        "not known",
    );
    rack.enrol(2, "node02", &second.token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_good_for_its_host_alone_and_not_after_a_reinstallation() {
    let rack = Rack::start().await;
    let (id, _) = rack.ready(2, "node02").await;
    rack.ready(3, "node03").await;
    let given = rack.join_token("node02").await.unwrap().token;
    let no = Code::Unauthenticated;
    refused(
        rack.enrol(3, "node03", &given).await.map(|_| ()),
        no,
        "of machine 'node02'",
    );
    refused(
        rack.enrol(2, "node03", &given).await.map(|_| ()),
        no,
        "for the host 'node02'",
    );
    rack.reinstall(&id, "node02").await.unwrap();
    refused(
        rack.enrol(2, "node02", &given).await.map(|_| ()),
        no,
        "not known",
    );
    assert_eq!(rack.machine(&id).await.state(), MachineState::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_host_gets_one_and_only_by_its_name() {
    let rack = Rack::start().await;
    let id = rack.report(2).await.id;
    let no = Code::FailedPrecondition;
    refused(rack.join_token(&id).await, no, "it is no host");
    rack.approve(&id, "node02").await.unwrap();
    refused(
        rack.join_token("node02").await,
        no,
        "its installation leaves a join token",
    );
    let token = rack.installer_runs(2, &id).await;
    refused(
        rack.join_token("node02").await,
        no,
        "its installation leaves a join token",
    );
    rack.enrol(2, "node02", &token).await.unwrap();
    // Found by its serial number, but that is not its name.
    refused(
        rack.join_token("S-2").await,
        no,
        "name, 'node02', not 'S-2'",
    );
    rack.join_token("node02").await.unwrap();
    assert_eq!(rack.machine(&id).await.state(), MachineState::Joined);
    rack.retire(&id, "node02").await.unwrap();
    refused(rack.join_token(&id).await, no, "it is no host");

    let failing = rack.installing(3, "node03").await.0;
    rack.systemd()
        .exits(&format!("photon-install-{failing}.service"), 1);
    rack.reaches(&failing, MachineState::Failed).await;
    refused(
        rack.join_token("node03").await,
        no,
        "photon machine reinstall",
    );
    assert_eq!(rack.events("provision:machines:issueToken").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_admits_nobody_and_says_what_does() {
    let mut rack = Rack::start().await;
    let (id, host) = rack.ready(2, "node02").await;
    rack.stop("provisioner").await;
    rack.change(|settings| settings.token_minutes = 0);
    rack.start_again("provisioner");
    let given = rack.join_token("node02").await.unwrap().token;
    refused(
        rack.enrol(2, "node02", &given).await.map(|_| ()),
        Code::Unauthenticated,
        "`photon machine token node02` gives another",
    );
    // What it had counts as before.
    renewed(&rack, &host, "node02").await.unwrap();
    assert_eq!(rack.machine(&id).await.state(), MachineState::Ready);
}
