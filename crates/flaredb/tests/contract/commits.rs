use std::sync::Arc;

use flaredb::{Committed, Compare, Derive, Derived, Error, MAX_OPS};

use crate::{Factory, change, conflict, delete, done, put, told_since, write};

pub(crate) async fn a_commit_is_all_or_nothing(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let revision = write(&fresh.db, vec![put("a", "1"), put("b", "1")]).await;
    let compares = vec![Compare::Present("a".into()), Compare::Absent("b".into())];
    let ops = vec![put("a", "2"), put("c", "2"), delete("b")];
    let committed = fresh.db.commit(compares, ops).await.unwrap();
    assert_eq!(committed, conflict("b"));
    let scan = fresh.db.scan_raw("", None, 10).await.unwrap();
    let values: Vec<_> = scan
        .items
        .iter()
        .map(|item| (&*item.key, &*item.value))
        .collect();
    assert_eq!(values, [("a", &b"1"[..]), ("b", b"1")]);
    assert_eq!(told_since(&fresh.db, revision).await, [[]; 0]);
}

pub(crate) async fn each_comparison_decides(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let first = write(&fresh.db, vec![put("a", "1")]).await;
    let second = write(&fresh.db, vec![put("a", "2")]).await;
    for (compare, holds) in [
        (Compare::Present("a".into()), true),
        (Compare::Absent("a".into()), false),
        (Compare::Modified("a".into(), second), true),
        (Compare::Modified("a".into(), first), false),
        (Compare::Modified("a".into(), second + 1), false),
        (Compare::Present("b".into()), false),
        (Compare::Absent("b".into()), true),
        (Compare::Modified("b".into(), 0), false),
    ] {
        let key = compare.key().to_owned();
        let committed = fresh
            .db
            .commit(vec![compare.clone()], vec![])
            .await
            .unwrap();
        match committed {
            Committed::Done(revision) => {
                assert!(holds && revision >= second, "{compare:?}: {revision}");
            }
            conflicts => assert!(!holds && conflicts == conflict(&key), "{compare:?}"),
        }
    }
}

pub(crate) async fn the_revision_grows_with_what_changes(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let empty = db.revision().await.unwrap();
    let first = write(db, vec![put("a", "1"), put("b", "1")]).await;
    assert!(first > empty, "{first}");
    for nothing in [vec![], vec![delete("c")]] {
        assert!(write(db, nothing).await >= first);
    }
    assert_eq!(told_since(db, first).await, [[]; 0]);
    // The same value again is a change: the key was written.
    let second = write(db, vec![put("a", "1")]).await;
    let third = write(db, vec![delete("a"), delete("c")]).await;
    assert!(first < second && second < third, "{first} {second} {third}");
    assert!(db.revision().await.unwrap() >= third);
    let told = [[change(second, "a", Some("1"))], [change(third, "a", None)]];
    assert_eq!(told_since(db, first).await, told);
}

/// A store that nobody else writes to begins at 0 and counts the commits that change something.
pub(crate) async fn a_store_of_its_own_counts_its_commits(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    assert_eq!(db.revision().await.unwrap(), 0);
    assert_eq!(write(db, vec![put("a", "1"), put("b", "1")]).await, 1);
    assert_eq!(write(db, vec![]).await, 1);
    assert_eq!(write(db, vec![delete("c")]).await, 1);
    assert_eq!(write(db, vec![put("a", "1")]).await, 2);
    assert_eq!(write(db, vec![delete("a"), delete("c")]).await, 3);
    assert_eq!(db.revision().await.unwrap(), 3);
}

pub(crate) async fn two_writes_to_one_key_are_refused(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let before = write(db, vec![put("a", "0")]).await;
    for ops in [
        vec![put("a", "1"), put("b", "1"), put("a", "2")],
        vec![put("a", "1"), delete("a")],
        vec![delete("a"), delete("a")],
    ] {
        let refused = db.commit(vec![], ops).await;
        assert!(matches!(&refused, Err(Error::DuplicateWrite { key }) if key == "a"));
    }
    // And one that is derived for a key that is written already.
    let derived = derive(&[], |_| {
        Ok(Derived {
            compares: vec![],
            ops: vec![put("a", "2")],
        })
    });
    let refused = db
        .commit_derived(vec![], vec![put("a", "1")], derived)
        .await;
    assert!(matches!(&refused, Err(Error::DuplicateWrite { key }) if key == "a"));
    assert_eq!(told_since(db, before).await, [[]; 0]);
}

/// As many comparisons and writes as an engine may be asked for go through; one more is refused by all.
pub(crate) async fn a_commit_has_bounds(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let key = |n: usize| format!("k/{n:03}");
    let compares = |count| (0..count).map(|n| Compare::Absent(key(n))).collect();
    let ops = |count| (0..count).map(|n| put(&key(n), "")).collect();
    let adding = |compares: usize, ops: usize| {
        let make = move |_: &[Option<flaredb::KeyValue>]| {
            Ok(Derived {
                compares: (0..compares)
                    .map(|n| Compare::Absent(format!("c/{n}")))
                    .collect(),
                ops: (0..ops).map(|n| put(&format!("d/{n}"), "")).collect(),
            })
        };
        derive(&["head"], make)
    };
    let before = db.revision().await.unwrap();
    for (compared, written, derived, what) in [
        (MAX_OPS + 1, 1, vec![], "comparisons"),
        (1, MAX_OPS + 1, vec![], "writes"),
        (MAX_OPS, 1, adding(0, 0), "comparisons"),
        (MAX_OPS - 3, 1, adding(3, 0), "comparisons"),
        (1, MAX_OPS - 3, adding(0, 4), "writes"),
    ] {
        let refused = db
            .commit_derived(compares(compared), ops(written), derived)
            .await;
        assert!(
            matches!(&refused, Err(Error::TooManyOps { what: it, count }) if *it == what && *count == MAX_OPS + 1),
            "{refused:?}"
        );
    }
    assert_eq!(told_since(db, before).await, [[]; 0]);
    let derived = adding(2, 3);
    let all = db
        .commit_derived(compares(MAX_OPS - 3), ops(MAX_OPS - 3), derived)
        .await;
    done(all.unwrap());
    let told = told_since(db, before).await;
    assert_eq!((told.len(), told[0].len()), (1, MAX_OPS));
}

pub(crate) async fn a_deleted_key_is_new_when_put_again(factory: impl Factory) {
    let fresh = factory.fresh().await;
    write(&fresh.db, vec![put("a", "1")]).await;
    write(&fresh.db, vec![delete("a")]).await;
    assert_eq!(fresh.db.get_raw("a").await.unwrap().0, None);
    let again = write(&fresh.db, vec![put("a", "1")]).await;
    let item = fresh.db.get_raw("a").await.unwrap().0.unwrap();
    assert_eq!((item.created, item.modified), (again, again));
}

fn derive(
    reads: &[&str],
    make: impl Fn(&[Option<flaredb::KeyValue>]) -> Result<Derived, Error> + Send + Sync + 'static,
) -> Vec<Derive> {
    vec![Derive {
        reads: reads.iter().map(|&key| key.to_owned()).collect(),
        make: Box::new(make),
    }]
}

pub(crate) async fn derived_writes_see_the_state_of_the_commit(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let before = write(&fresh.db, vec![put("a", "before")]).await;
    let derived = derive(&["a", "b"], move |read| {
        let [Some(a), None] = read else {
            panic!("{read:?}");
        };
        assert_eq!((a.key.as_str(), a.modified), ("a", before));
        let value = String::from_utf8(a.value.clone()).unwrap();
        Ok(Derived {
            compares: vec![],
            ops: vec![put("c", &value), put("d", "derived")],
        })
    });
    let ops = vec![put("a", "after"), put("b", "given")];
    let revision = done(fresh.db.commit_derived(vec![], ops, derived).await.unwrap());
    assert!(revision > before, "{revision}");
    for (key, value) in [
        ("a", "after"),
        ("b", "given"),
        ("c", "before"),
        ("d", "derived"),
    ] {
        let item = fresh.db.get_raw(key).await.unwrap().0.unwrap();
        let expected = (value.as_bytes().to_vec(), revision);
        assert_eq!((item.value, item.modified), expected);
    }
}

pub(crate) async fn a_refused_derivation_writes_nothing(factory: impl Factory) {
    #[derive(Debug, thiserror::Error)]
    #[error("the head is broken")]
    struct Broken;
    let fresh = factory.fresh().await;
    let before = fresh.db.revision().await.unwrap();
    let refused = derive(&[], |_| Err(Error::Derive(Arc::new(Broken))));
    let ops = vec![put("a", "1")];
    let error = fresh
        .db
        .commit_derived(vec![], ops.clone(), refused)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the head is broken");
    let invalid = derive(&[], |_| {
        Ok(Derived {
            compares: vec![],
            ops: vec![put("/", "1")],
        })
    });
    let error = fresh.db.commit_derived(vec![], ops, invalid).await;
    assert!(matches!(error, Err(Error::InvalidKey { .. })));
    assert_eq!(told_since(&fresh.db, before).await, [[]; 0]);
}

pub(crate) async fn a_derived_comparison_conflicts(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let before = write(&fresh.db, vec![put("taken", "1")]).await;
    let derived = derive(&[], |_| {
        Ok(Derived {
            compares: vec![Compare::Absent("taken".into())],
            ops: vec![put("taken", "2")],
        })
    });
    let ops = vec![put("a", "1")];
    let committed = fresh.db.commit_derived(vec![], ops, derived).await.unwrap();
    assert_eq!(committed, conflict("taken"));
    assert_eq!(told_since(&fresh.db, before).await, [[]; 0]);
}
