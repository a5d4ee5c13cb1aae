//! Renewal and readiness: what a host's certificate admits.

use photon_api::provisioner::v1::*;
use provisioner::bootstrap;
use rcgen::KeyPair;
use tonic::Code;

use photon_testcloud::provisioner::{Host, Rack, csr};

pub async fn renewed(rack: &Rack, host: &Host, name: &str) -> Result<Host, tonic::Status> {
    let key = KeyPair::generate().unwrap();
    let request = RenewRequest {
        certificate_request_pem: csr(name, &key),
    };
    let answer = rack
        .enrolment(Some(host))
        .renew(request)
        .await?
        .into_inner();
    Ok(Host {
        key,
        certificate: answer.certificate_pem,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_renews_with_a_new_key_and_both_certificates_count_meanwhile() {
    let rack = Rack::start().await;
    let (id, first) = rack.ready(2, "node02").await;
    let before = rack.machine(&id).await.certificate_serial;
    let second = renewed(&rack, &first, "node02").await.unwrap();
    assert_ne!(rack.machine(&id).await.certificate_serial, before);
    // The answer was lost: the old one is still good to ask again.
    renewed(&rack, &first, "node02").await.unwrap();
    let third = renewed(&rack, &second, "node02").await.unwrap();
    let status = renewed(&rack, &third, "node03").await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(
        status
            .message()
            .contains("of 'node02', the certificate request for 'node03'"),
        "{status}"
    );
    assert_eq!(rack.machine(&id).await.state(), MachineState::Ready);
    // All of them end with a reinstallation.
    rack.reinstall(&id, "node02").await.unwrap();
    for host in [&first, &second, &third] {
        let status = renewed(&rack, host, "node02").await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(
            status.message().contains("retired or reinstalled"),
            "{status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_of_the_cluster_nothing_is_renewed_or_ready() {
    let rack = Rack::start().await;
    rack.ready(2, "node02").await;
    let key = KeyPair::generate().unwrap();
    let renew = RenewRequest {
        certificate_request_pem: csr("node02", &key),
    };
    let status = rack.enrolment(None).renew(renew).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().contains("no client certificate"),
        "{status}"
    );
    let ready = ReportReadyRequest::default();
    let status = rack
        .enrolment(None)
        .report_ready(ready.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    // Of an authority of one's own, with all the right names: the connection is refused.
    let elsewhere = Rack::start().await;
    let (_, foreign) = elsewhere.ready(2, "node02").await;
    assert!(
        rack.enrolment(Some(&foreign))
            .report_ready(ready)
            .await
            .is_err()
    );
    assert!(renewed(&rack, &foreign, "node02").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provisioners_own_host_renews_too() {
    let rack = Rack::start().await;
    let pki = &rack.settings().pki_dir;
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).unwrap();
    let own = Host {
        key: KeyPair::from_pem(&read(bootstrap::KEY)).unwrap(),
        certificate: read(bootstrap::CERTIFICATE),
    };
    let next = renewed(&rack, &own, "node01").await.unwrap();
    let ready = ReportReadyRequest::default();
    rack.enrolment(Some(&next))
        .report_ready(ready)
        .await
        .unwrap();
    let status = renewed(&rack, &next, "node02").await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}
