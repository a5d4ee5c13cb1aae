//! Programs of two versions and stores of two schemas: what runs against what, and what is written.

use std::path::{Path, PathBuf};

use flaredb::{Committed, Db, Error, Options, Record, maintenance};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const OLD: u32 = 7;
const NEW: u32 = 8;

fn program(schema: u32) -> Options {
    Options {
        schema,
        fresh_schema: schema,
        ..Options::default()
    }
}

/// As the program of before has it.
mod old {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Disk {
        pub name: String,
        pub gigabytes: u32,
    }

    impl Record for Disk {
        const KIND: &'static str = "disk";
        const VERSION: u32 = 1;
    }
}

/// As the program of now has it: in bytes.
mod new {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Disk {
        pub name: String,
        pub bytes: u64,
    }

    impl Record for Disk {
        const KIND: &'static str = "disk";
        const VERSION: u32 = 2;
        const SINCE: u32 = NEW;

        fn migrate(version: u32, mut value: Value) -> Result<Value, Error> {
            let gigabytes = value["gigabytes"].as_u64().ok_or(Error::Migration {
                kind: Self::KIND,
                version,
                reason: "it has no size".into(),
            })?;
            value["bytes"] = json!(gigabytes << 30);
            value.as_object_mut().unwrap().remove("gigabytes");
            Ok(value)
        }

        fn demote(mut value: Value) -> Result<Value, Error> {
            let bytes = value["bytes"].as_u64().unwrap();
            if !bytes.is_multiple_of(1 << 30) {
                return Err(Error::NotFinalized {
                    kind: Self::KIND,
                    reason: format!("its size of {bytes} bytes is not a multiple of 1 GiB"),
                });
            }
            value["gigabytes"] = json!(bytes >> 30);
            value.as_object_mut().unwrap().remove("bytes");
            Ok(value)
        }
    }
}

async fn put<R: Record>(db: &Db, key: &str, record: &R) -> Result<(), Error> {
    let mut tx = db.begin();
    tx.put(key, record)?;
    match tx.commit().await? {
        Committed::Done(_) => Ok(()),
        Committed::Conflict { key } => panic!("a conflict on {key}"),
    }
}

async fn stored(db: &Db, key: &str) -> Value {
    let item = db.get_raw(key).await.unwrap().0.unwrap();
    serde_json::from_slice(&item.value).unwrap()
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flaredb.sqlite");
    (directory, path)
}

async fn open(path: &Path, schema: u32) -> Result<Db, Error> {
    Db::sqlite_with(path, &program(schema)).await
}

fn old_disk() -> old::Disk {
    old::Disk {
        name: "root".into(),
        gigabytes: 3,
    }
}

#[tokio::test]
async fn a_new_program_keeps_an_older_store_readable_for_the_old_one_until_it_is_finalized() {
    let (_directory, path) = file();
    let db = open(&path, OLD).await.unwrap();
    put(&db, "disk/a", &old_disk()).await.unwrap();
    drop(db);

    // The upgrade: what is there is read, and what is written the old program will read.
    let db = open(&path, NEW).await.unwrap();
    assert_eq!(db.schema(), OLD);
    let mut disk: new::Disk = db.get("disk/a").await.unwrap().unwrap();
    assert_eq!(disk.bytes, 3 << 30);
    disk.bytes = 4 << 30;
    put(&db, "disk/a", &disk).await.unwrap();
    let text = json!({"v": 1, "d": {"name": "root", "gigabytes": 4}});
    assert_eq!(stored(&db, "disk/a").await, text);
    // What it has no place for is refused, not cut.
    disk.bytes += 1;
    let error = put(&db, "disk/a", &disk).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a disk can't be stored before the store's schema is finalized: its size of 4294967297 bytes is not a \
         multiple of 1 GiB; end the upgrade first (photon host upgrade --finalize)"
    );
    let public = photon_resource::Error::from(error);
    assert!(matches!(
        public,
        photon_resource::Error::FailedPrecondition(_)
    ));
    drop(db);

    // The rollback: nothing is missing.
    let db = open(&path, OLD).await.unwrap();
    let disk: old::Disk = db.get("disk/a").await.unwrap().unwrap();
    assert_eq!(disk.gigabytes, 4);
    put(&db, "disk/b", &old_disk()).await.unwrap();
    drop(db);

    // Forward again, and for good.
    let db = open(&path, NEW).await.unwrap();
    let finalize = async || maintenance::finalize_with(&path, &program(NEW)).await;
    let running = finalize().await;
    assert!(matches!(running, Err(Error::InUse { .. })), "{running:?}");
    drop(db);
    assert_eq!(finalize().await.unwrap(), (OLD, NEW));
    assert_eq!(finalize().await.unwrap(), (NEW, NEW), "again: nothing");
    let db = open(&path, NEW).await.unwrap();
    assert_eq!(db.schema(), NEW);
    let mut disk: new::Disk = db.get("disk/b").await.unwrap().unwrap();
    disk.bytes += 1;
    put(&db, "disk/b", &disk).await.unwrap();
    let text = json!({"v": 2, "d": {"name": "root", "bytes": (3u64 << 30) + 1}});
    assert_eq!(stored(&db, "disk/b").await, text);
    let a: new::Disk = db.get("disk/a").await.unwrap().unwrap();
    assert_eq!(a.bytes, 4 << 30, "not written since, still read");
    drop(db);

    let error = open(&path, OLD).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the store {} has schema 8, but this program knows schemas up to 7: run the program that finalized it, \
             or a newer one; to go back, restore a backup of schema 7",
            path.display()
        )
    );
}

#[tokio::test]
async fn two_versions_at_once_are_refused() {
    let (_directory, path) = file();
    drop(open(&path, OLD).await.unwrap());
    let before = std::fs::read(&path).unwrap();
    let error = open(&path, NEW + 1).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the store {} has schema 7, but this program, of schema 9, knows only 8 and 9: run the program of schema \
             8 first, and finalize-schema with it",
            path.display()
        )
    );
    let finalized = maintenance::finalize_with(&path, &program(NEW + 1)).await;
    assert!(matches!(finalized, Err(Error::OlderStore { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn where_there_is_no_store_nothing_is_finalized_or_made() {
    let (directory, path) = file();
    let error = maintenance::finalize(&path).await.unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

/// A change of a store, by whichever program runs then.
#[derive(Debug, Clone)]
enum Step {
    Upgrade,
    Rollback,
    Put(u8, u32),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Upgrade),
        Just(Step::Rollback),
        (0u8..4, 0u32..1000).prop_map(|(key, size)| Step::Put(key, size)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn back_and_forth_loses_nothing_before_it_is_finalized(steps in proptest::collection::vec(a_step(), 1..20)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (_directory, path) = file();
            let mut schema = OLD;
            let mut db = Some(open(&path, schema).await.unwrap());
            let mut expected = std::collections::BTreeMap::new();
            for step in steps {
                match step {
                    Step::Upgrade | Step::Rollback => {
                        schema = if matches!(step, Step::Upgrade) { NEW } else { OLD };
                        db = None;
                        db.replace(open(&path, schema).await.unwrap());
                    }
                    Step::Put(key, gigabytes) => {
                        let (name, key) = (key.to_string(), format!("disk/{key}"));
                        expected.insert(key.clone(), gigabytes);
                        let db = db.as_ref().unwrap();
                        if schema == OLD {
                            put(db, &key, &old::Disk { name, gigabytes }).await.unwrap();
                        } else {
                            let bytes = u64::from(gigabytes) << 30;
                            put(db, &key, &new::Disk { name, bytes }).await.unwrap();
                        }
                    }
                }
            }
            drop(db);
            let db = open(&path, OLD).await.unwrap();
            let disks = db.scan::<old::Disk>("disk/").await.unwrap();
            let found = disks.into_iter().map(|(key, disk)| (key, disk.gigabytes)).collect();
            assert_eq!(expected, found);
        });
    }
}
