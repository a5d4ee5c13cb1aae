//! What the `sqlite` engine promises beyond the contract: durability, one process at a time, its file.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flaredb::{Committed, Db, Error, Op, SCHEMA_VERSION};

const DEADLINE: Duration = Duration::from_secs(60);

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

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flaredb.sqlite");
    (directory, path)
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let (_directory, path) = directory();
    let db = Db::sqlite(&path).await.unwrap();
    write(&db, vec![put("a"), put("b")]).await;
    write(&db, vec![put("a"), Op::Delete { key: "b".into() }]).await;
    drop(db);

    let db = Db::sqlite(&path).await.unwrap();
    let item = db.get_raw("a").await.unwrap().0.unwrap();
    assert_eq!((item.created, item.modified), (1, 2));
    assert_eq!(db.revision().await.unwrap(), 2);
    // The change log goes on where a watcher left it.
    let mut watch = db.watch("", 1).await.unwrap();
    let changes = watch.next().await.unwrap().unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|it| (&*it.key, it.value.is_some()))
        .collect();
    assert_eq!(told, [("a", true), ("b", false)]);
    assert_eq!(write(&db, vec![put("c")]).await, 3);
    assert_eq!(watch.next().await.unwrap().unwrap()[0].revision, 3);
}

#[tokio::test]
async fn leases_survive_a_restart_and_still_end() {
    let (_directory, path) = directory();
    let ttl = flaredb::MIN_LEASE_TTL;
    let db = Db::sqlite(&path).await.unwrap();
    let short = db.lease_grant(ttl).await.unwrap();
    let long = db.lease_grant(Duration::from_secs(3600)).await.unwrap();
    let leased = |key: &str, lease| Op::Put {
        key: key.into(),
        value: vec![],
        lease: Some(lease),
    };
    write(&db, vec![leased("short", short), leased("long", long)]).await;
    drop(db);

    let db = Db::sqlite(&path).await.unwrap();
    let mut watch = db.watch("", 1).await.unwrap();
    db.lease_keep_alive(short).await.unwrap();
    let kept_alive = std::time::Instant::now();
    let changes = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap();
    let changes = changes.unwrap().unwrap();
    assert_eq!((&*changes[0].key, &changes[0].value), ("short", &None));
    assert!(kept_alive.elapsed() >= ttl);
    db.lease_revoke(long).await.unwrap();
    assert_eq!(db.get_raw("long").await.unwrap().0, None);
    drop(db);

    // A lease that has ended is not back, and its number is not given again.
    let db = Db::sqlite(&path).await.unwrap();
    let over = db.lease_keep_alive(short).await;
    assert!(matches!(over, Err(Error::LeaseNotFound(_))));
    let new = db.lease_grant(ttl).await.unwrap();
    assert!(new > long, "{new} after {long}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let (directory, path) = directory();
    drop(Db::sqlite(&path).await.unwrap());
    assert_eq!(mode(&path), 0o600);
    // Too open, as a careless copy would be.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let db = Db::sqlite(&path).await.unwrap();
    write(&db, vec![put("secret")]).await;
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        names.insert(entry.file_name().into_string().unwrap());
    }
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert!(
            names.contains(&format!("flaredb.sqlite{suffix}")),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn a_store_is_opened_once_at_a_time() {
    let (_directory, path) = directory();
    let db = Db::sqlite(&path).await.unwrap();
    let error = Db::sqlite(&path).await.unwrap_err();
    let holder = std::process::id().to_string();
    assert!(matches!(&error, Error::InUse { holder: it, .. } if *it == holder));
    assert!(
        error.to_string().contains(&format!("process {holder}")),
        "{error}"
    );
    // The one that has it is not disturbed by the attempt.
    write(&db, vec![put("a")]).await;
    let reader = db.clone();
    drop(db);
    assert!(Db::sqlite(&path).await.is_err(), "a clone still holds it");
    drop(reader);
    Db::sqlite(&path).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    let (_directory, path) = directory();
    drop(Db::sqlite(&path).await.unwrap());
    let newer = SCHEMA_VERSION + 1;
    edit(&path, &format!("PRAGMA user_version = {newer}"));
    match Db::sqlite(&path).await {
        Err(error @ Error::NewerStore { .. }) => assert_eq!(
            error.to_string(),
            format!(
                "the store {} has schema {newer}, but this program knows schemas up to {SCHEMA_VERSION}: run the \
                 program that finalized it, or a newer one; to go back, restore a backup of schema {SCHEMA_VERSION}",
                path.display()
            )
        ),
        other => panic!("{other:?}"),
    }
}

fn edit(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn other_files_are_refused_and_left_alone() {
    let (_directory, path) = directory();
    let text = "not a database at all, but long enough for its header ".repeat(20);
    std::fs::write(&path, &text).unwrap();
    let error = Db::sqlite(&path).await.unwrap_err();
    assert!(matches!(error, Error::NotAStore { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    let other = path.with_extension("other");
    edit(&other, "CREATE TABLE notes (text TEXT)");
    let before = std::fs::read(&other).unwrap();
    let error = Db::sqlite(&other).await.unwrap_err();
    assert!(matches!(error, Error::NotAStore { .. }), "{error}");
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let (directory, _) = directory();
    let path = directory.path().join("missing/flaredb.sqlite");
    let error = Db::sqlite(&path).await.unwrap_err().to_string();
    assert!(error.contains("missing/flaredb.sqlite"), "{error}");
    assert!(error.contains("No such file or directory"), "{error}");
}

#[tokio::test]
async fn damage_is_an_error_and_not_a_wrong_answer() {
    let (_directory, path) = directory();
    let db = Db::sqlite(&path).await.unwrap();
    for n in 0..50 {
        write(&db, vec![put(&format!("{n:0>200}"))]).await;
    }
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 4);
    bytes[2 * 4096..].fill(0xAA);
    std::fs::write(&path, bytes).unwrap();
    let result = async {
        let db = Db::sqlite(&path).await?;
        db.scan_raw("", None, usize::MAX).await
    };
    match result.await {
        Err(error @ Error::Storage { .. }) => {
            assert!(error.to_string().contains("malformed"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

const STORE: &str = "FLAREDB_TEST_STORE";

/// Runs the test below in a process of its own, where it finds this store in its environment and writes.
fn start_writer(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kill_9_loses_nothing_that_was_acknowledged",
            "--nocapture",
        ])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the process does that is killed: it ends in no other way.
async fn write_until_killed(path: &Path) {
    let db = Db::sqlite(path).await.unwrap();
    let start = db.revision().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let db = db.clone();
        tasks.spawn(async move {
            for n in 0u64.. {
                let key = format!("{start}-{task}-{n}");
                write(
                    &db,
                    vec![put(&format!("x/{key}")), put(&format!("y/{key}"))],
                )
                .await;
                println!("acknowledged {key}");
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    if let Some(path) = std::env::var_os(STORE) {
        return write_until_killed(Path::new(&path)).await;
    }
    let (_directory, path) = directory();
    let mut acknowledged = BTreeSet::new();
    for round in 0..5 {
        let mut writer = start_writer(&path);
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut take = |line: std::io::Result<String>| {
            // The test harness may have begun the line.
            if let Some((_, key)) = line.unwrap().split_once("acknowledged ") {
                acknowledged.insert(key.to_owned());
            }
        };
        // Killed at different moments of a busy writer.
        for line in lines.by_ref().take(100 + 77 * round) {
            take(line);
        }
        if round == 0 {
            let pid = writer.id().to_string();
            let in_use = Db::sqlite(&path).await;
            assert!(matches!(in_use, Err(Error::InUse { holder, .. }) if holder == pid));
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What was said before the kill is still in the pipe.
        lines.for_each(take);

        let db = Db::sqlite(&path).await.unwrap();
        let scan = |prefix| {
            let db = db.clone();
            async move {
                let scan = db.scan_raw(prefix, None, usize::MAX).await.unwrap();
                let keys = scan.items.iter().map(|item| item.key[2..].to_owned());
                (keys.collect::<BTreeSet<_>>(), scan.revision)
            }
        };
        let (stored, revision) = scan("x/").await;
        assert!(
            acknowledged.is_subset(&stored),
            "lost: {:?}",
            acknowledged.difference(&stored)
        );
        // Whole commits, each with its own revision.
        assert_eq!(stored, scan("y/").await.0);
        assert_eq!(revision, stored.len() as u64);
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
}
