//! Image files on this host: fetched once, verified, shared by all VMs, writable by none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use photon_reconcile::Signal;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::desired::{ImageFile, ImageSource, Sha256Hex};
use super::hex;
use super::layout::Layout;

#[cfg(test)]
mod tests;

/// Pieces of an image file, in order.
pub type Pieces = BoxStream<'static, Result<Vec<u8>, String>>;

/// Where image files are fetched from.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// The file's content from `offset` on.
    async fn fetch(&self, file: &ImageFile, offset: u64) -> Result<Pieces, String>;
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
                if let Err(reason) = result {
                    tracing::warn!(image = %file.sha256, reason, "an image file could not be fetched");
                    state.failed.insert(file.sha256.clone(), reason);
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
    async fn fetch(&self, file: &ImageFile) -> Result<(), String> {
        let failed = |what: &'static str, path: PathBuf| {
            move |error: std::io::Error| format!("{what} {}: {error}", path.display())
        };
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
            .map_err(failed("create", part.clone()))?;
        let (mut digest, mut length) = digest_of(&mut out)
            .await
            .map_err(failed("read", part.clone()))?;
        if length > file.size_bytes {
            out.set_len(0)
                .await
                .map_err(failed("write", part.clone()))?;
            out.rewind().await.map_err(failed("write", part.clone()))?;
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
            digest.update(&piece);
            out.write_all(&piece)
                .await
                .map_err(failed("write", part.clone()))?;
            if let Some(come) = self.state().fetching.get_mut(&file.sha256) {
                *come = length;
            }
        }
        if length < file.size_bytes {
            return Err(format!(
                "the stream ended after {length} of {} bytes; the rest is fetched later",
                file.size_bytes
            ));
        }
        if hex(&digest.finalize()) != file.sha256.as_str() {
            return self.refuse(file, &part, "its SHA-256 is another").await;
        }
        out.sync_all()
            .await
            .map_err(failed("write", part.clone()))?;
        self.finish(file, part).await
    }

    /// The content is right: from now on it is there.
    async fn finish(&self, file: &ImageFile, part: PathBuf) -> Result<(), String> {
        let path = self.layout.image(&file.sha256);
        let directory = self.layout.images();
        let finish = move || -> std::io::Result<()> {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o444))?;
            std::fs::rename(&part, &path)?;
            std::fs::File::open(directory)?.sync_all()
        };
        tokio::task::spawn_blocking(finish)
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("keep {}: {error}", file.sha256))
    }

    async fn refuse(
        &self,
        file: &ImageFile,
        part: &std::path::Path,
        why: &str,
    ) -> Result<(), String> {
        // If it can't be removed, the next attempt finds its digest wrong again.
        let _ = tokio::fs::remove_file(part).await;
        Err(format!("image file {} is refused: {why}", file.sha256))
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
async fn local(path: PathBuf, offset: u64) -> Result<Pieces, String> {
    let failed = |error: std::io::Error| format!("read {}: {error}", path.display());
    let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
    file.seek(std::io::SeekFrom::Start(offset))
        .await
        .map_err(failed)?;
    let pieces = futures::stream::try_unfold(file, |mut file| async move {
        let mut buffer = vec![0_u8; 256 * 1024];
        let count = file.read(&mut buffer).await.map_err(|e| e.to_string())?;
        buffer.truncate(count);
        Ok((count > 0).then_some((buffer, file)))
    });
    Ok(pieces.boxed())
}
