//! The `sqlite` engine: one file, durable before it acknowledges.
//!
//! Write-ahead log with `synchronous=FULL`: a commit is synced before SQLite answers, and what readers on
//! other connections see has been synced (<https://www.sqlite.org/wal.html>,
//! <https://www.sqlite.org/pragma.html#pragma_synchronous>).

mod read;
mod read_only;
pub(crate) mod schema;
mod write;

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::Error;
use crate::Options;
use crate::local::Local;

/// Readers never wait for the writer in WAL mode; what is waited for is another connection's recovery of
/// the log after a crash.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn open(path: &Path, options: &Options) -> Result<Local, Error> {
    let (path, options) = (path.to_owned(), options.clone());
    let opened = tokio::task::spawn_blocking(move || open_blocking(&path, &options)).await;
    // Blocking tasks are not cancelled once they run, so this is a panic, which goes on here.
    opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

pub(crate) async fn open_read_only(path: &Path) -> Result<read_only::ReadOnly, Error> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || read_only::ReadOnly::open(&path)).await;
    opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn open_blocking(path: &Path, options: &Options) -> Result<Local, Error> {
    let lock = lock(path)?;
    create(path)?;
    let writer = connect(path)?;
    let state = schema::prepare(path, &writer, options)?;
    let reader = read::SqliteReader::new(path);
    let storage = write::SqliteStorage::new(path, writer, lock);
    Ok(Local::start(reader, storage, state, options))
}

/// A lock on a file beside the store. It is not on the store's own file, because closing any other handle of
/// that would release SQLite's locks (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let beside = with_suffix(path, ".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&beside)
        .map_err(|source| failed(&beside, source))?;
    adopt(&beside)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message; the holder may be just about to write it.
            let read = file.read_to_string(&mut holder);
            let holder = match (read, holder.trim()) {
                (Ok(_), pid) if !pid.is_empty() => pid.to_owned(),
                _ => "unknown".to_owned(),
            };
            return Err(Error::InUse {
                path: path.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(&beside, source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| failed(&beside, source))?;
    Ok(file)
}

/// The file beside another one that is called like it and more.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// Gives what root has made in the directory of a service's user to that user, or the service could not open it.
pub(crate) fn adopt(path: &Path) -> Result<(), Error> {
    let give = || -> std::io::Result<()> {
        let owner = std::fs::metadata(directory_of(path))?;
        if std::fs::metadata(path)?.uid() == 0 && owner.uid() != 0 {
            std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    };
    give().map_err(|source| failed(path, source))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Or the name may be gone after a power cut, with everything that was acknowledged.
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Makes the file if there is none, readable by its owner alone; SQLite gives its log the same mode.
fn create(path: &Path) -> Result<(), Error> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(file) => {
            adopt(path)?;
            file.sync_all()
                .and_then(|()| sync_directory(path))
                .map_err(|source| failed(path, source))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(|source| failed(path, source))
        }
        Err(source) => Err(failed(path, source)),
    }
}

pub(crate) fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| failed(path, source))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|source| failed(path, source))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

pub(crate) fn failed(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Storage {
        store: path.display().to_string(),
        source: Arc::new(source),
    }
}
