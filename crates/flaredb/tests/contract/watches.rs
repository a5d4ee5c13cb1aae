use std::time::Duration;

use flaredb::{Error, Options};

use crate::{DEADLINE, Factory, change, delete, next, put, write};

pub(crate) async fn a_watch_gets_one_item_per_commit(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let mut watch = db.watch("", 0).await.unwrap();
    write(db, vec![put("b", "1"), put("a", "1")]).await;
    write(db, vec![put("a", "2"), delete("b"), delete("c")]).await;
    assert_eq!(
        next(&mut watch).await,
        [change(1, "a", Some("1")), change(1, "b", Some("1"))]
    );
    assert_eq!(
        next(&mut watch).await,
        [change(2, "a", Some("2")), change(2, "b", None)]
    );
    // Nothing is repeated: there is nothing more until the next commit.
    let quiet = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    write(db, vec![put("a", "3")]).await;
    assert_eq!(next(&mut watch).await, [change(3, "a", Some("3"))]);
}

pub(crate) async fn a_watch_begins_after_its_revision(factory: impl Factory) {
    let fresh = factory.fresh().await;
    for value in ["1", "2", "3"] {
        write(&fresh.db, vec![put("a", value)]).await;
    }
    let mut watch = fresh.db.watch("a", 2).await.unwrap();
    assert_eq!(next(&mut watch).await, [change(3, "a", Some("3"))]);
    let mut now = fresh.db.watch("a", 3).await.unwrap();
    write(&fresh.db, vec![put("a", "4")]).await;
    assert_eq!(next(&mut now).await, [change(4, "a", Some("4"))]);
}

pub(crate) async fn a_watch_sees_its_prefix_alone(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let mut watch = fresh.db.watch("b/", 0).await.unwrap();
    write(&fresh.db, vec![put("a", "1")]).await;
    write(&fresh.db, vec![put("b/1", "1"), put("b0", "1")]).await;
    write(&fresh.db, vec![put("c", "1"), put("b", "1")]).await;
    write(&fresh.db, vec![delete("b/1")]).await;
    assert_eq!(next(&mut watch).await, [change(2, "b/1", Some("1"))]);
    assert_eq!(next(&mut watch).await, [change(4, "b/1", None)]);
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
    let mut watch = fresh.db.watch("k", 0).await.unwrap();
    for n in 1..=CHANGES {
        write(&fresh.db, vec![put("k", &n.to_string())]).await;
    }
    for n in 1..=CHANGES {
        assert_eq!(
            next(&mut watch).await,
            [change(n, "k", Some(&n.to_string()))]
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

pub(crate) async fn a_watcher_that_falls_behind_the_log_is_told_so(factory: impl Factory) {
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
    match fresh.db.watch("k", 2).await {
        Err(Error::FutureRevision {
            after: 2,
            current: 1,
        }) => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_watch_ends_with_its_store(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let mut watch = fresh.db.watch("k", 0).await.unwrap();
    write(&fresh.db, vec![put("k", "1")]).await;
    drop(fresh.db);
    // What was committed is still told.
    assert_eq!(next(&mut watch).await, [change(1, "k", Some("1"))]);
    let end = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}
