//! A file that keeps what somebody signed in with, for several programs at once.
//!
//! A refresh token is good for once, so only one program at a time may use it: it holds the lock of the file from before it
//! reads until after it has written. The lock is a file beside it, because the file itself is replaced.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::error::Error;
use crate::private_file::{private_folder_of, write_private};

/// How long to wait for another program: longer than a renewal takes that has to be tried again.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often the lock is tried.
const EVERY: Duration = Duration::from_millis(20);

/// What somebody signed in with.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The bearer token.
    pub token: String,
    /// When it ends, in seconds since the epoch; 0: not known.
    #[serde(default)]
    pub expires_at: i64,
    /// From when on another one is to be got.
    #[serde(default)]
    pub renew_at: i64,
    /// Gets it; empty: the token is of no session.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refresh_token: String,
}

/// Where it is kept: mode 0600, and nobody else's.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

/// The file, while no other program changes it.
#[derive(Debug)]
pub struct LockedTokenFile<'a> {
    file: &'a TokenFile,
    /// Let go of when it is closed. None: this file system has no locks.
    _lock: Option<File>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let session = !self.refresh_token.is_empty();
        f.debug_struct("Kept")
            .field("expires_at", &self.expires_at)
            .field("session", &session)
            .finish_non_exhaustive()
    }
}

fn wrong(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Settings(format!("cannot {what} {}: {error}", path.display()))
}

impl TokenFile {
    /// The file at `path`, which need not be there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What is kept now; nothing, where nobody has signed in.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Option<Kept>, Error> {
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong("read", &self.0, &error)),
        };
        let text = text.trim();
        let kept = match text.starts_with('{') {
            true => serde_json::from_str(text).map_err(|error| wrong("read", &self.0, &error))?,
            // As releases before sessions wrote it, and as people paste it: the token and nothing else.
            false => Kept {
                token: text.to_owned(),
                ..Kept::default()
            },
        };
        Ok(Some(kept).filter(|kept| !kept.token.is_empty()))
    }

    /// Waits until no other program changes the file.
    ///
    /// # Errors
    /// When one does for more than 40 s, or the folder cannot be written.
    pub async fn lock(&self) -> Result<LockedTokenFile<'_>, Error> {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let path = self.0.with_file_name(format!(".{name}.lock"));
        let open = || -> io::Result<File> {
            private_folder_of(&path)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).mode(0o600).open(&path)
        };
        let lock = open().map_err(|error| wrong("write", &path, &error))?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(LockedTokenFile {
                        file: self,
                        _lock: Some(lock),
                    });
                }
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => sleep(EVERY).await,
                Err(TryLockError::WouldBlock) => {
                    let text = "another program holds it, which may renew the token: try again";
                    return Err(wrong("lock", &path, &text));
                }
                // Some file systems of other machines have none. A refresh token that two use at the same time gets both the
                // same successor, so that this is no loss.
                Err(TryLockError::Error(_)) => {
                    return Ok(LockedTokenFile {
                        file: self,
                        _lock: None,
                    });
                }
            }
        }
    }
}

impl LockedTokenFile<'_> {
    /// As [`TokenFile::read`].
    ///
    /// # Errors
    /// As that.
    pub fn read(&self) -> Result<Option<Kept>, Error> {
        self.file.read()
    }

    /// Keeps this in the place of what was kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, kept: &Kept) -> Result<(), Error> {
        let path = &self.file.0;
        let text = serde_json::to_vec(kept).map_err(|error| wrong("write", path, &error))?;
        write_private(path, &text).map_err(|error| wrong("write", path, &error))
    }

    /// Forgets what was kept.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        match std::fs::remove_file(&self.file.0) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(wrong("remove", &self.file.0, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_reads_back_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens/rack");
        let file = TokenFile::at(&path);
        assert_eq!(file.read().unwrap(), None);
        let kept = Kept {
            token: "a.b.c".into(),
            expires_at: 20,
            renew_at: 10,
            refresh_token: "photon_session_x".into(),
        };
        let locked = file.lock().await.unwrap();
        locked.write(&kept).unwrap();
        assert_eq!(locked.read().unwrap(), Some(kept.clone()));
        for name in ["rack", ".rack.lock"] {
            let mode = std::fs::metadata(path.with_file_name(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
        }
        let shown = format!("{kept:?}");
        assert!(
            !shown.contains("a.b.c") && !shown.contains("photon_session"),
            "{shown}"
        );
        locked.remove().unwrap();
        locked.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
        std::fs::write(&path, "a.b.c\n").unwrap();
        assert_eq!(file.read().unwrap().unwrap().token, "a.b.c");
    }

    #[tokio::test]
    async fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::at(folder.path().join("rack"));
        let first = file.lock().await.unwrap();
        let second = tokio::time::timeout(EVERY * 5, file.lock()).await;
        assert!(second.is_err(), "two hold the lock");
        drop(first);
        file.lock().await.unwrap();
    }
}
