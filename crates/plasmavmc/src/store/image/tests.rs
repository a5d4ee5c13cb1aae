use flaredb::{Committed, decode};
use photon_catalog::stored::by_name;
use photon_resource::VmId;
use proptest::prelude::*;

use super::*;

fn image(name: &str, public: bool) -> Image {
    let now = Time::from_micros(1_700_000_000_123_456);
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
        default_user: String::new(),
        labels: [("os".to_owned(), "linux".to_owned())].into(),
        created_at: now,
        updated_at: now,
        revision: 3,
    }
}

async fn put(db: &Db, before: Option<&Image>, after: &Image) -> Result<(), Error> {
    let mut tx = db.begin();
    match before {
        Some(before) => image_update(&mut tx, before, after).await?,
        None => image_create(&mut tx, after).await?,
    }
    assert!(matches!(tx.commit().await?, Committed::Done(_)));
    Ok(())
}

async fn public_id(db: &Db, name: &str) -> Option<ImageId> {
    let found = public_image(db, name).await.unwrap();
    found.map(|image| image.id)
}

#[tokio::test]
async fn an_image_comes_back_as_it_was_and_leaves_nothing_behind() {
    let db = Db::memory();
    let one = image("linux", true);
    put(&db, None, &one).await.unwrap();
    assert_eq!(load(&db, &one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(public_id(&db, "linux").await, Some(one.id));
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
    let taken = put(&db, None, &image("one", false)).await.unwrap_err();
    assert_eq!(taken.to_string(), "image 'one' already exists");
    let renamed = Image {
        name: "two".into(),
        public: true,
        ..one.clone()
    };
    put(&db, Some(&one), &renamed).await.unwrap();
    let found = by_name::<Image>(&mut db.begin(), &one.scope, "one").await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(public_id(&db, "two").await, Some(one.id));
    let other = Image {
        scope: "org/globex/project/web".parse().unwrap(),
        ..image("two", true)
    };
    let taken = put(&db, None, &other).await.unwrap_err();
    assert_eq!(taken.to_string(), "public image 'two' already exists");
    let hidden = Image {
        public: false,
        ..renamed.clone()
    };
    put(&db, Some(&renamed), &hidden).await.unwrap();
    assert_eq!(public_id(&db, "two").await, None);
}

#[tokio::test]
async fn a_list_shows_own_images_and_then_public_ones_of_others_without_a_gap() {
    let db = Db::memory();
    let of = |scope: &str, name: &str, public| Image {
        scope: scope.parse().unwrap(),
        ..image(name, public)
    };
    for image in [
        of("org/acme/project/web", "own", false),
        of("org/acme/project/web", "shared", true),
        of("org/acme/project/shop", "near", false),
        of("org/globex/project/web", "theirs", false),
        of("org/globex/project/web", "gift", true),
        of("system", "debian", true),
        of("system", "kept", false),
    ] {
        put(&db, None, &image).await.unwrap();
    }
    let names = async |scope: &str, name: &str, size: usize| {
        let (mut names, mut page) = (Vec::new(), PageRequest { size, after: None });
        loop {
            let query = Query {
                scope: scope.parse().unwrap(),
                name: name.into(),
                labels: Default::default(),
                page,
            };
            let listed = image_list(&db, query).await.unwrap();
            assert!(listed.items.len() <= size);
            names.extend(listed.items.into_iter().map(|image| image.name));
            if listed.next_page_token.is_empty() {
                return names;
            }
            page = PageRequest::parse(size as u32, &listed.next_page_token).unwrap();
        }
    };
    for size in 1..=5 {
        let mut own = names("org/acme/project/web", "", size).await;
        assert_eq!(own.split_off(2), ["debian", "gift"], "pages of {size}");
        own.sort();
        assert_eq!(own, ["own", "shared"]);
        let mut all = names("system", "", size).await;
        all.sort();
        let expected = ["debian", "gift", "kept", "near", "own", "shared", "theirs"];
        assert_eq!(all, expected, "pages of {size}");
    }
    assert_eq!(names("org/acme/project/web", "gift", 1).await, ["gift"]);
    assert_eq!(names("org/acme/project/web", "own", 1).await, ["own"]);
    assert_eq!(names("system", "theirs", 1).await, ["theirs"]);
    assert!(names("org/acme", "theirs", 1).await.is_empty());
}

proptest! {
    /// Stored bytes that no program wrote are an error, not a panic.
    #[test]
    fn any_stored_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..1000, byte in any::<u8>()) {
        let _ = decode::<ImageRecord>("image/x", &bytes);
        let one = image("one", false);
        let mut stored = Stored::stored_bytes(&one).unwrap();
        let at = at % stored.len();
        stored[at] = byte;
        if let Ok(record) = decode::<ImageRecord>("image/x", &stored) {
            let _ = Image::restore(one.id, record);
        }
    }
}

/// Whoever deletes an image learns of all its users, and none is added meanwhile, however many there are.
#[tokio::test]
async fn an_image_may_have_more_users_than_one_commit_takes() {
    let db = Db::memory();
    let image = ImageId::generate();
    for _ in 0..130 {
        let mut tx = db.begin();
        users_of_image(image)
            .add(&mut tx, VmId::generate())
            .unwrap();
        assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    }
    let mut judge = db.begin();
    let users = users_of_image(image).ids(&mut judge).await.unwrap();
    assert_eq!(users.len(), 130);
    assert!(judge.holds().await.unwrap());
    let mut judge = db.begin();
    users_of_image(image).ids(&mut judge).await.unwrap();
    let mut adder = db.begin();
    users_of_image(image)
        .add(&mut adder, VmId::generate())
        .unwrap();
    assert!(matches!(adder.commit().await.unwrap(), Committed::Done(_)));
    assert!(!judge.holds().await.unwrap());
}
