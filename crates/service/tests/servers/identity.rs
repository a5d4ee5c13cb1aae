use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use photon_resource::Error;
use photon_service::Identity;
use tempfile::TempDir;

use crate::desk::entry;
use crate::scripted_iam::ScriptedIam;

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
    let identity = Identity::new("prismnet-server", &file.path, &endpoints).unwrap();
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
    let identity = Identity::new("prismnet-server", &file.path, &endpoints).unwrap();
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
    let identity = Identity::new("prismnet-server", &file.path, &endpoints).unwrap();
    identity.token().await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_said_at_once_and_a_new_one_needs_no_restart() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    let file = key_file("photon_wrong");
    let identity = Identity::new("prismnet-server", &file.path, &endpoints).unwrap();
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
async fn a_token_is_used_to_its_end_while_iam_is_away_but_not_after() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    *iam.0.lifetime.lock().unwrap() = Duration::from_secs(3);
    let file = key_file("photon_secret");
    let identity = Identity::new("prismnet-server", &file.path, &endpoints).unwrap();
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
