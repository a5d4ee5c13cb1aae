use std::time::Duration;

use chainfire::Outcome;
use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_resource::{Caller, ResourceName};
use tonic::{Code, Request};

use crate::desk::{Desk, Policy, bearing, claims, events_client};

fn list(org_id: &str) -> ListEventsRequest {
    ListEventsRequest {
        org_id: org_id.into(),
        ..Default::default()
    }
}

fn caller(org: Option<&str>) -> Caller {
    Caller {
        claims: claims("alice", org),
        token: "t".into(),
        source: "192.0.2.7".into(),
        request_id: "r-1".into(),
    }
}

#[tokio::test]
async fn a_call_without_a_good_token_is_refused_and_recorded() {
    let desk = Desk::new();
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    let with = |values: &[&str]| {
        let mut request = Request::new(list(""));
        for value in values {
            request
                .metadata_mut()
                .append("authorization", value.parse().unwrap());
        }
        request
    };
    for values in [
        &[][..],
        &["acme"],
        &["Bearer"],
        &["Bearer "],
        &["Basic YWNtZTphY21l"],
        &["Bearer nobody"],
        &["Bearer acme", "Bearer operator"],
    ] {
        let status = client.list_events(with(values)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{values:?}: {status}");
    }
    for values in [&["Bearer acme"], &["bearer acme"], &["BEARER  acme"]] {
        client.list_events(with(values)).await.unwrap();
    }
    let events = desk.events(None).await;
    assert_eq!(events.len(), 7);
    for event in &events {
        assert_eq!(event.outcome, Outcome::Denied);
        assert_eq!(event.source, "127.0.0.1");
        assert_eq!(event.resource, "chainfire.v1.EventService/ListEvents");
        assert_eq!(event.principal_id, "");
        assert!(!event.reason.is_empty() && !event.reason.contains("YWNtZTphY21l"));
    }
}

#[tokio::test]
async fn a_flood_of_strangers_does_not_fill_the_log() {
    let desk = Desk::new();
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    for _ in 0..200 {
        let status = client
            .list_events(bearing("nobody", list("")))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let count = desk.events(None).await.len();
    assert!((1..=12).contains(&count), "{count} events");
}

#[tokio::test]
async fn the_policys_refusal_is_permission_denied_with_its_reason_and_an_event() {
    let desk = Desk::new();
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    desk.policy(Policy::Deny("no role of alice permits it"));
    let mut request = bearing("acme", list(""));
    request
        .metadata_mut()
        .insert("x-request-id", "case-7".parse().unwrap());
    let status = client.list_events(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "audit:events:list on org/acme/events/* is not permitted: no role of alice permits it"
    );
    let events = desk.events(Some("acme")).await;
    let [event] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(event.action, "audit:events:list");
    assert_eq!(event.resource, "org/acme/events/*");
    assert_eq!(event.reason, "no role of alice permits it");
    assert_eq!(event.request_id, "case-7");
    assert_eq!(event.principal_name, "acme");
    assert_eq!(event.outcome, Outcome::Denied);
    let asked = desk.known.asked.lock().unwrap();
    assert_eq!(asked[0]["source_ip"], "127.0.0.1");
}

#[tokio::test]
async fn no_decision_is_no_permission() {
    let desk = Desk::new();
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    desk.policy(Policy::Fail);
    let status = client
        .list_events(bearing("operator", list("")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(desk.events(None).await[0].outcome, Outcome::Denied);
}

#[tokio::test]
async fn the_wall_between_tenants_stands_whatever_the_policy_says() {
    let desk = Desk::new();
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    for org in ["globex", "system"] {
        let verify = VerifyChainRequest {
            org_id: org.into(),
            ..Default::default()
        };
        for status in [
            client
                .list_events(bearing("acme", list(org)))
                .await
                .unwrap_err(),
            client
                .verify_chain(bearing("acme", verify.clone()))
                .await
                .unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::PermissionDenied, "{org}: {status}");
        }
    }
    assert!(
        desk.known.asked.lock().unwrap().is_empty(),
        "the policy was asked"
    );
    // Tried by acme, so in acme's chain; globex learns nothing of it.
    assert_eq!(desk.events(Some("acme")).await.len(), 4);
    assert_eq!(desk.events(Some("globex")).await.len(), 0);
    for org in ["globex", "acme", "system", ""] {
        client
            .list_events(bearing("operator", list(org)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_thing_of_another_tenant_looks_absent() {
    let desk = Desk::new();
    let vpc: ResourceName = "org/globex/project/web/vpcs/v1".parse().unwrap();
    let any: ResourceName = "org/globex/project/web/vpcs/*".parse().unwrap();
    for action in ["get", "update", "delete"] {
        let action = format!("network:vpcs:{action}");
        let error = desk
            .guard
            .authorize(&caller(Some("acme")), &action, &vpc, &[])
            .await;
        let status = photon_service::status(error.unwrap_err());
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "resource 'v1' not found")
        );
    }
    for (action, resource) in [
        ("network:vpcs:create", &any),
        ("network:vpcs:list", &any),
        ("iam:projects:create", &vpc),
    ] {
        let error = desk
            .guard
            .authorize(&caller(Some("acme")), action, resource, &[])
            .await;
        let status = photon_service::status(error.unwrap_err());
        assert_eq!(status.code(), Code::PermissionDenied, "{action}");
    }
    desk.guard
        .authorize(&caller(Some("globex")), "network:vpcs:get", &vpc, &[])
        .await
        .unwrap();
    desk.guard
        .authorize(&caller(None), "network:vpcs:get", &vpc, &[])
        .await
        .unwrap();
    assert_eq!(desk.events(Some("acme")).await.len(), 6);
}

#[test]
fn empty_ids_of_a_request_are_the_tokens() {
    let desk = Desk::new();
    let mut acme = caller(Some("acme"));
    let scope = |caller: &Caller, org: &str, project: &str| {
        desk.guard
            .scope(caller, org, project)
            .map(|(org, project)| format!("{org}/{project}"))
            .map_err(|error| error.to_string())
    };
    assert!(
        scope(&acme, "", "")
            .unwrap_err()
            .starts_with("project_id ''")
    );
    assert_eq!(scope(&acme, "", "web").unwrap(), "acme/web");
    acme.claims.project_id = Some("web".parse().unwrap());
    assert_eq!(scope(&acme, "", "").unwrap(), "acme/web");
    assert_eq!(scope(&acme, "acme", "db").unwrap(), "acme/db");
    // The token's project is not one of another organization's.
    assert!(scope(&acme, "globex", "").is_err());
    assert!(
        scope(&caller(None), "", "web")
            .unwrap_err()
            .starts_with("org_id ''")
    );
    assert!(scope(&acme, "ACME", "web").is_err());
    assert!(scope(&acme, "", "../x").is_err());
}

/// An auditor is told from which event on the log is there, and that it is whole from there on; kept heads still count.
#[tokio::test]
async fn a_log_that_was_cut_off_is_told_as_such() {
    let desk = Desk::new();
    desk.policy(Policy::Deny("no"));
    let caller = caller(Some("acme"));
    for _ in 0..3 {
        let thing: ResourceName = "org/acme/things/1".parse().unwrap();
        let refused = desk
            .guard
            .authorize(&caller, "test:things:get", &thing, &[]);
        refused.await.unwrap_err();
    }
    desk.policy(Policy::Allow);
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    let request = |known_sequence, known_hash: &str| {
        let known_hash = known_hash.to_owned();
        bearing(
            "acme",
            VerifyChainRequest {
                known_sequence,
                known_hash,
                ..Default::default()
            },
        )
    };
    let before = client
        .verify_chain(request(0, ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((before.first_sequence, before.events), (1, 3));
    let keep = chainfire::Keep {
        age: Some(Duration::from_secs(400 * 24 * 3600)),
        most: None,
    };
    let later = photon_resource::Time::now().micros() + 500 * 24 * 3600 * 1_000_000;
    desk.ledger.cut("acme", &keep, later, "test").await.unwrap();

    let head = (before.head_sequence, before.head_hash.as_str());
    let after = client
        .verify_chain(request(head.0, head.1))
        .await
        .unwrap()
        .into_inner();
    assert!(after.intact, "{after:?}");
    assert_eq!(
        (after.first_sequence, after.events, after.head_sequence),
        (3, 2, 4)
    );
    let listed = client
        .list_events(bearing("acme", list("")))
        .await
        .unwrap()
        .into_inner();
    let numbers: Vec<_> = listed.events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(listed.events[1].action, chainfire::CUT);
    // One of before is not mistaken for a proof.
    let old = client
        .verify_chain(request(1, &"0".repeat(64)))
        .await
        .unwrap()
        .into_inner();
    assert!(
        !old.intact && old.problem.contains("younger head"),
        "{old:?}"
    );
}
