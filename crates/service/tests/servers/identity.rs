use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use photon_api::components::IAM;
use photon_program::{ClientCertificates, Endpoints, Identity, Urls};
use photon_resource::Error;
use tempfile::TempDir;

use crate::desk::{entry, run};
use crate::scripted_iam::ScriptedIam;
use crate::tls::{authority, tls_settings};

struct KeyFile {
    _dir: TempDir,
    path: PathBuf,
}

fn key_file(secret: &str) -> KeyFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    KeyFile { _dir: dir, path }
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_after_two_thirds_of_its_life() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    *iam.0.lifetime.lock().unwrap() = Duration::from_secs(3);
    let file = key_file("photon_secret");
    let identity = Identity::new("prismnet-server", Some(&file.path), &endpoints).unwrap();
    let began = Instant::now();
    let first = identity.token().await.unwrap();
    while identity.token().await.unwrap() == first {
        assert!(
            began.elapsed() < Duration::from_millis(2900),
            "not renewed before its end"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        began.elapsed() > Duration::from_millis(1900),
        "renewed after {:?}",
        began.elapsed()
    );
    assert_eq!(iam.0.issued.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn many_callers_share_one_token() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    let file = key_file("photon_secret");
    let identity = Identity::new("prismnet-server", Some(&file.path), &endpoints).unwrap();
    let tokens = futures::future::join_all((0..50).map(|_| identity.token())).await;
    let first = tokens[0].as_ref().unwrap();
    assert!(tokens.iter().all(|token| token.as_ref().unwrap() == first));
    assert_eq!(iam.0.issued.load(Ordering::SeqCst), 1);
    let request = identity.request((), "r-1").await.unwrap();
    assert_eq!(
        entry(request.metadata(), "authorization"),
        format!("Bearer {first}")
    );
    assert_eq!(entry(request.metadata(), "x-request-id"), "r-1");
    assert!(
        !format!("{request:?}").contains(first),
        "the token is printed"
    );
}

#[tokio::test]
async fn an_iam_that_is_still_starting_is_waited_for() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    iam.0.absent.store(3, Ordering::SeqCst);
    let file = key_file("photon_secret");
    let identity = Identity::new("prismnet-server", Some(&file.path), &endpoints).unwrap();
    identity.token().await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_said_at_once_and_a_new_one_needs_no_restart() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    let file = key_file("photon_wrong");
    let identity = Identity::new("prismnet-server", Some(&file.path), &endpoints).unwrap();
    let began = Instant::now();
    let error = identity.token().await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(file.path.to_str().unwrap()) && text.contains("prismnet-server"),
        "{text}"
    );
    assert!(!text.contains("photon_wrong"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(2));
    std::fs::write(&file.path, "photon_secret").unwrap();
    identity.token().await.unwrap();
}

#[tokio::test]
async fn without_a_key_the_certificate_of_the_connection_signs_in_and_a_renewed_one_needs_no_restart()
 {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority(dir.path(), "ours");
    let iam = ScriptedIam::new();
    let settings = tls_settings(&ours, Some(&ours), ClientCertificates::Optional);
    let running = run(settings, iam.services()).await;
    let (certificate, key) = ours.issue("node02");
    let endpoints = Endpoints {
        urls: Urls::default().with(
            &IAM,
            format!("https://localhost:{}", running.address.port()),
        ),
        ca: Some(ours.ca.clone()),
        certificate: Some(certificate.clone()),
        key: Some(key),
    };
    let der = |path: &PathBuf| {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        CertificateDer::from_pem_file(path).unwrap().to_vec()
    };
    let first = der(&certificate);
    let identity = Identity::new("prismnet-agent@node02", None, &endpoints).unwrap();
    let token = identity.token().await.unwrap();
    assert_eq!(identity.token().await.unwrap(), token);
    assert_eq!(*iam.0.shown.lock().unwrap(), std::slice::from_ref(&first));

    // Issued again under the same names: a new certificate with a new key.
    ours.issue("node02");
    let second = der(&certificate);
    assert_ne!(first, second);
    identity.forget().await;
    identity.token().await.unwrap();
    assert_eq!(*iam.0.shown.lock().unwrap(), [first, second]);

    // A key wins, where there is one.
    let file = key_file("photon_secret");
    let identity = Identity::new("prismnet-server", Some(&file.path), &endpoints).unwrap();
    identity.token().await.unwrap();
    assert_eq!(iam.0.shown.lock().unwrap().len(), 2);
}

#[test]
fn an_identity_needs_a_key_or_a_certificate_that_is_shown() {
    let refusal = |endpoints: &Endpoints| {
        let refused = Identity::new("prismnet-agent@node02", None, endpoints);
        refused.unwrap_err().to_string()
    };
    let text = refusal(&Endpoints::default());
    assert!(
        text.contains("credential_file") && text.contains("endpoints.certificate"),
        "{text}"
    );
    let plaintext = Endpoints {
        certificate: Some("/c".into()),
        key: Some("/k".into()),
        ..Endpoints::default()
    };
    let text = refusal(&plaintext);
    assert!(text.contains("an https:// URL"), "{text}");
}

#[tokio::test]
async fn a_token_is_used_to_its_end_while_iam_is_away_but_not_after() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    *iam.0.lifetime.lock().unwrap() = Duration::from_secs(3);
    let file = key_file("photon_secret");
    let identity = Identity::new("prismnet-server", Some(&file.path), &endpoints).unwrap();
    let began = Instant::now();
    let first = identity.token().await.unwrap();
    iam.0.absent.store(usize::MAX, Ordering::SeqCst);
    loop {
        match identity.token().await {
            Ok(token) => assert_eq!(token, first),
            Err(error) => {
                assert!(matches!(error, Error::Unavailable(_)), "{error}");
                break;
            }
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "used long after its end"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        began.elapsed() >= Duration::from_secs(3),
        "given up after {:?}",
        began.elapsed()
    );
}
