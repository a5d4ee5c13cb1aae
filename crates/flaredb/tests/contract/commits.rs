use std::sync::Arc;

use flaredb::{Committed, Compare, Derive, Derived, Error};

use crate::{Factory, conflict, delete, done, put, write};

pub(crate) async fn a_commit_is_all_or_nothing(factory: impl Factory) {
    let fresh = factory.fresh().await;
    write(&fresh.db, vec![put("a", "1"), put("b", "1")]).await;
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
    assert_eq!(scan.revision, 1);
}

pub(crate) async fn each_comparison_decides(factory: impl Factory) {
    let fresh = factory.fresh().await;
    write(&fresh.db, vec![put("a", "1")]).await;
    write(&fresh.db, vec![put("a", "2")]).await;
    for (compare, holds) in [
        (Compare::Present("a".into()), true),
        (Compare::Absent("a".into()), false),
        (Compare::Modified("a".into(), 2), true),
        (Compare::Modified("a".into(), 1), false),
        (Compare::Modified("a".into(), 3), false),
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
        let expected = if holds {
            Committed::Done(2)
        } else {
            conflict(&key)
        };
        assert_eq!(committed, expected, "{compare:?}");
    }
}

pub(crate) async fn the_revision_grows_by_one_for_what_changes(factory: impl Factory) {
    let fresh = factory.fresh().await;
    assert_eq!(
        write(&fresh.db, vec![put("a", "1"), put("b", "1")]).await,
        1
    );
    assert_eq!(write(&fresh.db, vec![]).await, 1);
    assert_eq!(write(&fresh.db, vec![delete("c")]).await, 1);
    // The same value again is a change: the key was written.
    assert_eq!(write(&fresh.db, vec![put("a", "1")]).await, 2);
    assert_eq!(write(&fresh.db, vec![delete("a"), delete("c")]).await, 3);
    assert_eq!(fresh.db.revision().await.unwrap(), 3);
}

pub(crate) async fn of_two_writes_to_one_key_the_last_counts(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let ops = vec![
        put("a", "1"),
        delete("a"),
        put("a", "2"),
        put("b", "1"),
        delete("b"),
    ];
    write(&fresh.db, ops).await;
    let mut watch = fresh.db.watch("", 0).await.unwrap();
    assert_eq!(
        crate::next(&mut watch).await,
        [crate::change(1, "a", Some("2"))]
    );
}

pub(crate) async fn a_deleted_key_is_new_when_put_again(factory: impl Factory) {
    let fresh = factory.fresh().await;
    write(&fresh.db, vec![put("a", "1")]).await;
    write(&fresh.db, vec![delete("a")]).await;
    assert_eq!(fresh.db.get_raw("a").await.unwrap(), (None, 2));
    write(&fresh.db, vec![put("a", "1")]).await;
    let item = fresh.db.get_raw("a").await.unwrap().0.unwrap();
    assert_eq!((item.created, item.modified), (3, 3));
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
    write(&fresh.db, vec![put("a", "before")]).await;
    let derived = derive(&["a", "b"], |read| {
        let [Some(a), None] = read else {
            panic!("{read:?}");
        };
        assert_eq!((a.key.as_str(), a.modified), ("a", 1));
        let value = String::from_utf8(a.value.clone()).unwrap();
        Ok(Derived {
            compares: vec![],
            ops: vec![put("c", &value), put("b", "derived")],
        })
    });
    let ops = vec![put("a", "after"), put("b", "given")];
    let revision = done(fresh.db.commit_derived(vec![], ops, derived).await.unwrap());
    assert_eq!(revision, 2);
    for (key, value) in [("a", "after"), ("b", "derived"), ("c", "before")] {
        let item = fresh.db.get_raw(key).await.unwrap().0.unwrap();
        assert_eq!((item.value, item.modified), (value.as_bytes().to_vec(), 2));
    }
}

pub(crate) async fn a_refused_derivation_writes_nothing(factory: impl Factory) {
    #[derive(Debug, thiserror::Error)]
    #[error("the head is broken")]
    struct Broken;
    let fresh = factory.fresh().await;
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
    assert_eq!(fresh.db.get_raw("a").await.unwrap(), (None, 0));
}

pub(crate) async fn a_derived_comparison_conflicts(factory: impl Factory) {
    let fresh = factory.fresh().await;
    write(&fresh.db, vec![put("taken", "1")]).await;
    let derived = derive(&[], |_| {
        Ok(Derived {
            compares: vec![Compare::Absent("taken".into())],
            ops: vec![put("taken", "2")],
        })
    });
    let ops = vec![put("a", "1")];
    let committed = fresh.db.commit_derived(vec![], ops, derived).await.unwrap();
    assert_eq!(committed, conflict("taken"));
    assert_eq!(fresh.db.get_raw("a").await.unwrap(), (None, 1));
}
