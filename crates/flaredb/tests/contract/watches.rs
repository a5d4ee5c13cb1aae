use std::time::Duration;

use flaredb::{Error, Followed, Options, WatchItem};

use crate::{DEADLINE, Factory, change, delete, next, next_item, put, write};

pub(crate) async fn a_watch_gets_one_item_per_commit(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let start = db.revision().await.unwrap();
    let mut watch = db.watch("", start).await.unwrap();
    let first = write(db, vec![put("b", "1"), put("a", "1")]).await;
    let second = write(db, vec![put("a", "2"), delete("b"), delete("c")]).await;
    assert_eq!(
        next(&mut watch).await,
        [change(first, "a", Some("1")), change(first, "b", Some("1"))]
    );
    assert_eq!(
        next(&mut watch).await,
        [change(second, "a", Some("2")), change(second, "b", None)]
    );
    // Nothing is repeated: there is nothing more until the next commit.
    let quiet = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let third = write(db, vec![put("a", "3")]).await;
    assert_eq!(next(&mut watch).await, [change(third, "a", Some("3"))]);
}

pub(crate) async fn a_watch_begins_after_its_revision(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let mut revisions = Vec::new();
    for value in ["1", "2", "3"] {
        revisions.push(write(&fresh.db, vec![put("a", value)]).await);
    }
    let [_, second, third] = revisions[..] else {
        panic!("{revisions:?}");
    };
    for after in [second, third - 1] {
        let mut watch = fresh.db.watch("a", after).await.unwrap();
        assert_eq!(next(&mut watch).await, [change(third, "a", Some("3"))]);
    }
    let mut now = fresh.db.watch("a", third).await.unwrap();
    let fourth = write(&fresh.db, vec![put("a", "4")]).await;
    assert_eq!(next(&mut now).await, [change(fourth, "a", Some("4"))]);
}

pub(crate) async fn a_watch_sees_its_prefix_alone(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let start = fresh.db.revision().await.unwrap();
    let mut watch = fresh.db.watch("b/", start).await.unwrap();
    write(&fresh.db, vec![put("a", "1")]).await;
    let made = write(&fresh.db, vec![put("b/1", "1"), put("b0", "1")]).await;
    write(&fresh.db, vec![put("c", "1"), put("b", "1")]).await;
    let gone = write(&fresh.db, vec![delete("b/1")]).await;
    assert_eq!(next(&mut watch).await, [change(made, "b/1", Some("1"))]);
    assert_eq!(next(&mut watch).await, [change(gone, "b/1", None)]);
}

/// Also where nothing changes: what was committed elsewhere moves a watch on, and no revision is told twice.
pub(crate) async fn a_watch_tells_how_far_it_has_come(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let mut told = db.revision().await.unwrap();
    let mut watch = db.watch("b/", told).await.unwrap();
    for round in 0..3 {
        for elsewhere in ["a", "c/1"] {
            write(db, vec![put(elsewhere, "1")]).await;
        }
        let now = db.barrier().await.unwrap();
        while told < now {
            let item = next_item(&mut watch).await;
            assert!(matches!(item, WatchItem::Progress(_)), "{item:?}");
            assert!(item.revision() > told, "{item:?} after {told}");
            told = item.revision();
        }
        let key = format!("b/{round}");
        let made = write(db, vec![put(&key, "1")]).await;
        loop {
            let item = next_item(&mut watch).await;
            assert!(item.revision() > told, "{item:?} after {told}");
            told = item.revision();
            // It has come past the commit only with it.
            match item {
                WatchItem::Progress(revision) => assert!(revision < made, "{revision}"),
                WatchItem::Commit(changes) => {
                    assert_eq!(changes, [change(made, &key, Some("1"))]);
                    break;
                }
            }
        }
    }
}

/// Somebody keeps a copy of a prefix; others wait until it knows what they know.
pub(crate) async fn who_follows_a_prefix_is_waited_for(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let followed = std::sync::Arc::new(Followed::default());
    let known = std::sync::Arc::new(std::sync::Mutex::new(0));
    let scan = db.scan_raw("b/", None, 10).await.unwrap();
    let mut watch = db.watch("b/", scan.revision).await.unwrap();
    tokio::spawn({
        let (followed, known) = (followed.clone(), known.clone());
        async move {
            while let Some(item) = watch.next_item().await {
                let item = item.unwrap();
                if let WatchItem::Commit(changes) = &item {
                    *known.lock().unwrap() += changes.len();
                }
                followed.reached(item.revision());
            }
        }
    });
    for round in 1..=20 {
        let made = write(db, vec![put(&format!("b/{round}"), "1")]).await;
        let settled = tokio::time::timeout(DEADLINE, followed.settled(db)).await;
        assert!(settled.unwrap().unwrap() >= made);
        assert_eq!(*known.lock().unwrap(), round);
        // What nobody here follows is waited for, too.
        write(db, vec![put("elsewhere", "1")]).await;
        let settled = tokio::time::timeout(DEADLINE, followed.settled(db)).await;
        settled.unwrap().unwrap();
    }
}

/// A watcher that builds a copy from a scan and a watch, while others write, ends with an equal one.
pub(crate) async fn a_scan_and_a_watch_leave_no_gap(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let writer = tokio::spawn({
        let db = fresh.db.clone();
        async move {
            for n in 0..200 {
                let key = format!("k/{}", n % 7);
                let op = match n % 5 {
                    0 => delete(&key),
                    _ => put(&key, &n.to_string()),
                };
                write(&db, vec![op]).await;
            }
            write(&db, vec![put("k/end", "")]).await
        }
    });
    let scan = fresh.db.scan_raw("k/", None, usize::MAX).await.unwrap();
    let mut watch = fresh.db.watch("k/", scan.revision).await.unwrap();
    let mut copy: std::collections::BTreeMap<String, Vec<u8>> = scan
        .items
        .into_iter()
        .map(|item| (item.key, item.value))
        .collect();
    while !copy.contains_key("k/end") {
        for change in next(&mut watch).await {
            match change.value {
                Some(value) => copy.insert(change.key, value),
                None => copy.remove(&change.key),
            };
        }
    }
    writer.await.unwrap();
    let scan = fresh.db.scan_raw("k/", None, usize::MAX).await.unwrap();
    let stored = scan
        .items
        .into_iter()
        .map(|item| (item.key, item.value))
        .collect();
    assert_eq!(copy, stored);
}

/// More changes than one look into the log takes.
pub(crate) async fn a_slow_watcher_loses_nothing(factory: impl Factory) {
    const CHANGES: u64 = 700;
    let fresh = factory.fresh().await;
    let start = fresh.db.revision().await.unwrap();
    let mut watch = fresh.db.watch("k", start).await.unwrap();
    let mut made = Vec::new();
    for n in 1..=CHANGES {
        made.push(write(&fresh.db, vec![put("k", &n.to_string())]).await);
    }
    for (n, revision) in (1..=CHANGES).zip(made) {
        assert_eq!(
            next(&mut watch).await,
            [change(revision, "k", Some(&n.to_string()))]
        );
    }
}

fn short_log() -> Options {
    Options {
        kept_revisions: 20,
        ..Options::default()
    }
}

pub(crate) async fn a_watch_beyond_the_log_is_told_so(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let first = write(db, vec![put("k", "1")]).await;
    let second = write(db, vec![put("k", "2")]).await;
    db.compact_for_test(second).await.unwrap();
    match db.watch("k", first).await {
        Err(Error::Compacted { after, compacted }) => {
            assert_eq!((after, compacted), (first, second));
        }
        other => panic!("{other:?}"),
    }
    // The state is all there, and the log goes on from it.
    assert!(db.get_raw("k").await.unwrap().0.is_some());
    let mut watch = db.watch("k", second).await.unwrap();
    let third = write(db, vec![put("k", "3")]).await;
    assert_eq!(next(&mut watch).await, [change(third, "k", Some("3"))]);
}

pub(crate) async fn a_watcher_that_falls_behind_the_log_is_told_so(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let first = write(db, vec![put("k", "1")]).await;
    let mut watch = db.watch("k", first - 1).await.unwrap();
    assert_eq!(next(&mut watch).await, [change(first, "k", Some("1"))]);
    // Whatever it has taken from the log meanwhile, it takes no more.
    for n in 0..1000 {
        write(db, vec![put("k", &n.to_string())]).await;
    }
    let last = db.revision().await.unwrap();
    db.compact_for_test(last).await.unwrap();
    let end = async {
        loop {
            match watch.next().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    let end = tokio::time::timeout(DEADLINE, end).await.unwrap();
    assert!(
        matches!(end, Some(Err(Error::Compacted { compacted, .. })) if compacted == last),
        "{end:?}"
    );
    assert!(watch.next().await.is_none());
}

pub(crate) async fn a_watch_beyond_the_kept_log_is_told_so(factory: impl Factory) {
    let fresh = factory.make(short_log()).await;
    for n in 0..85 {
        write(&fresh.db, vec![put("k", &n.to_string())]).await;
    }
    match fresh.db.watch("k", 0).await {
        // At least as many as asked for are kept, and the oldest are not.
        Err(Error::Compacted {
            after: 0,
            compacted,
        }) => assert!((45..=65).contains(&compacted), "{compacted}"),
        other => panic!("{other:?}"),
    }
    let mut watch = fresh.db.watch("k", 65).await.unwrap();
    assert_eq!(next(&mut watch).await, [change(66, "k", Some("65"))]);
}

pub(crate) async fn a_log_of_large_records_keeps_fewer_of_them(factory: impl Factory) {
    let few = Options {
        kept_bytes: 10_000,
        ..Options::default()
    };
    let fresh = factory.make(few).await;
    let large = "x".repeat(1000);
    for _ in 0..50 {
        write(&fresh.db, vec![put("k", &large)]).await;
    }
    let compacted = match fresh.db.watch("k", 0).await {
        Err(Error::Compacted { compacted, .. }) => compacted,
        other => panic!("{other:?}"),
    };
    // Ten records at most, and a quarter less after a cut.
    assert!((40..=43).contains(&compacted), "{compacted}");
    let mut watch = fresh.db.watch("k", compacted).await.unwrap();
    for revision in compacted + 1..=50 {
        assert_eq!(
            next(&mut watch).await,
            [change(revision, "k", Some(&large))]
        );
    }
    // One that is larger than all of it is kept until there is another.
    let huge = "x".repeat(20_000);
    let mut watch = fresh.db.watch("k", 50).await.unwrap();
    let last = write(&fresh.db, vec![put("k", &huge)]).await;
    assert_eq!(next(&mut watch).await, [change(last, "k", Some(&huge))]);
}

pub(crate) async fn a_watcher_that_falls_behind_the_kept_log_is_told_so(factory: impl Factory) {
    let fresh = factory.make(short_log()).await;
    write(&fresh.db, vec![put("k", "1")]).await;
    let mut watch = fresh.db.watch("k", 0).await.unwrap();
    assert_eq!(next(&mut watch).await, [change(1, "k", Some("1"))]);
    for n in 0..100 {
        write(&fresh.db, vec![put("k", &n.to_string())]).await;
    }
    let item = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(
        matches!(item, Some(Err(Error::Compacted { after: 1, .. }))),
        "{item:?}"
    );
    assert!(watch.next().await.is_none());
}

pub(crate) async fn a_revision_of_another_store_is_refused(factory: impl Factory) {
    let fresh = factory.fresh().await;
    write(&fresh.db, vec![put("k", "1")]).await;
    let now = fresh.db.revision().await.unwrap();
    match fresh.db.watch("k", now + 1).await {
        Err(Error::FutureRevision { after, current }) => {
            assert_eq!((after, current), (now + 1, now));
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_watch_ends_with_its_store(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let start = fresh.db.revision().await.unwrap();
    let mut watch = fresh.db.watch("k", start).await.unwrap();
    let made = write(&fresh.db, vec![put("k", "1")]).await;
    drop(fresh.db);
    // What was committed is still told.
    assert_eq!(next(&mut watch).await, [change(made, "k", Some("1"))]);
    let end = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}
