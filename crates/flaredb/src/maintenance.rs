//! What operators do with a store's file: back it up, look whether it is sound, put a backup in its place, end an
//! upgrade.
//!
//! These are of the `sqlite` engine. [`backup`] and [`check`] work beside a program that has the store open; the
//! others take the store's lock, and answer [`Error::InUse`] while it has.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::sqlite::{adopt, connect, failed, lock, schema, sync_directory, with_suffix};
use crate::{Error, Options, Revision, SCHEMA_VERSION};

/// Problems that [`check`] tells of; more would say no more.
const PROBLEMS: u32 = 5;

/// What was found to be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The store's schema.
    pub schema: u32,
    /// Its revision.
    pub revision: Revision,
}

/// Copies the store, as it is at one moment, to `to`, which must not be there yet; it is made whole and synced, or
/// not at all. Everything that was acknowledged before this began is in the copy.
///
/// Writers go on meanwhile: the copy is made in one read transaction. It is a new database of the live records alone,
/// so what was deleted is not in its free pages. See `docs/decisions/0010-backups-by-vacuum-into.md`.
pub async fn backup(store: &Path, to: &Path) -> Result<Sound, Error> {
    let (store, to) = (store.to_owned(), to.to_owned());
    blocking(move || backup_blocking(&store, &to)).await
}

/// Whether SQLite finds nothing wrong with the file, and the program can run against its schema.
///
/// Errors: [`Error::Damaged`], [`Error::NewerStore`], [`Error::OlderStore`], [`Error::NotAStore`].
pub async fn check(store: &Path) -> Result<Sound, Error> {
    let store = store.to_owned();
    blocking(move || check_blocking(&store)).await
}

/// Brings the store to the program's schema, from which the program of before can't read it any more. Answers the schema
/// that it had and the one that it has; a second call changes nothing.
pub async fn finalize(store: &Path) -> Result<(u32, u32), Error> {
    finalize_with(store, &Options::default()).await
}

/// [`finalize`] to the schema of `options`.
pub async fn finalize_with(store: &Path, options: &Options) -> Result<(u32, u32), Error> {
    let (store, to) = (store.to_owned(), options.schema);
    blocking(move || {
        existing(&store)?;
        let _lock = lock(&store)?;
        let connection = connect(&store)?;
        let from = schema::found(&store, &connection)?;
        crate::schema::check(&store, from, to)?;
        if from < to {
            schema::set_up(&connection)
                .and_then(|()| schema::advance(&connection, from, to))
                .map_err(|source| failed(&store, source))?;
        }
        Ok((from, to))
    })
    .await
}

/// A backup that is about to take the store's place: it has been copied beside the store, and is sound as far as
/// SQLite tells. Dropped without [`finish`](Self::finish), it leaves everything as it was.
#[derive(Debug)]
pub struct Restore {
    store: PathBuf,
    copy: PathBuf,
    sound: Sound,
    _lock: File,
}

impl Restore {
    /// Takes the store's lock and copies the backup beside it. The directory must be there, a store need not.
    pub async fn begin(store: &Path, from: &Path) -> Result<Self, Error> {
        let (store, from) = (store.to_owned(), from.to_owned());
        blocking(move || {
            existing(&from)?;
            let lock = lock(&store)?;
            let copy = with_suffix(&store, ".restoring");
            // What an attempt that was killed has left.
            remove(&copy)?;
            let mut restore = Restore {
                store,
                copy,
                sound: Sound {
                    schema: 0,
                    revision: 0,
                },
                _lock: lock,
            };
            check_blocking(&from)?;
            // As a backup of the backup: right even if somebody named a store with a log beside it.
            restore.sound = backup_blocking(&from, &restore.copy)?;
            adopt(&restore.copy)?;
            Ok(restore)
        })
        .await
    }

    /// The copy, for what else has to be checked in it.
    pub fn copy(&self) -> &Path {
        &self.copy
    }

    /// What was found in it.
    pub fn sound(&self) -> Sound {
        self.sound
    }

    /// Puts the copy in the store's place. Answers where the store that was there is now, if there was one.
    pub async fn finish(self) -> Result<Option<PathBuf>, Error> {
        blocking(move || self.finish_blocking()).await
    }

    fn finish_blocking(&self) -> Result<Option<PathBuf>, Error> {
        let store = &self.store;
        let io = |source: std::io::Error| failed(store, source);
        let mut kept = None;
        if store.exists() {
            let beside = with_suffix(store, &format!(".before-{}", now(store)?));
            // Its log belongs to it alone: SQLite would read it into whatever has the store's name next. Where the
            // store is too broken to take its log in, the log moves along.
            take_log_in(store);
            let log = with_suffix(store, "-wal");
            if log.exists() {
                fs::rename(&log, with_suffix(&beside, "-wal")).map_err(io)?;
            }
            remove(&with_suffix(store, "-shm"))?;
            // At each moment there is a store of this name.
            fs::hard_link(store, &beside).map_err(io)?;
            kept = Some(beside);
        }
        fs::rename(&self.copy, store).map_err(io)?;
        sync_directory(store).map_err(io)?;
        Ok(kept)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            if let Err(error) = remove(&with_suffix(&self.copy, suffix)) {
                tracing::warn!(%error, "the copy of a backup is left behind");
            }
        }
    }
}

fn backup_blocking(store: &Path, to: &Path) -> Result<Sound, Error> {
    existing(store)?;
    let exists = || Error::Exists {
        path: to.to_owned(),
    };
    let io = |source: std::io::Error| failed(to, source);
    if fs::symlink_metadata(to).is_ok() {
        return Err(exists());
    }
    let part = Part::new(to)?;
    let connection = connect(store)?;
    let schema = schema::found(store, &connection)?;
    crate::schema::check(store, schema, SCHEMA_VERSION)?;
    let name = part
        .0
        .to_str()
        .ok_or_else(|| io(std::io::Error::other("the name of a backup must be UTF-8")))?;
    connection
        .execute("VACUUM INTO ?1", [name])
        .map_err(|source| failed(store, source))?;
    drop(connection);
    let sound = check_blocking(&part.0).map_err(|error| of(error, store))?;
    File::open(&part.0)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    // Unlike a rename, a link replaces nothing.
    match fs::hard_link(&part.0, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists()),
        linked => linked.map_err(io)?,
    }
    drop(part);
    sync_directory(to).map_err(io)?;
    Ok(sound)
}

/// A file that is being made, readable by its owner alone; removed when dropped.
struct Part(PathBuf);

impl Part {
    fn new(to: &Path) -> Result<Self, Error> {
        let path = with_suffix(to, &format!(".{}.part", std::process::id()));
        // SQLite takes an empty file, and keeps its mode.
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        made.map_err(|source| failed(&path, source))?;
        Ok(Part(path))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            if let Err(error) = remove(&with_suffix(&self.0, suffix)) {
                tracing::warn!(%error, "part of a backup is left behind");
            }
        }
    }
}

fn check_blocking(store: &Path) -> Result<Sound, Error> {
    existing(store)?;
    let connection = connect(store)?;
    let schema = schema::found(store, &connection)?;
    let damaged = |problem: String| Error::Damaged {
        path: store.to_owned(),
        problem,
    };
    if schema == 0 {
        return Err(Error::NotAStore {
            path: store.to_owned(),
            found: "an empty file".to_owned(),
        });
    }
    crate::schema::check(store, schema, SCHEMA_VERSION)?;
    let problems = problems(&connection).map_err(|error| damaged(error.to_string()))?;
    if problems != ["ok"] {
        return Err(damaged(problems.join("; ").replace('\n', "; ")));
    }
    let revision = "SELECT value FROM counters WHERE name = 'revision'";
    let revision = connection
        .query_row(revision, [], |row| row.get(0))
        .map_err(|error| damaged(error.to_string()))?;
    Ok(Sound { schema, revision })
}

fn problems(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS})"))?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Lets the database take its log in, so that it is all in one file; what can't be done stays as it is.
fn take_log_in(store: &Path) {
    let done = connect(store).map(|connection| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    match done {
        Ok(Ok(0)) => {}
        other => tracing::warn!(?other, "the old store keeps its log beside it"),
    }
}

/// The time in UTC, as part of a file's name.
fn now(store: &Path) -> Result<String, Error> {
    Connection::open_in_memory()
        .and_then(|connection| {
            let sql = "SELECT strftime('%Y%m%dT%H%M%fZ', 'now')";
            connection.query_row(sql, [], |row| row.get(0))
        })
        .map_err(|source| failed(store, source))
}

/// The error about the file that the operator knows, not about our copy of it.
fn of(error: Error, path: &Path) -> Error {
    let path = path.to_owned();
    match error {
        Error::Damaged { problem, .. } => Error::Damaged { path, problem },
        Error::NotAStore { found, .. } => Error::NotAStore { path, found },
        Error::NewerStore { found, known, .. } => Error::NewerStore { path, found, known },
        Error::OlderStore { found, known, .. } => Error::OlderStore { path, found, known },
        other => other,
    }
}

fn existing(path: &Path) -> Result<(), Error> {
    File::open(path)
        .map(drop)
        .map_err(|source| failed(path, source))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    // Blocking tasks are not cancelled once they run, so this is a panic, which goes on here.
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
