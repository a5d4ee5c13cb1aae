//! Files of images, named by the SHA-256 of their content.
//!
//! A file is written under a temporary name, synced, and renamed; the directory is synced before anybody
//! may refer to the file. So a name is never that of other content, and a crash leaves temporary files,
//! which the next start removes.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use photon_program::room;
use photon_resource::disk_format::TAIL;
use sha2::{Digest, Sha256};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::image_format::HEAD_BYTES;

#[cfg(test)]
mod tests;

const TEMPORARY: &str = ".import-";

/// The directory of files. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Blobs {
    directory: Arc<Path>,
    /// Read: between the rename of a file and the commit of a record that refers to it. Written: while
    /// files without a record are removed.
    unreferenced: Arc<RwLock<()>>,
}

/// While it lives, no file is removed.
#[derive(Debug)]
pub struct Kept<'a> {
    _guard: RwLockReadGuard<'a, ()>,
}

/// A file that is being written; removed again unless it is kept.
#[derive(Debug)]
pub struct Upload {
    path: PathBuf,
    file: File,
    digest: Sha256,
    head: Vec<u8>,
    size: u64,
}

/// A file that was written whole and is on the disk, under its temporary name.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    /// In lower-case hex.
    pub sha256: String,
    pub size: u64,
    /// The beginning, at most [`HEAD_BYTES`].
    pub head: Vec<u8>,
    /// The end, at most [`TAIL`] bytes.
    pub tail: Vec<u8>,
}

impl Blobs {
    /// Opens the directory, which is made if there is none, and removes what a crash left in it.
    pub async fn open(directory: &Path) -> io::Result<Self> {
        let directory: Arc<Path> = directory.into();
        let path = directory.clone();
        blocking(move || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)?;
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if is_temporary(&entry.file_name()) {
                    fs::remove_file(entry.path())?;
                }
            }
            sync_directory(&path)
        })
        .await?;
        Ok(Self {
            directory,
            unreferenced: Arc::default(),
        })
    }

    /// Begins a file.
    pub async fn create(&self) -> io::Result<Upload> {
        let name = format!("{TEMPORARY}{}", uuid::Uuid::new_v4());
        let path = self.directory.join(name);
        blocking(move || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            Ok(Upload {
                path,
                file,
                digest: Sha256::new(),
                head: Vec::new(),
                size: 0,
            })
        })
        .await
    }

    /// Until the answer is dropped, files that nothing refers to yet stay.
    pub async fn hold(&self) -> Kept<'_> {
        Kept {
            _guard: self.unreferenced.read().await,
        }
    }

    /// Gives a written file its name. Durable when it answers. One that is there already is the same.
    pub async fn keep(&self, written: Written, _held: &Kept<'_>) -> io::Result<()> {
        let directory = self.directory.clone();
        blocking(move || {
            let name = directory.join(&written.sha256);
            // An intact file is left alone, since hosts may be reading it; one that was cut off is replaced.
            let intact = fs::metadata(&name).is_ok_and(|found| found.len() == written.size);
            if !intact {
                fs::rename(&written.path, &name)?;
            }
            sync_directory(&directory)
        })
        .await
    }

    /// Opens a file for reading.
    pub async fn read(&self, sha256: &str) -> io::Result<tokio::fs::File> {
        tokio::fs::File::open(self.directory.join(sha256)).await
    }

    /// Removes the files that `in_use`, asked while no import can finish, does not name. Gives how many.
    pub async fn collect<E>(
        &self,
        in_use: impl AsyncFnOnce() -> Result<HashSet<String>, E>,
    ) -> Result<io::Result<usize>, E> {
        let _alone = self.unreferenced.write().await;
        let in_use = in_use().await?;
        let directory = self.directory.clone();
        Ok(blocking(move || {
            let mut removed = 0;
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let used = name.to_str().is_some_and(|name| in_use.contains(name));
                // Temporary files are those of imports that are under way.
                if !used && !is_temporary(&name) {
                    fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
        .await)
    }
}

impl Upload {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The beginning of what was written, at most [`HEAD_BYTES`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Appends.
    ///
    /// Errors: `StorageFull` while there is still room, of which the rest is the stores'.
    pub async fn write(mut self, data: Vec<u8>) -> io::Result<Self> {
        blocking(move || {
            room::expect(&self.path, data.len() as u64)?;
            self.file.write_all(&data)?;
            self.digest.update(&data);
            let missing = HEAD_BYTES.saturating_sub(self.head.len());
            self.head
                .extend_from_slice(&data[..data.len().min(missing)]);
            self.size += data.len() as u64;
            Ok(self)
        })
        .await
    }

    /// Ends the file and brings it to the disk.
    pub async fn finish(mut self) -> io::Result<Written> {
        blocking(move || {
            self.file.sync_all()?;
            let sum = std::mem::take(&mut self.digest).finalize();
            let mut tail = vec![0; self.size.min(TAIL as u64) as usize];
            let from = self.size - tail.len() as u64;
            self.file.read_exact_at(&mut tail, from)?;
            Ok(Written {
                path: std::mem::take(&mut self.path),
                sha256: hex::encode(sum),
                size: self.size,
                head: std::mem::take(&mut self.head),
                tail,
            })
        })
        .await
    }
}

impl Written {
    /// Has `examine` look at the whole file, which it may read at any offset.
    pub async fn examine<T: Send + 'static>(
        &self,
        examine: impl FnOnce(&File) -> T + Send + 'static,
    ) -> io::Result<T> {
        let path = self.path.clone();
        blocking(move || Ok(examine(&File::open(path)?))).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a temporary file; it is gone already when it got its name.
fn remove(path: &Path) {
    if path.as_os_str().is_empty() {
        return;
    }
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a temporary file could not be removed");
    }
}

fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with(TEMPORARY))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
