//! Guessing is slowed, per principal and per address, and only as long as it must be.

use std::time::{Duration, Instant};

use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Cloud, PASSWORD, refused};

async fn guess(iam: &Cloud, name: &str) -> tonic::Status {
    iam.people
        .sign_in("acme", "", name, "a wrong password")
        .await
        .map(drop)
        .unwrap_err()
}

#[tokio::test]
async fn a_principal_is_slowed_after_five_failures_whether_it_exists_or_not() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let judy = admin.create_user("acme", "judy").await.unwrap();
    admin
        .bind(&judy, "ProjectViewer", "org/acme")
        .await
        .unwrap();
    for name in ["judy", "nobody-at-all"] {
        let mut messages = Vec::new();
        for _ in 0..5 {
            let status = guess(&iam, name).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{name}: {status}");
            messages.push(status.message().to_owned());
        }
        messages.dedup();
        assert_eq!(
            messages,
            ["not authenticated: the principal or its credential is not right"]
        );
        let status = guess(&iam, name).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{name}");
        assert_eq!(
            status.message(),
            "too many failed attempts: try again in 1 s"
        );
    }
    // The right password has to wait as well: else the wait would tell which one is right.
    let status = iam
        .people
        .sign_in("acme", "", "judy", PASSWORD)
        .await
        .map(drop);
    refused(status, Code::ResourceExhausted);
    // Others do not; and after the wait all is forgotten.
    iam.people
        .sign_in("acme", "", "root", PASSWORD)
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match iam.people.sign_in("acme", "", "judy", PASSWORD).await {
            Ok(_) => break,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert!(Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    for _ in 0..4 {
        assert_eq!(guess(&iam, "judy").await.code(), Code::Unauthenticated);
    }
    iam.people
        .sign_in("acme", "", "judy", PASSWORD)
        .await
        .expect("success has reset the count");
}

#[tokio::test]
async fn an_address_is_slowed_whoever_it_tries() {
    let iam = start_iam().await;
    iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let mut slowed = None;
    for at in 0..30 {
        let status = guess(&iam, &format!("victim-{at}")).await;
        if status.code() == Code::ResourceExhausted {
            slowed = Some(at);
            break;
        }
    }
    assert_eq!(slowed, Some(20));
    // Programs of this address, whose secrets can't be guessed, are not held up.
    let issued = iam
        .people
        .issue(IssueTokenRequest {
            principal_id: "prismnet-server".into(),
            credential: Some(Credential::ApiKey(
                iam.people.credential("prismnet-server.key"),
            )),
            ..Default::default()
        })
        .await;
    issued.unwrap();
}

#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_known_one() {
    // What else runs on the machine can only add to a time, to either: one quiet moment must show them equal.
    // Without the work for an unknown name every round fails, by a factor of ten and more.
    const ROUNDS: usize = 5;
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let [known, unknown] = fastest_guesses().await;
        if unknown > known / 2 {
            return;
        }
        seen.push(format!("known {known:?}, unknown {unknown:?}"));
    }
    panic!("{}", seen.join("; "));
}

/// The fastest of four wrong guesses, for a name that exists and for one that does not.
async fn fastest_guesses() -> [Duration; 2] {
    let iam = start_iam().await;
    iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..4 {
        for (name, fastest) in ["root", "nobody-at-all"].iter().zip(&mut fastest) {
            let start = Instant::now();
            assert_eq!(guess(&iam, name).await.code(), Code::Unauthenticated);
            *fastest = start.elapsed().min(*fastest);
        }
    }
    fastest
}

#[tokio::test]
async fn attempts_are_in_the_event_log_without_what_was_typed() {
    use photon_api::chainfire::v1::ListEventsRequest;
    use photon_api::chainfire::v1::event_service_client::EventServiceClient;

    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    guess(&iam, "root").await;
    guess(&iam, "hunter2-typed-as-a-name").await;
    let list = |org: &str, caller: &photon_testkit::Caller| {
        let request = ListEventsRequest {
            org_id: org.into(),
            ..Default::default()
        };
        let request = photon_program::with_token(request, &caller.token, "").unwrap();
        let mut client = EventServiceClient::new(iam.channel("iam"));
        async move {
            client
                .list_events(request)
                .await
                .unwrap()
                .into_inner()
                .events
        }
    };
    let events = list("acme", &admin).await;
    let denied = events
        .iter()
        .filter(|event| event.action == "iam:tokens:create" && !event.reason.is_empty());
    assert_eq!(denied.count(), 1);
    assert!(
        events
            .iter()
            .any(|event| event.action == "iam:bindings:create")
    );
    let all = format!(
        "{:?} {:?}",
        events,
        list("system", &iam.people.operator().await).await
    );
    for secret in ["hunter2", PASSWORD, "a wrong password", &admin.token] {
        assert!(!all.contains(secret), "{secret} is in the event log");
    }
}

/// A key that is made up is slowed by nothing: each is another one.
#[tokio::test]
async fn a_flood_of_made_up_api_keys_is_no_flood_of_events() {
    use photon_api::chainfire::v1::ListEventsRequest;
    use photon_api::chainfire::v1::event_service_client::EventServiceClient;

    let iam = start_iam().await;
    iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    // Of a real name too, whose organization has the events then.
    for name in ["", "root"] {
        for _ in 0..200 {
            let secret = "A".repeat(43);
            let key = format!("photon_{}_{secret}", photon_testkit::new_id());
            let made_up = iam.people.issue(IssueTokenRequest {
                principal_id: name.into(),
                org_id: "acme".into(),
                credential: Some(Credential::ApiKey(key)),
                ..Default::default()
            });
            refused(made_up.await.map(drop), Code::Unauthenticated);
        }
    }
    // What was guessed as a password is told apart from them.
    guess(&iam, "root").await;
    let operator = iam.people.operator().await;
    let mut events = Vec::new();
    for org in ["system", "acme"] {
        let request = ListEventsRequest {
            org_id: org.into(),
            action_prefix: "iam:tokens:create".into(),
            page_size: 1000,
            ..Default::default()
        };
        let request = photon_program::with_token(request, &operator.token, "").unwrap();
        let mut client = EventServiceClient::new(iam.channel("iam"));
        let listed = client.list_events(request).await.unwrap();
        events.extend(listed.into_inner().events);
    }
    let refused = events.iter().filter(|event| {
        event.outcome() == photon_api::chainfire::v1::Outcome::Denied && !event.reason.is_empty()
    });
    let count = refused.count();
    assert!((21..=30).contains(&count), "{count} events");
}
