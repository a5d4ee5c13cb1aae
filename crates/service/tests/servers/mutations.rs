use flaredb::{Db, Record};
use photon_api::prismnet::v1::{CreateVpcRequest, CreateVpcResponse, Vpc};
use photon_program::Limits;
use photon_resource::{Caller, Error, ResourceName};
use photon_service::Mutations;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::desk::{Desk, claims};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    value: u64,
}

impl Record for Count {
    const KIND: &'static str = "count";
    const VERSION: u32 = 1;
}

fn caller(name: &str) -> Caller {
    Caller {
        claims: claims(name, Some("acme")),
        token: "t".into(),
        source: "192.0.2.7".into(),
        request_id: "call-1".into(),
    }
}

fn request(name: &str, request_id: &str) -> CreateVpcRequest {
    CreateVpcRequest {
        name: name.into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

fn resource() -> ResourceName {
    "org/acme/project/web/vpcs/v1".parse().unwrap()
}

/// A change as every component makes it: counts, and answers with the count.
async fn count(
    db: &Db,
    mutations: &Mutations,
    caller: &Caller,
    request: &CreateVpcRequest,
) -> Result<String, Error> {
    let mut m = mutations.start(caller, "network:vpcs:create", &request.request_id, request)?;
    loop {
        let mut tx = db.begin();
        if let Some(CreateVpcResponse { vpc }) = m.replay(&mut tx).await? {
            return Ok(vpc.unwrap().id);
        }
        let mut count = tx.get::<Count>("count").await?.unwrap_or_default();
        count.value += 1;
        tx.put("count", &count)?;
        let vpc = Some(Vpc {
            id: count.value.to_string(),
            ..Default::default()
        });
        let after = count.value.to_string();
        let response = CreateVpcResponse { vpc };
        let done = m
            .commit(
                tx,
                &resource(),
                None,
                Some(after.as_bytes()),
                "",
                response,
                None,
            )
            .await?;
        if let Some(CreateVpcResponse { vpc }) = done {
            return Ok(vpc.unwrap().id);
        }
    }
}

async fn total(db: &Db) -> u64 {
    db.get::<Count>("count")
        .await
        .unwrap()
        .map_or(0, |count| count.value)
}

#[tokio::test]
async fn a_repeated_request_id_changes_once_and_answers_the_same() {
    let desk = Desk::new();
    let mutations = Mutations::new(desk.db.clone(), desk.ledger.clone(), &Limits::default());
    let alice = caller("alice");
    for _ in 0..3 {
        let id = count(&desk.db, &mutations, &alice, &request("net", "r1"))
            .await
            .unwrap();
        assert_eq!(id, "1");
    }
    assert_eq!(total(&desk.db).await, 1);
    assert_eq!(desk.events(Some("acme")).await.len(), 1);
    // Without one, each call is its own; so is the same one of somebody else.
    count(&desk.db, &mutations, &alice, &request("net", ""))
        .await
        .unwrap();
    count(&desk.db, &mutations, &alice, &request("net", ""))
        .await
        .unwrap();
    count(&desk.db, &mutations, &caller("bob"), &request("net", "r1"))
        .await
        .unwrap();
    assert_eq!(total(&desk.db).await, 4);
}

#[tokio::test]
async fn a_request_id_belongs_to_one_request() {
    let desk = Desk::new();
    let mutations = Mutations::new(desk.db.clone(), desk.ledger.clone(), &Limits::default());
    let alice = caller("alice");
    count(&desk.db, &mutations, &alice, &request("net", "r1"))
        .await
        .unwrap();
    let error = count(&desk.db, &mutations, &alice, &request("other", "r1"))
        .await
        .unwrap_err();
    let expected = "request_id 'r1' is not valid: expected a new one: \
                    it was used for another request (network:vpcs:create)";
    assert_eq!(error.to_string(), expected);
    for wrong in ["a/b", "a b", "ü", &"x".repeat(129)] {
        let error = count(&desk.db, &mutations, &alice, &request("net", wrong))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
    assert_eq!(total(&desk.db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_all_happen_once_each() {
    let desk = Desk::new();
    let mutations = Mutations::new(desk.db.clone(), desk.ledger.clone(), &Limits::default());
    let alice = caller("alice");
    let mut calls = JoinSet::new();
    for n in 0..60 {
        let (db, mutations, alice) = (desk.db.clone(), mutations.clone(), alice.clone());
        // Each request_id comes three times.
        let request = request("net", &format!("r{}", n / 3));
        calls.spawn(async move { count(&db, &mutations, &alice, &request).await.unwrap() });
    }
    let mut ids = calls.join_all().await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    assert_eq!(total(&desk.db).await, 20);
    assert_eq!(desk.events(Some("acme")).await.len(), 20);
    assert!(
        desk.ledger
            .verify(Some(&"acme".parse().unwrap()), None)
            .await
            .unwrap()
            .intact()
    );
}

#[tokio::test]
async fn an_answer_is_remembered_over_a_restart_and_its_event_tells_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flaredb.sqlite");
    let alice = caller("alice");
    for _ in 0..2 {
        let db = Db::sqlite(&path).await.unwrap();
        let ledger = chainfire::Ledger::new(db.clone(), "desk");
        let mutations = Mutations::new(db.clone(), ledger.clone(), &Limits::default());
        let id = count(&db, &mutations, &alice, &request("net", "r1"))
            .await
            .unwrap();
        assert_eq!(id, "1");
        let head = ledger.head(Some(&"acme".parse().unwrap())).await.unwrap();
        assert_eq!(head.sequence, 1);
    }
    let desk = Desk::new();
    let mutations = Mutations::new(desk.db.clone(), desk.ledger.clone(), &Limits::default());
    count(&desk.db, &mutations, &alice, &request("net", "r1"))
        .await
        .unwrap();
    let event = &desk.events(Some("acme")).await[0];
    assert_eq!(event.action, "network:vpcs:create");
    assert_eq!(event.resource, "org/acme/project/web/vpcs/v1");
    assert_eq!(event.project_id, "web");
    assert_eq!(event.principal_name, "alice");
    assert_eq!(event.source, "192.0.2.7");
    assert_eq!(event.request_id, "call-1");
    assert_eq!(event.before_digest, None);
    assert_eq!(event.after_digest, Some(chainfire::Digest::of(b"1")));
}

#[tokio::test]
async fn a_secret_is_answered_once_and_never_stored() {
    let desk = Desk::new();
    let mutations = Mutations::new(desk.db.clone(), desk.ledger.clone(), &Limits::default());
    let alice = caller("alice");
    let request = request("net", "r1");
    let vpc = |id: &str| CreateVpcResponse {
        vpc: Some(Vpc {
            id: id.into(),
            ..Default::default()
        }),
    };
    let mut m = mutations
        .start(&alice, "iam:apiKeys:create", "r1", &request)
        .unwrap();
    let mut tx = desk.db.begin();
    assert_eq!(m.replay::<CreateVpcResponse>(&mut tx).await.unwrap(), None);
    let done = m
        .commit(
            tx,
            &resource(),
            None,
            None,
            "",
            vpc("secret"),
            Some(&vpc("")),
        )
        .await
        .unwrap();
    assert_eq!(done.unwrap(), vpc("secret"));
    let m = mutations
        .start(&alice, "iam:apiKeys:create", "r1", &request)
        .unwrap();
    let again = m
        .replay::<CreateVpcResponse>(&mut desk.db.begin())
        .await
        .unwrap();
    assert_eq!(again.unwrap(), vpc(""));
    let stored = desk.db.scan_raw("", None, 1000).await.unwrap().items;
    assert!(stored.iter().any(|item| item.key.starts_with("request/")));
}

#[tokio::test]
async fn small_requests_that_write_much_are_slowed_and_others_changes_are_not() {
    let desk = Desk::new();
    let mutations = Mutations::new(desk.db.clone(), desk.ledger.clone(), &Limits::default());
    let large = vec![b'x'; 127 << 10];
    let commit = async |caller: &Caller, record: Option<&[u8]>| {
        let request = request("net", "");
        let mut mutation = mutations.start(caller, "network:vpcs:update", "", &request)?;
        let tx = desk.db.begin();
        let response = CreateVpcResponse::default();
        mutation
            .commit(tx, &resource(), None, record, "", response, None)
            .await
    };
    let write = async |caller: &Caller, record: &[u8]| commit(caller, Some(record)).await;
    let alice = caller("alice");
    let mut written = 0;
    let error = loop {
        match write(&alice, &large).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 20, "it may write as much as it likes");
    };
    // Each is written twice; on a slow machine it has got back enough to begin one more.
    assert!((6..=7).contains(&written), "{written}");
    assert!(matches!(error, Error::ResourceExhausted(_)), "{error}");
    assert!(error.to_string().contains("try again in"), "{error}");
    assert!(write(&alice, b"small").await.is_err());
    // Something that goes makes room.
    commit(&alice, None).await.unwrap();
    write(&caller("bob"), &large).await.unwrap();
    let mut operator = caller("operator");
    operator.claims.org_id = None;
    for _ in 0..10 {
        write(&operator, &large).await.unwrap();
    }
}
