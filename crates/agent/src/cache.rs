//! The desired state on disk: what a host is restored from after a power cut, with nobody to ask.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use photon_host::durable;

use super::Desired;

/// The file of a desired state, readable by root alone: user data may hold secrets.
pub struct Cache<D> {
    path: PathBuf,
    of: PhantomData<fn() -> D>,
}

impl<D: Desired> Cache<D> {
    /// In a state directory, which must exist before something is stored.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join("desired.json"),
            of: PhantomData,
        }
    }

    /// What was stored last; `None` if nothing was. Blocks.
    ///
    /// Errors: the file can't be read, or is no desired state.
    pub fn load(&self) -> Result<Option<D>> {
        match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => read(&self.path, other).map(Some),
        }
    }

    /// The same for an agent that runs: a file that can't be read is as none, and logged. The control plane will send
    /// everything again, and until then nothing is touched. Blocks.
    pub fn last(&self) -> Option<D> {
        let loaded = self.load().unwrap_or_else(|error| {
            tracing::error!("the desired state kept on this host is of no use: {error:#}");
            None
        });
        if let Some(desired) = &loaded {
            let revision = desired.position().revision;
            tracing::info!(revision, "kept on this host: {}", desired.summary());
        }
        loaded
    }

    /// Stores the contents of such a file; when this returns, they survive a power cut.
    ///
    /// Errors: the file can't be written; the one before is still there.
    pub async fn store(&self, contents: Vec<u8>) -> Result<()> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || durable::write(&path, &contents, 0o600));
        Ok(written.await??)
    }
}

/// A desired state from a file of an operator's.
///
/// Errors: it can't be read, or is none.
pub(crate) fn from_file<D: Desired>(path: &Path) -> Result<(D, Vec<u8>)> {
    let contents = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok((read(path, Ok(contents.clone()))?, contents))
}

fn read<D: Desired>(path: &Path, contents: io::Result<Vec<u8>>) -> Result<D> {
    let contents = contents.with_context(|| format!("read {}", path.display()))?;
    D::from_file(&contents).with_context(|| format!("{} is no desired state", path.display()))
}
