//! Image files on this host: fetched once, verified, shared by all VMs, writable by none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use photon_program::room;
use photon_reconcile::Signal;
use photon_resource::ImageId;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::layout::Layout;
use crate::plan::desired::{ImageFile, ImageSource, Sha256Hex};

#[cfg(test)]
mod tests;

/// Pieces of an image file, in order.
pub type Pieces = BoxStream<'static, Result<Vec<u8>, FetchError>>;

/// Why a file is not there. The text is also the report to the owner of a VM that starts from it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("fetch image {image}: {reason}")]
    Registry { image: ImageId, reason: String },
    #[error("the image is in a registry, and no server is known: the file is not one of this host")]
    NoRegistry,
    #[error("the stream ended after {come} of {size_bytes} bytes; the rest is fetched later")]
    Short { come: u64, size_bytes: u64 },
    #[error("image file {sha256} is refused: {why}")]
    Wrong {
        sha256: Sha256Hex,
        why: &'static str,
    },
}

impl FetchError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Where image files are fetched from.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// The file's content from `offset` on.
    async fn fetch(&self, file: &ImageFile, offset: u64) -> Result<Pieces, FetchError>;
}

/// Fetches image files in the background. Clones share what is under way.
#[derive(Clone)]
pub struct Images {
    layout: Layout,
    registry: Arc<dyn Registry>,
    signal: Signal,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Bytes that have come of what is being fetched.
    fetching: BTreeMap<Sha256Hex, u64>,
    /// Why attempts failed, until it is asked for.
    failed: BTreeMap<Sha256Hex, String>,
}

impl Images {
    /// Gives `signal` when a fetch has ended.
    pub fn new(layout: Layout, registry: Arc<dyn Registry>, signal: Signal) -> Self {
        Self {
            layout,
            registry,
            signal,
            state: Arc::default(),
        }
    }

    /// Whether the whole file is there.
    pub fn has(&self, sha256: &Sha256Hex) -> bool {
        self.layout.image(sha256).exists()
    }

    /// What is being fetched, with the bytes that have come.
    pub fn fetching(&self) -> BTreeMap<Sha256Hex, u64> {
        self.state().fetching.clone()
    }

    /// Why fetches failed since this was asked last.
    pub fn take_failures(&self) -> BTreeMap<Sha256Hex, String> {
        std::mem::take(&mut self.state().failed)
    }

    /// Fetches a file in the background, unless that is under way.
    pub fn start(&self, file: &ImageFile) {
        let began = self.state().fetching.insert(file.sha256.clone(), 0);
        if began.is_some() {
            return;
        }
        let (images, file) = (self.clone(), file.clone());
        tokio::spawn(async move {
            let result = images.fetch(&file).await;
            {
                let mut state = images.state();
                state.fetching.remove(&file.sha256);
                if let Err(error) = result {
                    tracing::warn!(image = %file.sha256, %error, "an image file could not be fetched");
                    state.failed.insert(file.sha256.clone(), error.to_string());
                }
            }
            images.signal.notify();
        });
    }

    /// Removes files that no VM starts from and that came longer than `kept` ago; `wanted` are all that any
    /// VM starts from. Blocks.
    pub fn sweep(&self, wanted: &BTreeSet<Sha256Hex>, kept: Duration) {
        let Ok(entries) = std::fs::read_dir(self.layout.images()) else {
            return;
        };
        let fetching = self.fetching();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(sha256) = name.trim_end_matches(".part").parse::<Sha256Hex>() else {
                continue;
            };
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| modified.elapsed().ok());
            let old = age.is_some_and(|age| age >= kept);
            if old && !wanted.contains(&sha256) && !fetching.contains_key(&sha256) {
                tracing::info!(image = %sha256, "no VM here starts from it any more: removed");
                // What can't be removed now is found again the next time.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Fetches a file to its end; a part that an earlier attempt left is continued.
    ///
    /// Errors: why it is not there, for the operator. A part whose content is wrong is removed.
    async fn fetch(&self, file: &ImageFile) -> Result<(), FetchError> {
        if self.has(&file.sha256) {
            return Ok(());
        }
        let part = self.layout.image_part(&file.sha256);
        let mut out = tokio::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .await
            .map_err(FetchError::file("create", &part))?;
        let (mut digest, mut length) = digest_of(&mut out)
            .await
            .map_err(FetchError::file("read", &part))?;
        if length > file.size_bytes {
            out.set_len(0)
                .await
                .map_err(FetchError::file("write", &part))?;
            out.rewind()
                .await
                .map_err(FetchError::file("write", &part))?;
            (digest, length) = (Sha256::new(), 0);
        }
        let mut pieces = match &file.source {
            // It was complete, and the agent ended before it could keep it.
            _ if length == file.size_bytes => futures::stream::empty().boxed(),
            ImageSource::Registry { .. } => self.registry.fetch(file, length).await?,
            ImageSource::Path(path) => local(path.clone(), length).await?,
        };
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            length += piece.len() as u64;
            if length > file.size_bytes {
                return self
                    .refuse(file, &part, "it is longer than announced")
                    .await;
            }
            room::expect(&part, piece.len() as u64).map_err(FetchError::file("write", &part))?;
            digest.update(&piece);
            out.write_all(&piece)
                .await
                .map_err(FetchError::file("write", &part))?;
            if let Some(come) = self.state().fetching.get_mut(&file.sha256) {
                *come = length;
            }
        }
        if length < file.size_bytes {
            return Err(FetchError::Short {
                come: length,
                size_bytes: file.size_bytes,
            });
        }
        if hex::encode(digest.finalize()) != file.sha256.as_str() {
            return self.refuse(file, &part, "its SHA-256 is another").await;
        }
        out.sync_all()
            .await
            .map_err(FetchError::file("write", &part))?;
        self.finish(file, part).await
    }

    /// The content is right: from now on it is there.
    async fn finish(&self, file: &ImageFile, part: PathBuf) -> Result<(), FetchError> {
        let path = self.layout.image(&file.sha256);
        let directory = self.layout.images();
        let finish = move || -> std::io::Result<()> {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o444))?;
            std::fs::rename(&part, &path)?;
            std::fs::File::open(directory)?.sync_all()
        };
        let finished = tokio::task::spawn_blocking(finish).await;
        finished
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(FetchError::file("keep", &self.layout.image(&file.sha256)))
    }

    async fn refuse(
        &self,
        file: &ImageFile,
        part: &Path,
        why: &'static str,
    ) -> Result<(), FetchError> {
        // If it can't be removed, the next attempt finds its digest wrong again.
        let _ = tokio::fs::remove_file(part).await;
        Err(FetchError::Wrong {
            sha256: file.sha256.clone(),
            why,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads to the end; the position is there afterwards.
async fn digest_of(file: &mut tokio::fs::File) -> std::io::Result<(Sha256, u64)> {
    let mut digest = Sha256::new();
    let mut length = 0;
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Ok((digest, length));
        }
        digest.update(&buffer[..count]);
        length += count as u64;
    }
}

/// A file of this host.
async fn local(path: PathBuf, offset: u64) -> Result<Pieces, FetchError> {
    let failed = |path: &Path| FetchError::file("read", path);
    let mut file = tokio::fs::File::open(&path).await.map_err(failed(&path))?;
    file.seek(std::io::SeekFrom::Start(offset))
        .await
        .map_err(failed(&path))?;
    let pieces = futures::stream::try_unfold((file, path), move |(mut file, path)| async move {
        let mut buffer = vec![0_u8; 256 * 1024];
        let count = file.read(&mut buffer).await.map_err(failed(&path))?;
        buffer.truncate(count);
        Ok((count > 0).then_some((buffer, (file, path))))
    });
    Ok(pieces.boxed())
}
