use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use photon_api::components::IAM;
use photon_api::iam::v1::AuthorizeResponse;
use photon_program::{Endpoints, Urls};
use photon_resource::{Authorizer, Caller, Decision, Error, TokenVerifier};
use photon_service::IamClient;
use tokio::task::JoinSet;
use tonic::Status;

use crate::desk::claims;
use crate::scripted_iam::{Key, ScriptedIam};

fn caller() -> Caller {
    Caller {
        claims: claims("alice", Some("acme")),
        token: "the.callers.token".into(),
        source: "192.0.2.7".into(),
        request_id: "r-42".into(),
    }
}

async fn ask(client: &IamClient) -> Result<Decision, Error> {
    let action = "network:vpcs:create".parse().unwrap();
    let resource = "org/acme/project/web/vpcs/*".parse().unwrap();
    let facts = BTreeMap::from([("owner".to_owned(), "bob".to_owned())]);
    client
        .authorize(&caller(), &action, &resource, &facts)
        .await
}

#[tokio::test]
async fn tokens_are_verified_offline_once_the_keys_are_known() {
    let iam = ScriptedIam::new();
    let (running, endpoints) = iam.run().await;
    let client = IamClient::new(&endpoints).unwrap();
    for _ in 0..20 {
        client.verify(&iam.token()).await.unwrap();
    }
    assert_eq!(iam.0.keys_fetched.load(Ordering::SeqCst), 1);
    // With IAM gone, too.
    running.shutdown.cancel();
    drop(running);
    client.verify(&iam.token()).await.unwrap();
}

#[tokio::test]
async fn a_new_key_is_known_within_a_second_or_so_and_floods_fetch_once_a_second() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    let client = IamClient::new(&endpoints).unwrap();
    client.verify(&iam.token()).await.unwrap();

    let began = Instant::now();
    let mut flood = JoinSet::new();
    for n in 0..500 {
        let client = client.clone();
        let forged = Key::new(&format!("made-up-{n}")).token(Duration::from_secs(900));
        flood.spawn(async move { client.verify(&forged).await });
    }
    for answer in flood.join_all().await {
        assert!(
            matches!(answer, Err(Error::Unauthenticated(_))),
            "{answer:?}"
        );
    }
    iam.0.keys.lock().unwrap().push(Key::new("k2"));
    client.verify(&iam.token()).await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let fetched = iam.0.keys_fetched.load(Ordering::SeqCst);
    assert!(
        fetched as f64 <= seconds + 2.0,
        "{fetched} fetches in {seconds} s"
    );
    assert!(seconds < 5.0, "{seconds} s");
}

#[tokio::test]
async fn a_burst_of_first_calls_gets_in_with_one_fetch() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    let client = IamClient::new(&endpoints).unwrap();
    let mut burst = JoinSet::new();
    let token = iam.token();
    for _ in 0..1000 {
        let (client, token) = (client.clone(), token.clone());
        burst.spawn(async move { client.verify(&token).await });
    }
    for answer in burst.join_all().await {
        answer.unwrap();
    }
    assert_eq!(iam.0.keys_fetched.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_iam_nothing_is_verified_and_nothing_allowed() {
    // A port that nothing listens on: it was free a moment ago, and is not handed out again at once.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = Endpoints {
        urls: Urls::default().with(&IAM, format!("http://{}", free.local_addr().unwrap())),
        ..Endpoints::default()
    };
    drop(free);
    let client = IamClient::new(&endpoints).unwrap();
    let token = Key::new("k1").token(Duration::from_secs(900));
    let error = client.verify(&token).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn an_iam_that_does_not_answer_is_a_refusal_after_two_seconds() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    iam.0.answers.forget_permits(usize::MAX);
    let client = IamClient::new(&endpoints).unwrap();
    let began = Instant::now();
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(
        (1.5..4.0).contains(&began.elapsed().as_secs_f64()),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_question_carries_all_that_decides_and_the_answer_is_passed_on() {
    let iam = ScriptedIam::new();
    let (_running, endpoints) = iam.run().await;
    let client = IamClient::new(&endpoints).unwrap();
    assert!(ask(&client).await.unwrap().allowed);
    let asked = iam.0.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.bearer.as_deref(), Some("Bearer the.callers.token"));
    assert_eq!(asked.request_id.as_deref(), Some("r-42"));
    assert_eq!(asked.message.token, "the.callers.token");
    assert_eq!(asked.message.action, "network:vpcs:create");
    assert_eq!(asked.message.resource, "org/acme/project/web/vpcs/*");
    assert_eq!(asked.message.attributes["owner"], "bob");

    let script = |decision| *iam.0.decision.lock().unwrap() = decision;
    script(Ok(AuthorizeResponse {
        allowed: false,
        reason: "no role permits it".into(),
        ..Default::default()
    }));
    let decision = ask(&client).await.unwrap();
    assert!(!decision.allowed);
    assert_eq!(decision.reason, "no role permits it");

    script(Err(Status::unauthenticated(
        "not authenticated: the token was revoked",
    )));
    let error = ask(&client).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "not authenticated: the token was revoked"
    );

    for code in [
        tonic::Code::Internal,
        tonic::Code::PermissionDenied,
        tonic::Code::Unimplemented,
    ] {
        script(Err(Status::new(code, "no")));
        let error = ask(&client).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{code}: {error}");
    }
}
