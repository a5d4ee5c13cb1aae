use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&key).unwrap().pem();
    Authority {
        pem,
        issuer: Issuer::new(parameters, key),
    }
}

/// A certificate for `key` that began and ends so many seconds from now.
fn certificate(authority: &Authority, key: &str, begins: i64, ends: i64) -> String {
    let at = |seconds: i64| {
        let now = time::OffsetDateTime::from(SystemTime::now());
        now + time::Duration::seconds(seconds)
    };
    let mut parameters = CertificateParams::default();
    parameters.not_before = at(begins);
    parameters.not_after = at(ends);
    let key = KeyPair::from_pem(key).unwrap();
    parameters.signed_by(&key, &authority.issuer).unwrap().pem()
}

fn options(dir: &tempfile::TempDir) -> Options {
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/hostname"), "node02\n").unwrap();
    Options {
        pki_dir: dir.path().to_owned(),
        // Nobody is there: port 9 on loopback is not served.
        endpoint: Some("https://127.0.0.1:9".into()),
        endpoint_file: dir.path().join("endpoint"),
        root: dir.path().to_owned(),
        wait: Wait {
            limit: Duration::from_millis(50),
            first: Duration::from_millis(10),
            longest: Duration::from_millis(20),
        },
    }
}

#[test]
fn two_thirds_of_a_life_are_over_when_they_are() {
    let (authority, key) = (authority(), request::new_key().unwrap());
    for (begins, ends, holds, due) in [
        (-10, 1000, true, false),
        (-660, 400, true, false),
        (-2000, 990, true, true),
        (-1000, -10, false, true),
        (100, 1000, false, false),
    ] {
        let pem = certificate(&authority, &key, begins, ends);
        let read = Certificate::parse(&pem).unwrap();
        let now = SystemTime::now();
        assert_eq!(
            (read.holds_at(now), read.is_due_at(now)),
            (holds, due),
            "{begins} to {ends}"
        );
    }
}

#[test]
fn a_certificate_of_another_key_or_another_authority_is_not_taken() {
    let (ours, theirs) = (authority(), authority());
    let (key, other) = (request::new_key().unwrap(), request::new_key().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::at(dir.path());
    for (issuer, subject, said) in [
        (&ours, &other, "another key"),
        (&theirs, &key, "not signed"),
    ] {
        let pem = certificate(issuer, subject, -10, 1000);
        // That the answer vouches for itself does not count.
        for ca in [&ours.pem, &theirs.pem] {
            let Err(failure) = accept(&pki, &ours.pem, &key, &pem, ca) else {
                panic!("{said} was accepted");
            };
            assert!(
                failure.is_lasting() && failure.to_string().contains(said),
                "{failure}"
            );
        }
    }
    assert!(pki.pair().unwrap().is_none());
    let pem = certificate(&ours, &key, -10, 1000);
    accept(&pki, &ours.pem, &key, &pem, &theirs.pem).unwrap();
    assert_eq!(pki.authority().unwrap(), ours.pem);
    // An authority and its successor, vouched for by what was pinned.
    let both = format!("{}{}", ours.pem, theirs.pem);
    let pem = certificate(&theirs, &key, -10, 1000);
    accept(&pki, &ours.pem, &key, &pem, &both).unwrap();
    assert_eq!(pki.authority().unwrap(), both);
}

#[tokio::test]
async fn an_enrolled_host_enrols_no_more_and_loses_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, key) = (authority(), request::new_key().unwrap());
    let pair = Pair {
        certificate: certificate(&authority, &key, -10, 1000),
        key,
    };
    Pki::at(dir.path()).replace(&pair, &authority.pem).unwrap();
    // As when the power went after the certificate and before this.
    std::fs::write(dir.path().join("join-token"), "t").unwrap();
    std::fs::write(dir.path().join("enrolment-key.pem"), &pair.key).unwrap();
    let done = enrol(&options(&dir)).await.unwrap();
    assert!(done.contains("has its certificate"), "{done}");
    assert!(!dir.path().join("join-token").exists());
    let done = renew(&options(&dir), false).await.unwrap();
    assert!(done.contains("not due yet"), "{done}");
    // Another token is for another certificate; until that is there, this one stays, and so does the token.
    std::fs::write(dir.path().join("join-token"), "u").unwrap();
    let card = dir.path().join("sys/class/net/eth0");
    std::fs::create_dir_all(card.join("device")).unwrap();
    std::fs::write(card.join("type"), "1\n").unwrap();
    std::fs::write(card.join("address"), "02:00:00:00:02:01\n").unwrap();
    let failure = enrol(&options(&dir)).await.unwrap_err();
    assert!(!failure.is_lasting(), "{failure}");
    let now = Pki::at(dir.path()).pair().unwrap().unwrap();
    assert_eq!(now.certificate, pair.certificate);
    assert!(dir.path().join("join-token").exists());
}

#[tokio::test]
async fn a_provisioner_that_is_away_is_waited_for_and_then_named() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, key) = (authority(), request::new_key().unwrap());
    let pair = Pair {
        certificate: certificate(&authority, &key, -10, 1000),
        key,
    };
    Pki::at(dir.path()).replace(&pair, &authority.pem).unwrap();
    for failure in [
        ready(&options(&dir)).await.unwrap_err(),
        renew(&options(&dir), true).await.unwrap_err(),
    ] {
        assert!(!failure.is_lasting(), "{failure}");
        assert!(failure.to_string().contains("refused"), "{failure}");
    }
    // The old pair is untouched.
    let now = Pki::at(dir.path()).pair().unwrap().unwrap();
    assert_eq!(now.certificate, pair.certificate);
}

#[tokio::test]
async fn what_no_further_try_can_mend_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, key) = (authority(), request::new_key().unwrap());
    let said = |failure: Failure| {
        assert!(failure.is_lasting(), "{failure}");
        failure.to_string()
    };
    assert!(said(enrol(&options(&dir)).await.unwrap_err()).contains("ca.pem"));
    std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    assert!(said(enrol(&options(&dir)).await.unwrap_err()).contains("join-token"));
    assert!(said(ready(&options(&dir)).await.unwrap_err()).contains("photon-enrol enrol"));
    let pair = Pair {
        certificate: certificate(&authority, &key, -1000, -10),
        key,
    };
    Pki::at(dir.path()).replace(&pair, &authority.pem).unwrap();
    for failure in [
        enrol(&options(&dir)).await.unwrap_err(),
        renew(&options(&dir), true).await.unwrap_err(),
    ] {
        let said = said(failure);
        assert!(said.contains("photon machine token"), "{said}");
    }
    let mut plain = options(&dir);
    plain.endpoint = Some("http://127.0.0.1:50089".into());
    let fresh = Pair {
        certificate: certificate(&authority, &pair.key, -10, 1000),
        key: pair.key,
    };
    Pki::at(dir.path()).replace(&fresh, &authority.pem).unwrap();
    assert!(said(ready(&plain).await.unwrap_err()).contains("https://ADDRESS:50089"));
    plain.endpoint = None;
    assert!(said(ready(&plain).await.unwrap_err()).contains("--endpoint"));
}
