//! The ledger over real stores.

use std::collections::BTreeSet;

use chainfire::{Event, Filter, Head, Ledger, NewEvent, Outcome, ProblemKind};
use flaredb::{Committed, Db, Op, Record, encode};
use photon_resource::{OrgId, PageRequest};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counter {
    value: u64,
}

impl Record for Counter {
    const KIND: &'static str = "counter";
    const VERSION: u32 = 1;
}

fn acme() -> OrgId {
    "acme".parse().unwrap()
}

fn event(action: &str) -> NewEvent {
    NewEvent {
        org_id: Some(acme()),
        project_id: None,
        principal_id: None,
        principal_name: "alice".into(),
        impersonator: None,
        source: "127.0.0.1".into(),
        action: action.into(),
        resource: "org/acme/counters/1".into(),
        outcome: Outcome::Success,
        reason: String::new(),
        request_id: "r1".into(),
        before_digest: None,
        after_digest: None,
    }
}

async fn sqlite() -> (tempfile::TempDir, Db) {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::sqlite(&directory.path().join("flaredb.sqlite")).await;
    (directory, db.unwrap())
}

/// A chain of this many events in memory.
async fn chain(length: usize) -> (Db, Ledger) {
    let db = Db::memory();
    let ledger = Ledger::new(db.clone(), "test");
    for _ in 0..length {
        ledger.record(event("test:things:make")).await.unwrap();
    }
    (db, ledger)
}

async fn all(ledger: &Ledger, filter: &Filter) -> Vec<Event> {
    let mut events = Vec::new();
    let mut token = String::new();
    loop {
        let page = PageRequest::parse(7, &token).unwrap();
        let page = ledger.list(filter, &page).await.unwrap();
        events.extend(page.events);
        token = page.next_page_token;
        if token.is_empty() {
            return events;
        }
    }
}

fn of_acme() -> Filter {
    Filter {
        org: Some(acme()),
        ..Filter::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_changes_each_have_their_event_and_none_conflicts() {
    const TASKS: u64 = 1000;
    let (_directory, db) = sqlite().await;
    let ledger = Ledger::new(db.clone(), "test");
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (db, ledger) = (db.clone(), ledger.clone());
        tasks.spawn(async move {
            let key = format!("counter/{number}");
            let mut tx = db.begin();
            assert_eq!(tx.get::<Counter>(&key).await.unwrap(), None);
            tx.put(&key, &Counter { value: number }).unwrap();
            let committed = ledger.commit(tx, event(&format!("test:counters:{number}")));
            assert!(matches!(committed.await.unwrap(), Committed::Done(_)));
        });
    }
    tasks.join_all().await;
    let report = ledger.verify(Some(&acme()), None).await.unwrap();
    assert_eq!((report.problem, report.events), (None, TASKS));
    assert_eq!(ledger.head(Some(&acme())).await.unwrap(), report.head);
    let events = all(&ledger, &of_acme()).await;
    let actions: BTreeSet<_> = events.into_iter().map(|event| event.action).collect();
    assert_eq!(actions.len() as u64, TASKS);
    assert_eq!(
        db.scan::<Counter>("counter/").await.unwrap().len() as u64,
        TASKS
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_loses_its_race_leaves_no_event() {
    const TASKS: u64 = 16;
    const EACH: u64 = 10;
    let (_directory, db) = sqlite().await;
    let ledger = Ledger::new(db.clone(), "test");
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (db, ledger) = (db.clone(), ledger.clone());
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let mut tx = db.begin();
                    let value = tx.get::<Counter>("n").await.unwrap().map_or(0, |n| n.value);
                    tx.put("n", &Counter { value: value + 1 }).unwrap();
                    match ledger
                        .commit(tx, event("test:counters:update"))
                        .await
                        .unwrap()
                    {
                        Committed::Done(_) => break,
                        Committed::Conflict { key } => assert_eq!(key, "n"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let stored = db.get::<Counter>("n").await.unwrap().unwrap().value;
    let report = ledger.verify(Some(&acme()), None).await.unwrap();
    assert_eq!((stored, report.events), (TASKS * EACH, TASKS * EACH));
    assert_eq!(report.problem, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_does_not_mind_events_that_are_appended_meanwhile() {
    let (_directory, db) = sqlite().await;
    let ledger = Ledger::new(db, "test");
    let appender = tokio::spawn({
        let ledger = ledger.clone();
        async move {
            for _ in 0..600 {
                ledger.record(event("test:things:make")).await.unwrap();
            }
        }
    });
    let mut kept = None;
    while !appender.is_finished() {
        let report = ledger.verify(Some(&acme()), kept).await.unwrap();
        assert_eq!(report.problem, None);
        kept = Some(report.head);
    }
    appender.await.unwrap();
    let report = ledger.verify(Some(&acme()), kept).await.unwrap();
    assert_eq!((report.problem, report.events), (None, 600));
}

#[tokio::test]
async fn each_organization_has_its_chain() {
    let (_directory, db) = sqlite().await;
    let iam = Ledger::new(db.clone(), "iam");
    let prismnet = Ledger::new(db, "prismnet");
    let mut system = event("iam:organizations:create");
    system.org_id = None;
    let mut globex = event("test:things:make");
    globex.org_id = Some("globex".parse().unwrap());
    globex.outcome = Outcome::Denied;
    globex.reason = "no binding allows it".into();
    for new in [&system, &globex, &globex] {
        iam.record(new.clone()).await.unwrap();
    }
    prismnet.record(globex.clone()).await.unwrap();

    let filter = Filter {
        org: globex.org_id.clone(),
        ..Filter::default()
    };
    let events = all(&prismnet, &filter).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.sequence,
                event.org_id.as_str(),
                event.service.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "globex", "iam"),
            (2, "globex", "iam"),
            (3, "globex", "prismnet")
        ]
    );
    assert_eq!(events[0].previous_hash, Head::EMPTY.hash);
    assert_eq!(events[1].previous_hash, events[0].hash);
    assert_eq!(
        (events[2].outcome, events[2].reason.as_str()),
        (Outcome::Denied, "no binding allows it")
    );
    let events = all(&iam, &Filter::default()).await;
    assert_eq!((events.len(), events[0].org_id.as_str()), (1, "system"));
    for (org, count) in [(None, 1), (filter.org.as_ref(), 3), (Some(&acme()), 0)] {
        let report = iam.verify(org, None).await.unwrap();
        assert_eq!((report.problem, report.events), (None, count));
    }
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let db = Db::memory();
    let ledger = Ledger::new(db, "test");
    for number in 1..=40u64 {
        let mut new = event(["network:vpcs:create", "network:ports:create"][number as usize % 2]);
        new.resource = format!("org/acme/project/p{}/x/{number}", number % 3);
        if number % 10 == 0 {
            new.outcome = Outcome::Denied;
        }
        ledger.record(new).await.unwrap();
    }
    let sequences = async |filter: Filter| -> Vec<u64> {
        all(&ledger, &filter)
            .await
            .iter()
            .map(|event| event.sequence)
            .collect()
    };
    let expected = |wanted: fn(&u64) -> bool| (1..=40).filter(wanted).collect::<Vec<u64>>();
    assert_eq!(sequences(of_acme()).await, expected(|_| true));
    let mut filter = of_acme();
    filter.action_prefix = "network:vpcs:".into();
    assert_eq!(sequences(filter.clone()).await, expected(|n| n % 2 == 0));
    filter.resource_prefix = "org/acme/project/p1/".into();
    assert_eq!(
        sequences(filter.clone()).await,
        expected(|n| n % 2 == 0 && n % 3 == 1)
    );
    filter.outcome = Some(Outcome::Denied);
    assert_eq!(sequences(filter.clone()).await, [10, 40]);
    filter.after_sequence = 10;
    assert_eq!(sequences(filter.clone()).await, [40]);
    filter.principal_id = Some("6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".into());
    assert!(sequences(filter).await.is_empty());

    // A full last page has no successor.
    let page = PageRequest::parse(40, "").unwrap();
    let page = ledger.list(&of_acme(), &page).await.unwrap();
    assert_eq!((page.events.len(), page.next_page_token.as_str()), (40, ""));
}

#[tokio::test]
async fn a_page_token_is_of_its_filter() {
    let (_, ledger) = chain(3).await;
    let first = ledger
        .list(&of_acme(), &PageRequest::parse(1, "").unwrap())
        .await
        .unwrap();
    let second = PageRequest::parse(1, &first.next_page_token).unwrap();
    assert_eq!(
        ledger.list(&of_acme(), &second).await.unwrap().events[0].sequence,
        2
    );
    let mut other = of_acme();
    other.action_prefix = "network:".into();
    let error = ledger.list(&other, &second).await.unwrap_err().to_string();
    assert!(
        error.contains("page_token") && error.contains("same filter"),
        "{error}"
    );
    let forged = PageRequest::parse(1, &PageRequest::token("x")).unwrap();
    assert!(ledger.list(&of_acme(), &forged).await.is_err());
}

/// What somebody with access to the store does behind the ledger's back.
async fn tamper(db: &Db, op: Op) {
    assert!(matches!(
        db.commit(vec![], vec![op]).await.unwrap(),
        Committed::Done(_)
    ));
}

fn key(sequence: u64) -> String {
    format!("chain/acme/{sequence:020}")
}

fn put(key: &str, value: Vec<u8>) -> Op {
    Op::Put {
        key: key.into(),
        value,
        lease: None,
    }
}

async fn stored(db: &Db, sequence: u64) -> Event {
    db.get(&key(sequence)).await.unwrap().unwrap()
}

#[tokio::test]
async fn tampering_with_the_store_is_found() {
    const LENGTH: u64 = 1200;
    let (db, ledger) = chain(LENGTH as usize).await;
    let original = |sequence| stored(&db, sequence);
    let verify = |known| {
        let ledger = ledger.clone();
        async move { ledger.verify(Some(&acme()), known).await.unwrap() }
    };
    let intact = verify(None).await;
    assert_eq!((intact.problem, intact.events), (None, LENGTH));

    // Beyond the first page that a verification reads.
    let at = 777;
    let genuine = original(at).await;
    let restore = put(&key(at), encode("", &genuine).unwrap());
    let mut forged = genuine.clone();
    forged.principal_name = "mallory".into();
    let mut rehashed = forged.clone();
    rehashed.hash = rehashed.compute_hash();
    let mut extended = serde_json::to_value(&genuine).unwrap();
    extended["note"] = "not covered by the hash".into();
    let extended = serde_json::json!({"v": 1, "d": extended});
    let other_chain = {
        let mut other = genuine.clone();
        other.org_id = "globex".into();
        other.hash = other.compute_hash();
        other
    };
    for (op, kind) in [
        (
            put(&key(at), encode("", &forged).unwrap()),
            ProblemKind::Altered,
        ),
        (
            put(&key(at), encode("", &rehashed).unwrap()),
            ProblemKind::Replaced,
        ),
        (
            put(&key(at), encode("", &original(900).await).unwrap()),
            ProblemKind::Moved(900),
        ),
        (
            put(&key(at), encode("", &other_chain).unwrap()),
            ProblemKind::OtherChain("globex".into()),
        ),
        (Op::Delete { key: key(at) }, ProblemKind::Missing),
    ] {
        tamper(&db, op).await;
        let report = verify(None).await;
        let problem = report.problem.expect("a problem");
        assert_eq!((problem.sequence, &problem.kind), (at, &kind));
        assert_eq!(
            (report.events, report.head),
            (at - 1, original(at - 1).await.head())
        );
        assert!(problem.to_string().contains("event 777 was"), "{problem}");
        tamper(&db, restore.clone()).await;
    }
    for bytes in [b"{}".to_vec(), serde_json::to_vec(&extended).unwrap()] {
        tamper(&db, put(&key(at), bytes)).await;
        let problem = verify(None).await.problem.expect("a problem");
        assert_eq!(problem.sequence, at);
        assert!(
            matches!(problem.kind, ProblemKind::Unreadable(_)),
            "{problem}"
        );
        let page = PageRequest::parse(1000, "").unwrap();
        let error = ledger
            .list(&of_acme(), &page)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&key(at)), "{error}");
        tamper(&db, restore.clone()).await;
    }
    assert_eq!(verify(Some(intact.head)).await.problem, None);
}

#[tokio::test]
async fn a_chain_that_was_cut_off_is_found() {
    let (db, ledger) = chain(10).await;
    let kept = ledger.head(Some(&acme())).await.unwrap();
    for sequence in 8..=10 {
        tamper(&db, Op::Delete { key: key(sequence) }).await;
    }
    let problem = ledger
        .verify(Some(&acme()), None)
        .await
        .unwrap()
        .problem
        .unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (8, ProblemKind::CutOff(10))
    );

    // With the head moved back nothing shows it but a head that was kept elsewhere.
    let head = stored(&db, 7).await.head();
    tamper(&db, put("chain-head/acme", encode("", &head).unwrap())).await;
    assert!(ledger.verify(Some(&acme()), None).await.unwrap().intact());
    let problem = ledger
        .verify(Some(&acme()), Some(kept))
        .await
        .unwrap()
        .problem
        .unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (8, ProblemKind::CutOffBelowKnown(10))
    );

    // Nor does it help to grow it anew.
    for _ in 0..5 {
        ledger.record(event("test:things:innocent")).await.unwrap();
    }
    assert!(ledger.verify(Some(&acme()), None).await.unwrap().intact());
    let problem = ledger
        .verify(Some(&acme()), Some(kept))
        .await
        .unwrap()
        .problem
        .unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (10, ProblemKind::Rewritten)
    );
}

#[tokio::test]
async fn an_event_behind_the_head_is_found() {
    let (db, ledger) = chain(5).await;
    let mut smuggled = stored(&db, 5).await;
    smuggled.previous_hash = smuggled.hash;
    smuggled.sequence = 6;
    smuggled.hash = smuggled.compute_hash();
    tamper(&db, put(&key(6), encode("", &smuggled).unwrap())).await;
    let problem = ledger
        .verify(Some(&acme()), None)
        .await
        .unwrap()
        .problem
        .unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (6, ProblemKind::BeyondHead(5))
    );
    // And it is not overwritten by the next one: that is refused, with its change.
    let mut tx = db.begin();
    tx.put("counter", &Counter { value: 1 }).unwrap();
    let error = ledger
        .commit(tx, event("test:things:make"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("photon audit verify"), "{error}");
    assert_eq!(db.get::<Counter>("counter").await.unwrap(), None);
    assert_eq!(stored(&db, 6).await, smuggled);
}

#[tokio::test]
async fn a_head_that_is_gone_or_damaged_is_found_and_nothing_is_overwritten() {
    let (db, ledger) = chain(5).await;
    let first = stored(&db, 1).await;
    tamper(
        &db,
        Op::Delete {
            key: "chain-head/acme".into(),
        },
    )
    .await;
    let problem = ledger
        .verify(Some(&acme()), None)
        .await
        .unwrap()
        .problem
        .unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (6, ProblemKind::HeadMissing)
    );
    assert!(ledger.record(event("test:things:make")).await.is_err());
    assert_eq!(stored(&db, 1).await, first);

    tamper(&db, put("chain-head/acme", b"{}".to_vec())).await;
    let problem = ledger
        .verify(Some(&acme()), None)
        .await
        .unwrap()
        .problem
        .unwrap();
    assert_eq!(problem.sequence, 6);
    assert!(
        matches!(problem.kind, ProblemKind::HeadUnreadable(_)),
        "{problem}"
    );
    assert!(ledger.record(event("test:things:make")).await.is_err());
}

#[tokio::test]
async fn who_acted_as_another_is_covered_by_the_hash() {
    let db = Db::memory();
    let ledger = Ledger::new(db.clone(), "test");
    let impersonator = photon_resource::Impersonator {
        id: photon_resource::PrincipalId::generate(),
        name: "operator".into(),
    };
    let acted = NewEvent {
        impersonator: Some(impersonator),
        ..event("test:things:make")
    };
    ledger.record(event("test:things:make")).await.unwrap();
    ledger.record(acted).await.unwrap();
    let report = ledger.verify(Some(&acme()), None).await.unwrap();
    assert!(report.intact(), "{report:?}");
    let events = all(&ledger, &of_acme()).await;
    assert_eq!(events[1].impersonator_name, "operator");
    // Nobody is added to an event, taken out of it, or put in another's place.
    for (at, id, name) in [(0, "x", "bob"), (1, "", ""), (1, "x", "operator")] {
        let mut changed = events[at].clone();
        changed.impersonator_id = id.into();
        changed.impersonator_name = name.into();
        assert_ne!(changed.compute_hash(), events[at].hash, "{id} {name}");
    }
}
