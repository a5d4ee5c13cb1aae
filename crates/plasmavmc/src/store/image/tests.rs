use std::time::{Duration, SystemTime};

use flaredb::{Committed, decode};
use proptest::prelude::*;

use super::*;

fn image(name: &str, public: bool) -> Image {
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    Image {
        id: ImageId::generate(),
        scope: "org/acme/project/web".parse().unwrap(),
        owner: PrincipalId::generate(),
        name: name.into(),
        description: "ours".into(),
        format: ImageFormat::KernelInitrd,
        files: vec![ImageFile {
            part: ImagePart::Kernel,
            sha256: "ab".repeat(32),
            size_bytes: 7,
        }],
        public,
        virtual_size_bytes: 0,
        kernel_command_line: "quiet".into(),
        labels: [("os".to_owned(), "linux".to_owned())].into(),
        created_at: now,
        updated_at: now,
        revision: 3,
    }
}

async fn put(db: &Db, before: Option<&Image>, after: &Image) -> Result<(), NameTaken> {
    let mut tx = db.begin();
    let done = image_put(&mut tx, before, after).await.unwrap();
    if done.is_ok() {
        assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    }
    done
}

#[tokio::test]
async fn an_image_comes_back_as_it_was_and_leaves_nothing_behind() {
    let db = Db::memory();
    let one = image("linux", true);
    put(&db, None, &one).await.unwrap();
    assert_eq!(image_get(&db, one.id).await.unwrap(), Some(one.clone()));
    let elsewhere = "org/globex/project/web".parse().unwrap();
    let found = image_by_name(&db, &elsewhere, "linux").await.unwrap();
    assert_eq!(found, Some(one.id), "it is public");
    assert!(blobs_in_use(&db).await.unwrap().contains(&"ab".repeat(32)));
    let mut tx = db.begin();
    image_remove(&mut tx, &one);
    let _ = tx.commit().await.unwrap();
    assert!(
        db.scan_raw("image", None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn names_follow_a_change_of_name_and_of_who_may_see_it() {
    let db = Db::memory();
    let one = image("one", false);
    put(&db, None, &one).await.unwrap();
    let taken = put(&db, None, &image("one", false)).await;
    assert_eq!(taken, Err(NameTaken { public: false }));
    let renamed = Image {
        name: "two".into(),
        public: true,
        ..one.clone()
    };
    put(&db, Some(&one), &renamed).await.unwrap();
    assert_eq!(image_by_name(&db, &one.scope, "one").await.unwrap(), None);
    let elsewhere = Scope::System;
    let found = image_by_name(&db, &elsewhere, "two").await.unwrap();
    assert_eq!(found, Some(one.id));
    let other = Image {
        scope: "org/globex/project/web".parse().unwrap(),
        ..image("two", true)
    };
    let taken = put(&db, None, &other).await;
    assert_eq!(taken, Err(NameTaken { public: true }));
    let hidden = Image {
        public: false,
        ..renamed.clone()
    };
    put(&db, Some(&renamed), &hidden).await.unwrap();
    assert_eq!(image_by_name(&db, &elsewhere, "two").await.unwrap(), None);
}

proptest! {
    /// Stored bytes that no program wrote are an error, not a panic.
    #[test]
    fn any_stored_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..1000, byte in any::<u8>()) {
        let _ = decode::<ImageRecord>("image/x", &bytes);
        let one = image("one", false);
        let mut stored = image_bytes(&one).unwrap();
        let at = at % stored.len();
        stored[at] = byte;
        if let Ok(record) = decode::<ImageRecord>("image/x", &stored) {
            let _ = record.into_image(one.id);
        }
    }
}
