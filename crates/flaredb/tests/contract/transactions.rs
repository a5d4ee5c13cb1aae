use flaredb::{Committed, Db, MAX_OPS, Revision};

use crate::{Factory, Number, conflict, done, number, put, told_since, write};

async fn set(db: &Db, key: &str, value: u64) -> Revision {
    let mut tx = db.begin();
    tx.put(key, &number(value)).unwrap();
    done(tx.commit().await.unwrap())
}

async fn value(db: &Db, key: &str) -> Option<u64> {
    db.get::<Number>(key).await.unwrap().map(|it| it.value)
}

pub(crate) async fn what_was_read_must_not_change(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    set(db, "a", 1).await;
    let mut tx = db.begin();
    assert_eq!(tx.get("a").await.unwrap(), Some(number(1)));
    let second = set(db, "a", 2).await;
    // It answers as the first time, and its commit finds out.
    assert_eq!(tx.get("a").await.unwrap(), Some(number(1)));
    tx.put("b", &number(9)).unwrap();
    assert_eq!(tx.commit().await.unwrap(), conflict("a"));
    assert_eq!(value(db, "b").await, None);

    let mut tx = db.begin();
    let (read, revision) = tx.get_with_revision::<Number>("a").await.unwrap().unwrap();
    assert_eq!((read, revision), (number(2), second));
    tx.put("a", &number(3)).unwrap();
    assert!(done(tx.commit().await.unwrap()) > second);
}

pub(crate) async fn what_was_absent_must_stay_so(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let mut tx = fresh.db.begin();
    assert_eq!(tx.get::<Number>("a").await.unwrap(), None);
    set(&fresh.db, "a", 1).await;
    tx.put("a", &number(2)).unwrap();
    assert_eq!(tx.commit().await.unwrap(), conflict("a"));
    assert_eq!(value(&fresh.db, "a").await, Some(1));
}

pub(crate) async fn own_writes_are_seen(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let first = set(&fresh.db, "a", 1).await;
    let mut tx = fresh.db.begin();
    tx.put("a", &number(2)).unwrap();
    assert_eq!(tx.get("a").await.unwrap(), Some(number(2)));
    tx.delete("a");
    assert_eq!(tx.get::<Number>("a").await.unwrap(), None);
    // The stored one, with its revision, is still to be had.
    let stored = tx.get_with_revision::<Number>("a").await.unwrap();
    assert_eq!(stored, Some((number(1), first)));
    // Nobody else sees anything before the commit.
    assert_eq!(value(&fresh.db, "a").await, Some(1));
    done(tx.commit().await.unwrap());
    assert_eq!(value(&fresh.db, "a").await, None);
}

pub(crate) async fn a_scan_is_merged_with_own_writes(factory: impl Factory) {
    let fresh = factory.fresh().await;
    for key in ["k/1", "k/3", "k/4", "l/1"] {
        set(&fresh.db, key, 0).await;
    }
    let mut tx = fresh.db.begin();
    for key in ["k/2", "k/4", "k", "k0"] {
        tx.put(key, &number(7)).unwrap();
    }
    tx.delete("k/1");
    tx.touch("k/3").await.unwrap();
    let all = [("k/2", 7), ("k/3", 0), ("k/4", 7)];
    for limit in [10, 3, 2, 1, 0] {
        let found = tx.scan::<Number>("k/", limit).await.unwrap();
        let found: Vec<_> = found.iter().map(|(key, it)| (&**key, it.value)).collect();
        assert_eq!(found, all[..limit.min(3)], "{limit}");
    }
}

pub(crate) async fn a_scanned_item_must_not_change(factory: impl Factory) {
    let fresh = factory.fresh().await;
    set(&fresh.db, "k/1", 1).await;
    set(&fresh.db, "k/2", 1).await;
    for delete in [false, true] {
        let mut tx = fresh.db.begin();
        assert_eq!(tx.scan::<Number>("k/", 10).await.unwrap().len(), 2);
        if delete {
            let mut other = fresh.db.begin();
            other.delete("k/2");
            done(other.commit().await.unwrap());
        } else {
            set(&fresh.db, "k/2", 2).await;
        }
        tx.put("sum", &number(2)).unwrap();
        assert_eq!(tx.commit().await.unwrap(), conflict("k/2"));
    }
}

/// Of a set that is larger than any commit, a transaction can take a part, and does not depend on the rest.
pub(crate) async fn a_scan_takes_no_more_than_asked_for(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    for page in 0..3 {
        let numbers = page * MAX_OPS..(page + 1) * MAX_OPS;
        let ops = numbers.map(|n| put(&format!("k/{n:03}"), r#"{"v":1,"d":{"value":1}}"#));
        write(db, ops.collect()).await;
    }
    let mut tx = db.begin();
    let first = tx.scan::<Number>("k/", 1).await.unwrap();
    assert_eq!(first, [("k/000".to_owned(), number(1))]);
    tx.put("any", &number(1)).unwrap();
    set(db, "k/001", 2).await;
    done(tx.commit().await.unwrap());
    // In pages, until there is nothing left.
    let mut pages = 0;
    loop {
        let mut tx = db.begin();
        let page = tx.scan::<Number>("k/", MAX_OPS).await.unwrap();
        if page.is_empty() {
            break;
        }
        for (key, _) in &page {
            tx.delete(key);
        }
        done(tx.commit().await.unwrap());
        pages += 1;
    }
    assert_eq!(pages, 3);
}

pub(crate) async fn touch_guards_against_phantoms(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    // Both count the set and then add to it; at most one may believe its count. Once without a guard record
    // and once with the one that the first round left.
    for round in 0..2 {
        let mut transactions = Vec::new();
        for name in ["a", "b"] {
            let mut tx = db.begin();
            tx.touch("set-guard").await.unwrap();
            let count = tx.scan::<Number>("set/", 10).await.unwrap().len() as u64;
            assert_eq!(count, round);
            tx.put(&format!("set/{name}{round}"), &number(count))
                .unwrap();
            transactions.push(tx);
        }
        let [first, second] = <[_; 2]>::try_from(transactions).ok().unwrap();
        done(second.commit().await.unwrap());
        assert_eq!(first.commit().await.unwrap(), conflict("set-guard"));
        assert_eq!(
            db.scan::<Number>("set/").await.unwrap().len() as u64,
            round + 1
        );
    }
}

pub(crate) async fn touch_keeps_what_is_there(factory: impl Factory) {
    let fresh = factory.fresh().await;
    set(&fresh.db, "a", 5).await;
    let mut tx = fresh.db.begin();
    tx.touch("a").await.unwrap();
    assert_eq!(tx.get("a").await.unwrap(), Some(number(5)));
    let touched = done(tx.commit().await.unwrap());
    let (item, _) = fresh.db.get_raw("a").await.unwrap();
    assert_eq!(item.unwrap().modified, touched);
    assert_eq!(value(&fresh.db, "a").await, Some(5));
    // A write of one's own is kept, before and after the touch.
    let mut tx = fresh.db.begin();
    tx.put("a", &number(6)).unwrap();
    tx.touch("a").await.unwrap();
    tx.touch("b").await.unwrap();
    tx.put("b", &number(7)).unwrap();
    done(tx.commit().await.unwrap());
    assert_eq!(value(&fresh.db, "a").await, Some(6));
    assert_eq!(value(&fresh.db, "b").await, Some(7));
}

pub(crate) async fn a_read_only_transaction_is_validated(factory: impl Factory) {
    let fresh = factory.fresh().await;
    set(&fresh.db, "a", 1).await;
    let mut valid = fresh.db.begin();
    let mut stale = fresh.db.begin();
    valid.get::<Number>("a").await.unwrap();
    stale.get::<Number>("a").await.unwrap();
    assert!(matches!(valid.commit().await.unwrap(), Committed::Done(_)));
    let second = set(&fresh.db, "a", 2).await;
    assert_eq!(stale.commit().await.unwrap(), conflict("a"));
    assert_eq!(told_since(&fresh.db, second).await, [[]; 0]);
}

pub(crate) async fn what_was_read_can_be_checked_without_writing(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    set(db, "a", 1).await;
    for (key, holds) in [("other", true), ("a", false), ("absent", false)] {
        let mut tx = db.begin();
        assert_eq!(tx.get("a").await.unwrap(), Some(number(1)));
        assert_eq!(tx.get::<Number>("absent").await.unwrap(), None);
        tx.put("mine", &number(7)).unwrap();
        set(db, key, 1).await;
        assert_eq!(tx.holds().await.unwrap(), holds, "{key}");
        assert_eq!(value(db, "mine").await, None);
        let mut undo = db.begin();
        undo.delete("absent");
        done(undo.commit().await.unwrap());
    }
}
