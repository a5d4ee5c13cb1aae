use std::collections::BTreeMap;

use flaredb::{Committed, Compare, Derive, Derived, Op, Options};
use tokio::task::JoinSet;

use crate::{DEADLINE, Factory, Number, done, next, number, put, told_since, write};

pub(crate) async fn no_update_is_lost(factory: impl Factory) {
    const TASKS: u64 = 32;
    const EACH: u64 = 10;
    // All is looked at in the end. In a crowd each try is followed by others' commits, and there are as many tries as
    // conflicts.
    let kept = Options {
        kept_revisions: 1_000_000,
        ..Options::default()
    };
    let fresh = factory.make(kept).await;
    let before = fresh.db.revision().await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let db = fresh.db.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let mut tx = db.begin();
                    let value = tx.get::<Number>("n").await.unwrap().map_or(0, |n| n.value);
                    tx.put("n", &number(value + 1)).unwrap();
                    match tx.commit().await.unwrap() {
                        Committed::Done(_) => break,
                        Committed::Conflict { key } => assert_eq!(key, "n"),
                    }
                }
            }
        });
    }
    let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(DEADLINE, all).await.unwrap();
    let stored = fresh.db.get::<Number>("n").await.unwrap();
    assert_eq!(stored, Some(number(TASKS * EACH)));
    // Each success was a revision, and no conflict was.
    let told = told_since(&fresh.db, before).await;
    assert_eq!(told.len() as u64, TASKS * EACH);
}

pub(crate) async fn one_of_many_creators_wins(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let db = fresh.db.clone();
        tasks.spawn(async move {
            let ops = vec![put("name", &n.to_string()), put(&format!("by/{n}"), "")];
            let compares = vec![Compare::Absent("name".into())];
            matches!(db.commit(compares, ops).await.unwrap(), Committed::Done(_))
        });
    }
    let won = tasks
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
    let by = fresh.db.scan_raw("by/", None, 10).await.unwrap();
    let name = fresh.db.get_raw("name").await.unwrap().0.unwrap();
    let winner = String::from_utf8(name.value).unwrap();
    assert_eq!(by.items.len(), 1);
    assert_eq!(by.items[0].key, format!("by/{winner}"));
}

/// Watches that are opened in the middle of a storm of commits each see every commit after theirs once, and in order.
pub(crate) async fn commits_and_watches_race(factory: impl Factory) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 40;
    let fresh = factory.fresh().await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let db = fresh.db.clone();
        writers.spawn(async move {
            for n in 0..EACH {
                write(&db, vec![put(&format!("k/{writer}"), &n.to_string())]).await;
            }
        });
    }
    let mut watchers = JoinSet::new();
    for _ in 0..8 {
        let db = fresh.db.clone();
        watchers.spawn(async move {
            let scan = db.scan_raw("k/", None, 100).await.unwrap();
            let number =
                |value: &[u8]| -> u64 { std::str::from_utf8(value).unwrap().parse().unwrap() };
            // The next value of each key.
            let mut expected: BTreeMap<String, u64> = (0..WRITERS)
                .map(|writer| (format!("k/{writer}"), 0))
                .collect();
            for item in scan.items {
                expected.insert(item.key, number(&item.value) + 1);
            }
            let mut after = scan.revision;
            let mut watch = db.watch("k/", after).await.unwrap();
            while expected.values().any(|next| *next < EACH) {
                let changes = next(&mut watch).await;
                assert_eq!(changes.len(), 1);
                let change = &changes[0];
                assert!(change.revision > after, "{change:?} after {after}");
                after = change.revision;
                let value = number(change.value.as_deref().unwrap());
                let wanted = expected.get_mut(&change.key).unwrap();
                assert_eq!(value, *wanted, "{change:?}");
                *wanted += 1;
            }
        });
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
    watchers.join_all().await;
}

pub(crate) async fn parallel_derivations_make_a_sequence_without_gaps(factory: impl Factory) {
    const TASKS: u64 = 100;
    let fresh = factory.fresh().await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let db = fresh.db.clone();
        tasks.spawn(async move {
            let derive = Derive {
                reads: vec!["head".into()],
                make: Box::new(move |read| {
                    let head = match &read[0] {
                        Some(item) => String::from_utf8_lossy(&item.value).parse().unwrap(),
                        None => 0u64,
                    };
                    let number = head + 1;
                    let event = format!("event/{number:05}");
                    Ok(Derived {
                        compares: vec![Compare::Absent(event.clone())],
                        ops: vec![
                            put("head", &number.to_string()),
                            put(&event, &task.to_string()),
                        ],
                    })
                }),
            };
            let ops: Vec<Op> = vec![put(&format!("state/{task}"), "")];
            done(db.commit_derived(vec![], ops, vec![derive]).await.unwrap());
        });
    }
    tasks.join_all().await;
    let events = fresh.db.scan_raw("event/", None, 1000).await.unwrap().items;
    assert_eq!(events.last().unwrap().key, format!("event/{TASKS:05}"));
    let mut tasks: Vec<_> = events.into_iter().map(|event| event.value).collect();
    tasks.sort();
    tasks.dedup();
    assert_eq!(tasks.len() as u64, TASKS);
}

pub(crate) async fn readers_never_see_half_a_commit(factory: impl Factory) {
    let fresh = factory.make(Options::default()).await;
    write(&fresh.db, vec![put("k/a", "0"), put("k/b", "0")]).await;
    let writer = tokio::spawn({
        let db = fresh.db.clone();
        async move {
            for n in 1..=100 {
                let value = n.to_string();
                write(&db, vec![put("k/a", &value), put("k/b", &value)]).await;
            }
        }
    });
    let mut seen = 0;
    loop {
        let scan = fresh.db.scan_raw("k/", None, 10).await.unwrap();
        let [a, b] = &scan.items[..] else {
            panic!("{scan:?}");
        };
        assert_eq!((&a.value, a.modified), (&b.value, b.modified));
        assert!(a.modified <= scan.revision, "{scan:?}");
        assert!(scan.revision >= seen, "time went backward");
        seen = scan.revision;
        if a.value == b"100" {
            break;
        }
    }
    writer.await.unwrap();
}

/// Commits that share a sync are accepted or refused each for itself.
pub(crate) async fn a_conflict_does_not_disturb_its_neighbours(factory: impl Factory) {
    const TASKS: u64 = 90;
    let fresh = factory.fresh().await;
    let before = write(&fresh.db, vec![put("taken", "1")]).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let db = fresh.db.clone();
        tasks.spawn(async move {
            let key = format!("k/{task}");
            let compares = match task % 3 {
                0 => vec![Compare::Absent("taken".into())],
                _ => vec![Compare::Absent(key.clone())],
            };
            let op = match task % 3 {
                1 => Op::Put {
                    key,
                    value: vec![],
                    lease: Some(flaredb::LeaseId(404)),
                },
                _ => put(&key, ""),
            };
            let result = db.commit(compares, vec![op]).await;
            match task % 3 {
                0 => assert!(matches!(result, Ok(Committed::Conflict { .. }))),
                1 => assert!(matches!(result, Err(flaredb::Error::LeaseNotFound(_)))),
                _ => assert!(matches!(result, Ok(Committed::Done(_)))),
            }
        });
    }
    tasks.join_all().await;
    let stored = fresh.db.scan_raw("k/", None, 1000).await.unwrap();
    assert_eq!(stored.items.len() as u64, TASKS / 3);
    let told = told_since(&fresh.db, before).await;
    assert_eq!(told.len() as u64, TASKS / 3);
}
