//! Backup, check and restore of a store's file.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flaredb::maintenance::{Restore, backup, check};
use flaredb::{Committed, Db, Error, Op, SCHEMA_VERSION};

fn put(key: &str) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: key.as_bytes().to_vec(),
        lease: None,
    }
}

async fn write(db: &Db, ops: Vec<Op>) -> u64 {
    match db.commit(vec![], ops).await.unwrap() {
        Committed::Done(revision) => revision,
        Committed::Conflict { key } => panic!("a conflict on {key}"),
    }
}

struct Place {
    directory: tempfile::TempDir,
    store: PathBuf,
    copy: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place {
        store: directory.path().join("flaredb.sqlite"),
        copy: directory.path().join("copy.sqlite"),
        directory,
    }
}

impl Place {
    fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// A closed store with these keys.
    async fn with(keys: &[&str]) -> Self {
        let place = place();
        let db = Db::sqlite(&place.store).await.unwrap();
        for key in keys {
            write(&db, vec![put(key)]).await;
        }
        place
    }
}

async fn keys(store: &Path) -> Vec<String> {
    let db = Db::sqlite(store).await.unwrap();
    let scan = db.scan_raw("", None, usize::MAX).await.unwrap();
    scan.items.into_iter().map(|item| item.key).collect()
}

async fn restore(store: &Path, from: &Path) -> Result<Option<PathBuf>, Error> {
    Restore::begin(store, from).await?.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_a_thousand_writers_is_of_one_moment_and_has_all_that_was_acknowledged() {
    let place = place();
    let db = Db::sqlite(&place.store).await.unwrap();
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..1000 {
        let (db, acknowledged, stop) = (db.clone(), acknowledged.clone(), stop.clone());
        writers.spawn(async move {
            for n in 0.. {
                let key = format!("{writer}-{n}");
                let both = vec![put(&format!("x/{key}")), put(&format!("y/{key}"))];
                write(&db, both).await;
                acknowledged.lock().unwrap().insert(key);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }
    let mut copies = Vec::new();
    for n in 0..3 {
        // Each writer is heard of once more, so that they are all at it.
        let mut watch = db.watch("x/", db.revision().await.unwrap()).await.unwrap();
        for _ in 0..1000 {
            watch.next().await.unwrap().unwrap();
        }
        let before = acknowledged.lock().unwrap().clone();
        let copy = place.directory.path().join(format!("copy-{n}"));
        let sound = backup(&place.store, &copy).await.unwrap();
        // They were at it before, and are still.
        let mut watch = db.watch("x/", sound.revision).await.unwrap();
        watch.next().await.unwrap().unwrap();
        copies.push((before, copy, sound));
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    drop(db);

    for (before, copy, sound) in copies {
        let elsewhere = place.directory.path().join("restored.sqlite");
        restore(&elsewhere, &copy).await.unwrap();
        let db = Db::sqlite(&elsewhere).await.unwrap();
        let scan = async |prefix: &str| {
            let scan = db.scan_raw(prefix, None, usize::MAX).await.unwrap();
            let keys = scan.items.iter().map(|item| item.key[2..].to_owned());
            keys.collect::<BTreeSet<_>>()
        };
        let stored = scan("x/").await;
        assert!(!before.is_empty() && before.is_subset(&stored));
        // Whole commits, each with its own revision, up to that moment.
        assert_eq!(stored, scan("y/").await);
        assert_eq!(db.revision().await.unwrap(), stored.len() as u64);
        assert_eq!(sound.revision, stored.len() as u64);
        // It goes on from there.
        assert_eq!(write(&db, vec![put("z")]).await, sound.revision + 1);
    }
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_has_nothing_that_was_deleted() {
    let place = Place::with(&["kept"]).await;
    let db = Db::sqlite(&place.store).await.unwrap();
    let secret = "a-secret-that-was-deleted";
    write(&db, vec![put(secret)]).await;
    write(&db, vec![Op::Delete { key: secret.into() }]).await;
    for n in 0..30_000u64.div_ceil(512) {
        // The log of changes has forgotten it, too.
        let many = (0..512).map(|m| put(&format!("k/{n}/{m}")));
        futures::future::join_all(many.map(|op| write(&db, vec![op]))).await;
    }
    let sound = backup(&place.store, &place.copy).await.unwrap();
    assert_eq!(sound.schema, SCHEMA_VERSION);
    assert_eq!(sound.revision, db.revision().await.unwrap());
    let bytes = std::fs::read(&place.copy).unwrap();
    let has = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(has("kept") && !has(secret));
    let mode = std::fs::metadata(&place.copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let error = backup(&place.store, &place.copy).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is there already: give the name of a file that is not",
            place.copy.display()
        )
    );
    assert_eq!(std::fs::read(&place.copy).unwrap(), bytes);
    let absent = place.directory.path().join("absent.sqlite");
    let nowhere = place.directory.path().join("absent/copy");
    assert!(
        backup(&absent, &absent.with_extension("copy"))
            .await
            .is_err()
    );
    assert!(backup(&place.store, &nowhere).await.is_err());
    drop(db);
    let left = ["copy.sqlite", "flaredb.sqlite", "flaredb.sqlite.lock"];
    assert_eq!(place.files(), left.map(str::to_owned).into());
}

#[tokio::test]
async fn a_restore_puts_the_backup_in_place_and_keeps_what_was_there() {
    let place = Place::with(&["a", "b"]).await;
    backup(&place.store, &place.copy).await.unwrap();
    let db = Db::sqlite(&place.store).await.unwrap();
    write(&db, vec![put("c")]).await;
    let running = restore(&place.store, &place.copy).await.unwrap_err();
    assert!(matches!(running, Error::InUse { .. }), "{running}");
    drop(db);

    let given_up = Restore::begin(&place.store, &place.copy).await.unwrap();
    assert_eq!(given_up.sound().revision, 2);
    let starting = Db::sqlite(&place.store).await;
    assert!(matches!(starting, Err(Error::InUse { .. })), "not now");
    drop(given_up);
    assert_eq!(keys(&place.store).await, ["a", "b", "c"]);

    let kept = restore(&place.store, &place.copy).await.unwrap().unwrap();
    assert_eq!(keys(&place.store).await, ["a", "b"]);
    assert_eq!(keys(&kept).await, ["a", "b", "c"], "{}", kept.display());
    // Back again: what was there is a store like any other.
    let again = restore(&place.store, &kept).await.unwrap().unwrap();
    assert_eq!(keys(&place.store).await, ["a", "b", "c"]);
    assert_ne!(kept, again);
}

#[tokio::test]
async fn what_is_no_sound_backup_is_refused_and_the_store_untouched() {
    let place = Place::with(&["a"]).await;
    let before = std::fs::read(&place.store).unwrap();
    let other = place.directory.path().join("other.sqlite");
    let db = Db::sqlite(&other).await.unwrap();
    for n in 0..50 {
        write(&db, vec![put(&format!("{n:0>200}"))]).await;
    }
    drop(db);
    backup(&other, &place.copy).await.unwrap();
    let good = std::fs::read(&place.copy).unwrap();
    assert!(good.len() > 5 * 4096);
    let mut scratched = good.clone();
    scratched[2 * 4096..3 * 4096].fill(0xAA);
    let short = good[..good.len() - 4096].to_vec();
    let mut newer = good.clone();
    // https://www.sqlite.org/fileformat.html, 1.3: the user version is at 60.
    newer[60..64].copy_from_slice(&(SCHEMA_VERSION + 1).to_be_bytes());
    let mut foreign = good;
    foreign[68..72].copy_from_slice(&[0; 4]);
    for (bytes, expected) in [
        (scratched, "is damaged: "),
        (short, "is damaged: "),
        (newer, "but this program knows schemas up to"),
        (foreign, "is not a FlareDB store"),
        (b"something else ".repeat(400), "is not a FlareDB store"),
        (Vec::new(), "is not a FlareDB store: an empty file"),
    ] {
        std::fs::write(&place.copy, bytes).unwrap();
        let error = restore(&place.store, &place.copy).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{expected}: {text}");
        let name = place.copy.to_str().unwrap();
        assert!(text.contains(name), "{text}");
        assert_eq!(std::fs::read(&place.store).unwrap(), before);
        assert!(check(&place.copy).await.is_err());
    }
    let absent = place.directory.path().join("absent");
    assert!(restore(&place.store, &absent).await.is_err());
    check(&place.store).await.unwrap();
    assert_eq!(keys(&place.store).await, ["a"]);
    assert!(!place.files().iter().any(|name| name.contains("restoring")));
}

#[tokio::test]
async fn a_broken_store_can_be_replaced() {
    let place = Place::with(&["a"]).await;
    backup(&place.store, &place.copy).await.unwrap();
    let garbage = b"not a database any more ".repeat(400);
    std::fs::write(&place.store, &garbage).unwrap();
    let kept = restore(&place.store, &place.copy).await.unwrap().unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), garbage);
    assert_eq!(keys(&place.store).await, ["a"]);
}

#[tokio::test]
async fn a_store_is_read_beside_its_server_and_not_written() {
    let place = place();
    let db = Db::sqlite(&place.store).await.unwrap();
    write(&db, vec![put("a")]).await;
    let reader = Db::sqlite_read_only(&place.store).await.unwrap();
    assert_eq!(reader.get_raw("a").await.unwrap().1, 1);
    write(&db, vec![put("b")]).await;
    assert!(reader.get_raw("b").await.unwrap().0.is_some());
    let refused = reader.commit(vec![], vec![put("c")]).await;
    assert!(
        matches!(refused, Err(Error::ReadOnly { .. })),
        "{refused:?}"
    );
    assert_eq!(check(&place.store).await.unwrap().revision, 2);
}

#[tokio::test]
async fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    let place = place();
    let state = place.directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    if std::fs::metadata(&state).unwrap().uid() == 0 {
        // As systemd gives it to a service's user.
        std::os::unix::fs::chown(&state, Some(61_000), Some(61_000)).unwrap();
    }
    let owner = std::fs::metadata(&state).unwrap().uid();
    let other = Place::with(&["a"]).await;
    backup(&other.store, &place.copy).await.unwrap();
    let store = state.join("flaredb.sqlite");
    restore(&store, &place.copy).await.unwrap();
    restore(&store, &place.copy).await.unwrap();
    let db = Db::sqlite(&store).await.unwrap();
    write(&db, vec![put("b")]).await;
    let mut seen = 0;
    for entry in std::fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        let uid = entry.metadata().unwrap().uid();
        assert_eq!(uid, owner, "{:?}", entry.path());
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}
