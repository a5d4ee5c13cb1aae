//! Old events are cut off, and what is left is a chain that can be proved.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chainfire::{
    CUT, Cut, CutError, Digest, Event, Filter, Head, Keep, Ledger, NewEvent, Outcome, ProblemKind,
    Report,
};
use flaredb::{Committed, Db, Op, encode};
use photon_resource::{OrgId, PageRequest};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Everything that these tests append is older than what is kept by then.
const LATER: u32 = 500;
const YEAR: Keep = Keep {
    age: Some(Duration::from_secs(400 * 24 * 3600)),
    most: None,
};

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

struct Chain {
    db: Db,
    ledger: Ledger,
}

impl Chain {
    async fn of(length: u64) -> Self {
        let db = Db::memory();
        let ledger = Ledger::new(db.clone(), "test");
        for _ in 0..length {
            ledger.record(event("test:things:make")).await.unwrap();
        }
        Self { db, ledger }
    }

    async fn cut(&self, keep: &Keep, days: u32) -> Result<Cut, CutError> {
        self.ledger.cut("acme", keep, in_days(days), "test").await
    }

    async fn verify(&self, known: Option<Head>) -> Report {
        self.ledger.verify(Some(&acme()), known).await.unwrap()
    }

    async fn listed(&self) -> Vec<Event> {
        let filter = Filter {
            org: Some(acme()),
            ..Filter::default()
        };
        let page = PageRequest::parse(1000, "").unwrap();
        self.ledger.list(&filter, &page).await.unwrap().events
    }

    /// Numbers of the events that are in the store, whatever is told of them.
    async fn stored(&self) -> Vec<u64> {
        let items = self.db.scan::<Event>("chain/acme/").await.unwrap();
        items.into_iter().map(|(_, event)| event.sequence).collect()
    }

    async fn tamper(&self, ops: Vec<Op>) {
        let done = self.db.commit(vec![], ops).await.unwrap();
        assert!(matches!(done, Committed::Done(_)));
    }

    async fn event(&self, sequence: u64) -> Event {
        self.db.get(&key(sequence)).await.unwrap().unwrap()
    }

    /// Puts the event's time elsewhere, with hashes that fit from there on.
    async fn redate(&self, times: impl Fn(u64) -> u64) {
        let mut last = Head::EMPTY;
        for (key, mut event) in self.db.scan::<Event>("chain/acme/").await.unwrap() {
            event.time_us = times(event.sequence);
            event.previous_hash = last.hash;
            event.hash = event.compute_hash();
            last = event.head();
            self.tamper(vec![put(&key, encode("", &event).unwrap())])
                .await;
        }
        self.tamper(vec![put("chain-head/acme", encode("", &last).unwrap())])
            .await;
    }
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

fn in_days(days: u32) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from((now + days * DAY).as_micros()).unwrap()
}

#[tokio::test]
async fn what_is_old_is_cut_off_and_the_rest_is_proved_from_there_on() {
    let chain = Chain::of(700).await;
    let before = chain.verify(None).await;
    assert_eq!((before.first, before.events), (1, 700));
    assert_eq!(chain.cut(&YEAR, 399).await.unwrap().events, 0);

    // The last one stays: a chain has an end.
    let cut = chain.cut(&YEAR, LATER).await.unwrap();
    assert_eq!((cut.events, cut.kept), (699, 2));
    let report = chain.verify(None).await;
    assert_eq!(report.problem, None);
    assert_eq!((report.first, report.events), (700, 2));
    let listed = chain.listed().await;
    assert_eq!(listed[0].sequence, 700);
    let told = &listed[1];
    assert_eq!((told.action.as_str(), told.sequence), (CUT, 701));
    assert_eq!(told.resource, "org/acme/events/699");
    assert!(told.reason.contains("events 1 to 699"), "{}", told.reason);
    assert_eq!(told.before_digest, Some(chain.event(699).await.hash));

    // They go bit by bit, and nobody notices when.
    assert_eq!(chain.stored().await.len(), 701);
    let mut sweeps = 0;
    while chain.ledger.sweep("acme").await.unwrap() > 0 {
        sweeps += 1;
        assert!(chain.verify(None).await.intact());
        assert_eq!(chain.listed().await.len(), 2);
    }
    assert!(sweeps > 5, "{sweeps}: not in small commits");
    assert_eq!(chain.stored().await, [700, 701]);
    assert_eq!(chain.ledger.chains().await.unwrap(), ["acme"]);

    // It grows on, and a kept head of what is there still proves it.
    chain
        .ledger
        .record(event("test:things:make"))
        .await
        .unwrap();
    let report = chain.verify(Some(report.head)).await;
    assert_eq!((report.problem, report.events), (None, 3));
    assert_eq!(chain.cut(&YEAR, 399).await.unwrap().events, 0);
}

#[tokio::test]
async fn heads_that_were_kept_prove_what_is_kept() {
    let chain = Chain::of(10).await;
    let [third, ninth, tenth] = [3, 9, 10].map(|at| chain.event(at));
    let heads = [third.await.head(), ninth.await.head(), tenth.await.head()];
    chain.cut(&YEAR, LATER).await.unwrap();
    while chain.ledger.sweep("acme").await.unwrap() > 0 {}
    let [third, ninth, tenth] = heads;
    assert_eq!(chain.verify(Some(tenth)).await.problem, None);
    // The last one that was cut off is still known by its hash.
    assert_eq!(chain.verify(Some(ninth)).await.problem, None);
    let other = Head {
        hash: Digest::of(b"other"),
        ..ninth
    };
    let problem = chain.verify(Some(other)).await.problem.unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (9, ProblemKind::Rewritten)
    );
    // An older one proves nothing any more, which is said and does not pass.
    let report = chain.verify(Some(third)).await;
    let problem = report.problem.unwrap();
    assert!(problem.to_string().contains("younger head"), "{problem}");
    assert_eq!(
        (problem.sequence, problem.kind),
        (3, ProblemKind::KnownCut(9))
    );
    assert_eq!((report.first, report.events), (10, 2));
}

#[tokio::test]
async fn who_sets_the_start_hides_nothing() {
    let chain = Chain::of(10).await;
    let fifth = chain.event(5).await.head();
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Start {
        sequence: u64,
        hash: Digest,
    }
    impl flaredb::Record for Start {
        const KIND: &'static str = "start of a chain";
        const VERSION: u32 = 1;
    }
    let start = |of: Head| {
        let Head { sequence, hash } = of;
        put(
            "chain-start/acme",
            encode("", &Start { sequence, hash }).unwrap(),
        )
    };
    chain.tamper(vec![start(fifth)]).await;
    let problem = chain.verify(None).await.problem.unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (5, ProblemKind::CutUntold)
    );

    // Nor who moves it on after a cut, or takes it away.
    chain
        .tamper(vec![Op::Delete {
            key: "chain-start/acme".into(),
        }])
        .await;
    chain.cut(&YEAR, LATER).await.unwrap();
    while chain.ledger.sweep("acme").await.unwrap() > 0 {}
    let tenth = chain.event(10).await.head();
    chain.tamper(vec![start(tenth)]).await;
    let problem = chain.verify(None).await.problem.unwrap();
    assert_eq!(
        (problem.sequence, problem.kind),
        (10, ProblemKind::CutUntold)
    );
    chain
        .tamper(vec![Op::Delete {
            key: "chain-start/acme".into(),
        }])
        .await;
    let problem = chain.verify(None).await.problem.unwrap();
    assert_eq!((problem.sequence, problem.kind), (1, ProblemKind::Missing));
    chain
        .tamper(vec![put("chain-start/acme", b"{}".to_vec())])
        .await;
    let problem = chain.verify(None).await.problem.unwrap();
    assert!(
        matches!(problem.kind, ProblemKind::StartUnreadable(_)),
        "{problem}"
    );
}

#[tokio::test]
async fn what_was_altered_is_not_cut_off() {
    let chain = Chain::of(10).await;
    let mut forged = chain.event(4).await;
    forged.principal_name = "mallory".into();
    chain
        .tamper(vec![put(&key(4), encode("", &forged).unwrap())])
        .await;
    let error = chain.cut(&YEAR, LATER).await.unwrap_err();
    assert!(matches!(error, CutError::Broken(4, _)), "{error}");
    assert_eq!(chain.stored().await.len(), 10);
    assert_eq!(chain.ledger.sweep("acme").await.unwrap(), 0);
}

#[tokio::test]
async fn many_events_wash_nothing_young_away() {
    let chain = Chain::of(50).await;
    let few = Keep {
        age: None,
        most: Some(20),
    };
    assert_eq!(chain.cut(&few, 29).await.unwrap().events, 0);
    let cut = chain.cut(&few, 31).await.unwrap();
    assert_eq!((cut.events, cut.kept), (30, 21));
    assert_eq!(chain.verify(None).await.first, 31);
    // An age below the least is the least.
    let day = Keep {
        age: Some(DAY),
        most: None,
    };
    assert_eq!(chain.cut(&day, 29).await.unwrap().events, 0);
    assert_eq!(chain.cut(&Keep::ALL, 5000).await.unwrap().events, 0);
}

#[tokio::test]
async fn an_idle_chain_is_not_cut_for_its_own_cuts() {
    let chain = Chain::of(3).await;
    chain.cut(&YEAR, 500).await.unwrap();
    chain.cut(&YEAR, 1000).await.unwrap();
    let before = chain.listed().await;
    assert!(before.iter().all(|event| event.action == CUT), "{before:?}");
    assert_eq!(chain.cut(&YEAR, 1500).await.unwrap().events, 0);
    assert_eq!(chain.listed().await, before);
}

#[tokio::test]
async fn a_clock_that_was_wrong_costs_no_more_than_a_month() {
    // A year of events, one each day, and five that were written while the clock was in another century.
    let chain = Chain::of(365).await;
    let begun = in_days(0);
    let day = u64::try_from(DAY.as_micros()).unwrap();
    let wild = 10..15;
    chain
        .redate(|at| match wild.contains(&at) {
            true => begun + 100 * 365 * day,
            false => begun + at * day,
        })
        .await;
    assert!(chain.verify(None).await.intact());
    // Ten years later all is old: one cut takes a month of it.
    let cut = chain.cut(&YEAR, 3650).await.unwrap();
    assert_eq!(cut.events, 31);
    // Five of those that were written with a wrong clock go with what is before and behind them, not before.
    let chain = Chain::of(30).await;
    chain
        .redate(|at| match wild.contains(&at) {
            true => begun + 100 * 365 * day,
            false => begun + at * day,
        })
        .await;
    assert_eq!(chain.cut(&YEAR, 412).await.unwrap().events, 9);
    assert_eq!(chain.cut(&YEAR, 415).await.unwrap().events, 6);
    assert!(chain.verify(None).await.intact());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_and_proofs_go_on_while_a_chain_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::sqlite(&directory.path().join("flaredb.sqlite"))
        .await
        .unwrap();
    let ledger = Ledger::new(db.clone(), "test");
    let chain = Chain { db, ledger };
    for _ in 0..600 {
        chain
            .ledger
            .record(event("test:things:make"))
            .await
            .unwrap();
    }
    let writing = chain.ledger.clone();
    let writer = tokio::spawn(async move {
        for _ in 0..300 {
            writing.record(event("test:things:make")).await.unwrap();
        }
    });
    let proving = chain.ledger.clone();
    let prover = tokio::spawn(async move {
        for _ in 0..20 {
            let report = proving.verify(Some(&acme()), None).await.unwrap();
            assert_eq!(report.problem, None);
        }
    });
    let cut = chain.cut(&YEAR, LATER).await.unwrap();
    assert!(cut.events >= 599, "{cut:?}");
    while chain.ledger.sweep("acme").await.unwrap() > 0 {}
    writer.await.unwrap();
    prover.await.unwrap();
    let report = chain.verify(None).await;
    assert_eq!(report.problem, None);
    assert_eq!(report.head.sequence, 901);
    assert_eq!(report.first, cut.events + 1);
}
