//! The ledger over real stores.

use chainfire::{Ledger, NewEvent, Outcome};
use flaredb::{Committed, Db, Record};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counter {
    value: u64,
}

impl Record for Counter {
    const KIND: &'static str = "counter";
    const VERSION: u32 = 1;
}

fn event(action: &str) -> NewEvent {
    NewEvent {
        org_id: Some("acme".parse().unwrap()),
        project_id: None,
        principal_id: None,
        principal_name: "alice".into(),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_changes_each_have_their_event_and_the_chain_is_intact() {
    const TASKS: u64 = 200;
    let directory = tempfile::tempdir().unwrap();
    let db = Db::sqlite(&directory.path().join("db.sqlite"))
        .await
        .unwrap();
    let ledger = Ledger::new(db.clone(), "test");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let (db, ledger) = (db.clone(), ledger.clone());
        tasks.spawn(async move {
            let mut tx = db.begin();
            tx.put(&format!("counter/{number}"), &Counter { value: number })
                .unwrap();
            // Different keys: nobody loses.
            let committed = ledger
                .commit(tx, event("test:counters:create"))
                .await
                .unwrap();
            assert!(matches!(committed, Committed::Done(_)));
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let org = "acme".parse().unwrap();
    let report = ledger.verify(Some(&org), None).await.unwrap();
    assert!(report.intact(), "{:?}", report.problem);
    assert_eq!(report.events, TASKS);
    assert_eq!(ledger.head(Some(&org)).await.unwrap(), report.head);
}
