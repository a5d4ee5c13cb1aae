//! Join tokens: what they admit, and what they must not.

use photon_api::provisioner::v1::*;
use rcgen::KeyPair;
use tonic::{Code, Status};

use photon_testcloud::provisioner::{Rack, csr, enrol_request};
use photon_testkit::until;

fn refused(answer: Result<tonic::Response<EnrolResponse>, Status>, code: Code, why: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(why), "no '{why}' in {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_machine_becomes_a_host() {
    let rack = Rack::start().await;
    let (id, token) = rack.installing(2, "node02").await;
    rack.systemd()
        .exits(&format!("photon-install-{id}.service"), 0);
    let host = rack.enrol(2, "node02", &token).await.unwrap();
    let joined = rack.machine("node02").await;
    assert_eq!(joined.state(), MachineState::Joined);
    assert!(!joined.certificate_serial.is_empty());
    assert_eq!(
        rack.has_identities("node02").await,
        [true, true],
        "when Enrol answers"
    );
    let ready = ReportReadyRequest {
        version: "0.1.0".into(),
    };
    for _ in 0..2 {
        rack.enrolment(Some(&host))
            .report_ready(ready.clone())
            .await
            .unwrap();
    }
    let machine = rack.machine(&id).await;
    assert_eq!(
        (machine.state(), machine.version.as_str()),
        (MachineState::Ready, "0.1.0")
    );
    // Each step is an event, with who did it.
    for (action, who) in [
        ("provision:machines:report", ""),
        ("provision:machines:approve", "operator"),
        ("provision:machines:install", "photon-provisioner"),
        ("provision:machines:installed", "photon-provisioner"),
        ("provision:enrolment:enrol", "host node02"),
        ("provision:enrolment:ready", "host node02"),
    ] {
        let events = rack.events(action).await;
        let last = events
            .last()
            .unwrap_or_else(|| panic!("no event of {action}"));
        assert_eq!(last.principal_name, who, "{action}");
        assert_eq!(last.resource, format!("system/machines/{id}"));
    }
    assert_eq!(rack.events("provision:enrolment:ready").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_token_and_request_is_refused_by_name_and_recorded() {
    let rack = Rack::start().await;
    let (_, token) = rack.installing(2, "node02").await;
    let (_, others) = rack.installing(3, "node03").await;
    let mut client = rack.enrolment(None);
    let key = KeyPair::generate().unwrap();
    let own = csr("node02", &key);
    let no = Code::Unauthenticated;

    refused(
        client.enrol(enrol_request(2, &own, "")).await,
        no,
        "no join token",
    );
    let made_up = "0".repeat(64);
    refused(
        client.enrol(enrol_request(2, &own, &made_up)).await,
        no,
        "not known",
    );
    // The token of another machine: on this one, and for this one's name on the other.
    refused(
        client.enrol(enrol_request(2, &own, &others)).await,
        no,
        "of machine 'node03'",
    );
    // A stolen request: sent by the other machine, with its own token.
    let stolen = client.enrol(enrol_request(3, &own, &others)).await;
    refused(
        stolen,
        no,
        "for the host 'node03', the certificate request for 'node02'",
    );
    // A stolen token: sent by the other machine.
    let stolen = client
        .enrol(enrol_request(3, &csr("node03", &key), &token))
        .await;
    refused(stolen, no, "of machine 'node02'");
    // A name that was not approved.
    let other_name = client
        .enrol(enrol_request(2, &csr("node01", &key), &token))
        .await;
    refused(other_name, no, "for the host 'node02'");
    // No machine told.
    let mut nameless = enrol_request(2, &own, &token);
    nameless.identity = None;
    refused(client.enrol(nameless).await, no, "neither UUID");
    // A request that its sender has no key for: the key of another, whose signature does not fit.
    let tampered = tampered(&own, &csr("node02", &KeyPair::generate().unwrap()));
    refused(
        client.enrol(enrol_request(2, &tampered, &token)).await,
        no,
        "not signed by its own key",
    );
    let nonsense = client.enrol(enrol_request(2, "nonsense", &token)).await;
    refused(nonsense, Code::InvalidArgument, "PKCS#10");

    let denied = rack.events("provision:enrolment:enrol").await;
    assert_eq!(denied.len(), 8, "{denied:#?}");
    let reasons: std::collections::BTreeSet<&str> =
        denied.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons.len(), 8, "each with its own reason");
    // None of it has used the token.
    rack.enrol(2, "node02", &token).await.unwrap();
    rack.enrol(3, "node03", &others).await.unwrap();
}

/// The signature of one request under the content of another.
fn tampered(content: &str, signature: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let der = |pem: &str| {
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(text).unwrap()
    };
    let (mut bytes, other) = (der(content), der(signature));
    // Of ECDSA P-256 signatures, the last 30 bytes are always of the number s.
    let at = bytes.len() - 30;
    bytes[at..].copy_from_slice(&other[other.len() - 30..]);
    let text = STANDARD.encode(bytes);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_given_again_and_anything_else_is_a_replay() {
    let rack = Rack::start().await;
    let (id, token) = rack.installing(2, "node02").await;
    let mut client = rack.enrolment(None);
    let key = KeyPair::generate().unwrap();
    let first = client
        .enrol(enrol_request(2, &csr("node02", &key), &token))
        .await
        .unwrap();
    // Another request with the same key: its signature differs, the key is what counts.
    let again = client
        .enrol(enrol_request(2, &csr("node02", &key), &token))
        .await
        .unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let other = KeyPair::generate().unwrap();
    let replay = client
        .enrol(enrol_request(2, &csr("node02", &other), &token))
        .await;
    refused(
        replay,
        Code::Unauthenticated,
        "used already, for another key",
    );
    assert_eq!(rack.machine(&id).await.state(), MachineState::Joined);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_with_one_token_one_key_wins() {
    let rack = Rack::start().await;
    let (_, token) = rack.installing(2, "node02").await;
    let tries = (0..12).map(|_| rack.enrol(2, "node02", &token));
    let results = futures::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1);
    for status in results.into_iter().filter_map(Result::err) {
        assert!(status.message().contains("used already"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused() {
    let rack = Rack::start_with(|settings| settings.token_minutes = 0).await;
    let (_, token) = rack.installing(2, "node02").await;
    let status = rack.enrol(2, "node02", &token).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("has expired"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iam_that_is_away_loses_no_enrolment() {
    let mut rack = Rack::start().await;
    let (_, token) = rack.installing(2, "node02").await;
    rack.stop("iam").await;
    let key = KeyPair::generate().unwrap();
    let request = enrol_request(2, &csr("node02", &key), &token);
    let status = rack
        .enrolment(None)
        .enrol(request.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(
        status.message().contains("send the same request again"),
        "{status}"
    );
    rack.start_again("iam");
    // The provisioner makes the identities by itself, whether the host comes again or not.
    until(async || (rack.has_identities("node02").await == [true, true]).then_some(())).await;
    let answer = until(async || rack.enrolment(None).enrol(request.clone()).await.ok()).await;
    let serial = rack.machine("node02").await.certificate_serial;
    assert!(!serial.is_empty());
    assert!(
        answer
            .into_inner()
            .certificate_pem
            .contains("BEGIN CERTIFICATE")
    );
    let enrolled = rack.events("provision:enrolment:enrol").await;
    assert_eq!(enrolled.len(), 1, "one certificate was made");
}
