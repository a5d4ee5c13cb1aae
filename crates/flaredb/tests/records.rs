//! Stored records: versions, migrations, and what is no record.

use flaredb::{Db, Error, Op, Record, decode, encode};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The third version: `name` was `title` in the first, and `size` was not there before this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Disk {
    name: String,
    size: u64,
    tags: Vec<String>,
}

impl Record for Disk {
    const KIND: &'static str = "disk";
    const VERSION: u32 = 3;

    fn migrate(version: u32, mut value: Value) -> Result<Value, Error> {
        let failed = |reason: &str| Error::Migration {
            kind: Self::KIND,
            version,
            reason: reason.to_owned(),
        };
        let fields = value
            .as_object_mut()
            .ok_or_else(|| failed("it is no object"))?;
        match version {
            1 => {
                let title = fields
                    .remove("title")
                    .ok_or_else(|| failed("it has no title"))?;
                fields.insert("name".into(), title);
            }
            2 => {
                fields.insert("size".into(), json!(0));
            }
            _ => return Err(failed("no such version")),
        }
        Ok(value)
    }
}

/// A record without migrations.
#[derive(Debug, Serialize, Deserialize)]
struct Plain {
    n: u8,
}

impl Record for Plain {
    const KIND: &'static str = "plain thing";
    const VERSION: u32 = 2;
}

fn stored(value: Value) -> Vec<u8> {
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn a_record_is_stored_with_its_version() {
    let disk = Disk {
        name: "root".into(),
        size: 7,
        tags: vec!["ü".into()],
    };
    let bytes = encode("disk/1", &disk).unwrap();
    let text = r#"{"v":3,"d":{"name":"root","size":7,"tags":["ü"]}}"#;
    assert_eq!(std::str::from_utf8(&bytes).unwrap(), text);
    assert_eq!(decode::<Disk>("disk/1", &bytes).unwrap(), disk);
}

#[test]
fn older_records_walk_every_step() {
    let first = stored(json!({"v": 1, "d": {"title": "root", "tags": []}}));
    let second = stored(json!({"v": 2, "d": {"name": "root", "tags": []}}));
    for bytes in [first, second] {
        let disk: Disk = decode("disk/1", &bytes).unwrap();
        assert_eq!((disk.name.as_str(), disk.size), ("root", 0));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let db = Db::memory();
    for (value, expected) in [
        (
            json!({"v": 4, "d": {}}),
            "disk/1 holds a disk of version 4, but this program knows versions up to 3: \
             run the newer program that wrote it",
        ),
        (
            json!({"v": 3, "d": {"name": "root"}}),
            "disk/1 does not hold a valid disk of version 3: missing field `size`",
        ),
        (
            json!({"v": 2, "d": {"name": 1, "tags": []}}),
            "disk/1 does not hold a valid disk of version 2: invalid type: integer `1`, expected a string",
        ),
        (
            json!({"v": 1, "d": {"name": "root"}}),
            "there is no migration of a disk from version 1 to 2: it has no title",
        ),
        (
            json!({"v": 0, "d": {}}),
            "disk/1 does not hold a valid disk of version 0: version 0 never was",
        ),
        (
            json!({"d": {}}),
            "disk/1 does not hold a valid disk: missing field `v`",
        ),
        (
            json!({"v": 3, "d": {"name": "", "size": 1, "tags": []}, "more": 1}),
            "disk/1 does not hold a valid disk: unknown field `more`",
        ),
    ] {
        let op = Op::Put {
            key: "disk/1".into(),
            value: stored(value),
            lease: None,
        };
        let _ = db.commit(vec![], vec![op]).await.unwrap();
        let error = db.get::<Disk>("disk/1").await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(
            db.scan::<Disk>("disk/").await.unwrap_err().to_string(),
            error
        );
    }
}

#[test]
fn without_a_migration_an_older_record_is_an_error() {
    let error = decode::<Plain>("p", br#"{"v":1,"d":{"n":1}}"#).unwrap_err();
    let expected =
        "there is no migration of a plain thing from version 1 to 2: the program has none";
    assert_eq!(error.to_string(), expected);
}

/// JSON that resembles records, so that decoding gets further than its first brace.
fn resembling() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let name = proptest::sample::select(vec!["name", "title", "size", "tags", "v", "d", "x"]);
    let value = leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    (0..6u32, value).prop_map(|(version, value)| stored(json!({"v": version, "d": value})))
}

proptest! {
    #[test]
    fn decoding_never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        resembling in resembling(),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let mut flipped = resembling.clone();
        let at = flip.index(flipped.len());
        flipped[at] ^= with;
        let cut = &resembling[..cut.index(resembling.len())];
        for bytes in [&noise[..], &resembling, &flipped, cut] {
            // What can be read can be written and read again.
            if let Ok(disk) = decode::<Disk>("k", bytes) {
                let again = encode("k", &disk).unwrap();
                prop_assert_eq!(decode::<Disk>("k", &again).unwrap(), disk);
            }
        }
    }

    #[test]
    fn every_record_comes_back(name in ".*", size: u64, tags in proptest::collection::vec(".*", 0..4)) {
        let disk = Disk { name, size, tags };
        let bytes = encode("k", &disk).unwrap();
        prop_assert_eq!(decode::<Disk>("k", &bytes).unwrap(), disk);
    }
}
