use flaredb::{Error, KeyValue, MAX_KEY_BYTES, MAX_VALUE_BYTES, Op, Scan};

use crate::{Factory, put, told_since, write};

pub(crate) async fn a_fresh_store_is_empty(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let revision = fresh.db.revision().await.unwrap();
    assert_eq!(fresh.db.get_raw("a").await.unwrap(), (None, revision));
    let nothing = Scan {
        items: vec![],
        revision,
        more: false,
    };
    assert_eq!(fresh.db.scan_raw("", None, 10).await.unwrap(), nothing);
}

pub(crate) async fn a_value_is_read_back_with_its_revisions(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let created = write(&fresh.db, vec![put("a", "1")]).await;
    write(&fresh.db, vec![put("b", "1")]).await;
    let modified = write(&fresh.db, vec![put("a", "2")]).await;
    let expected = KeyValue {
        key: "a".into(),
        value: b"2".to_vec(),
        created,
        modified,
    };
    let (read, revision) = fresh.db.get_raw("a").await.unwrap();
    assert_eq!(read, Some(expected));
    assert!(revision >= modified, "{revision}");
}

pub(crate) async fn values_are_bytes(factory: impl Factory) {
    let fresh = factory.fresh().await;
    for value in [vec![], vec![0, 255, 0], vec![b'x'; MAX_VALUE_BYTES]] {
        let op = Op::Put {
            key: "k".into(),
            value: value.clone(),
            lease: None,
        };
        write(&fresh.db, vec![op]).await;
        assert_eq!(fresh.db.get_raw("k").await.unwrap().0.unwrap().value, value);
    }
}

pub(crate) async fn many_keys_are_read_in_one_go(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    write(db, vec![put("a", "1"), put("b", "1")]).await;
    let last = write(db, vec![put("b", "2")]).await;
    let keys = ["b", "nothing", "a", "b"].map(str::to_owned);
    let (items, revision) = db.get_many(&keys).await.unwrap();
    assert!(revision >= last, "{revision}");
    let mut expected = Vec::new();
    for key in &keys {
        expected.push(db.get_raw(key).await.unwrap().0);
    }
    assert_eq!(items, expected);
    assert_eq!(db.get_many(&[]).await.unwrap().0, []);
    let error = db.get_many(&["/".to_owned()]).await;
    assert!(matches!(error, Err(Error::InvalidKey { .. })));
}

fn keys(scan: &Scan) -> Vec<&str> {
    scan.items.iter().map(|item| item.key.as_str()).collect()
}

pub(crate) async fn a_scan_is_ordered_and_of_its_prefix_alone(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let mut last = 0;
    for key in ["b/2", "b", "a/9", "b/1", "b0", "b/1/x", "c/1", "b./"] {
        last = write(&fresh.db, vec![put(key.trim_end_matches('/'), "")]).await;
    }
    let scan = fresh.db.scan_raw("b/", None, 10).await.unwrap();
    assert_eq!(keys(&scan), ["b/1", "b/1/x", "b/2"]);
    assert!(scan.revision >= last && !scan.more, "{scan:?}");
    let scan = fresh.db.scan_raw("", None, usize::MAX).await.unwrap();
    assert_eq!(
        keys(&scan),
        ["a/9", "b", "b.", "b/1", "b/1/x", "b/2", "b0", "c/1"]
    );
}

pub(crate) async fn a_scan_goes_on_after_a_key(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let ops = (0..5).map(|n| put(&format!("k/{n}"), "")).collect();
    write(&fresh.db, ops).await;
    let db = &fresh.db;
    let first = db.scan_raw("k/", None, 2).await.unwrap();
    assert_eq!((keys(&first), first.more), (vec!["k/0", "k/1"], true));
    // After a key that does not exist, too; the last page is exactly full.
    let second = db.scan_raw("k/", Some("k/1x"), 3).await.unwrap();
    assert_eq!(
        (keys(&second), second.more),
        (vec!["k/2", "k/3", "k/4"], false)
    );
    let past = db.scan_raw("k/", Some("z"), 3).await.unwrap();
    assert_eq!((keys(&past), past.more), (vec![], false));
    let before = db.scan_raw("k/", Some("a"), 1).await.unwrap();
    assert_eq!((keys(&before), before.more), (vec!["k/0"], true));
    let none = db.scan_raw("k/", None, 0).await.unwrap();
    assert_eq!((keys(&none), none.more), (vec![], true));
}

pub(crate) async fn keys_sort_by_code_point(factory: impl Factory) {
    let fresh = factory.fresh().await;
    // UTF-16 would sort the last two the other way round, a locale would mix the first two.
    let sorted = ["Z", "a", "ä", "\u{FFFD}", "\u{10000}"];
    write(&fresh.db, sorted.iter().map(|key| put(key, "")).collect()).await;
    let scan = fresh.db.scan_raw("", None, 10).await.unwrap();
    assert_eq!(keys(&scan), sorted);
}

pub(crate) async fn bad_keys_and_values_are_refused(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let before = fresh.db.revision().await.unwrap();
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    for key in ["", "/a", "a/", "a\0b", long.as_str()] {
        let error = fresh.db.commit(vec![], vec![put(key, "")]).await;
        assert!(matches!(error, Err(Error::InvalidKey { .. })), "{key:?}");
        let error = fresh.db.get_raw(key).await;
        assert!(matches!(error, Err(Error::InvalidKey { .. })), "{key:?}");
    }
    let large = "x".repeat(MAX_VALUE_BYTES + 1);
    let error = fresh.db.commit(vec![], vec![put("k", &large)]).await;
    assert!(matches!(error, Err(Error::ValueTooLarge { size, .. }) if size == large.len()));
    assert_eq!(told_since(&fresh.db, before).await, [[]; 0]);
    // The longest that there can be. (Where others are too, the engine's own prefix takes some of it.)
    write(&fresh.db, vec![put(&long[1..], "")]).await;
}
