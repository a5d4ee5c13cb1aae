use flaredb::{Db, Op};

use crate::done;

pub fn put(key: &str, value: &str) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        lease: None,
    }
}

pub async fn a_fresh_store_is_empty_at_revision_0(db: Db) {
    assert_eq!(db.revision().await.unwrap(), 0);
    assert_eq!(db.get_raw("a").await.unwrap(), (None, 0));
    assert!(db.scan_raw("", None, 10).await.unwrap().items.is_empty());
}

pub async fn a_put_is_read_back_with_its_revisions(db: Db) {
    assert_eq!(
        done(db.commit(vec![], vec![put("a", "1")]).await.unwrap()),
        1
    );
    assert_eq!(
        done(db.commit(vec![], vec![put("a", "2")]).await.unwrap()),
        2
    );
    let (item, revision) = db.get_raw("a").await.unwrap();
    let item = item.unwrap();
    assert_eq!((item.created, item.modified, revision), (1, 2, 2));
    assert_eq!(item.value, b"2");
}
