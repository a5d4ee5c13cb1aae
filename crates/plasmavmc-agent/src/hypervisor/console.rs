//! The serial console of a guest: what it printed last, and any number of people who watch and type.
//!
//! The agent reads as fast as the guest prints. Whoever watches more slowly loses output, never the guest
//! time. What was printed last is kept below `/run` too, so that it outlives the agent.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use photon_reconcile::Backoff;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex as AsyncMutex, broadcast, mpsc};

use crate::hypervisor::{ControlError, connect_as};

#[cfg(test)]
mod tests;

/// How much of the output is kept, in bytes.
pub const RECENT_LIMIT: usize = 64 * 1024;
/// The file is written anew from the memory when it is longer than this.
const FILE_LIMIT: u64 = 2 * RECENT_LIMIT as u64;
/// Pieces of output (of up to 4 KiB) that may wait for one watcher.
const PIECES_QUEUED: usize = 256;
/// Pieces of input that may wait for the guest.
const INPUT_QUEUED: usize = 64;

/// One guest's console.
pub struct Console {
    recent: Mutex<Recent>,
    output: broadcast::Sender<Arc<[u8]>>,
    input: mpsc::Sender<Vec<u8>>,
    typed: AsyncMutex<mpsc::Receiver<Vec<u8>>>,
}

struct Recent {
    bytes: VecDeque<u8>,
    path: PathBuf,
    file: Option<File>,
}

impl Console {
    /// With what `path` has of an earlier connection. Blocks for a moment.
    pub fn new(path: PathBuf) -> Self {
        let (input, typed) = mpsc::channel(INPUT_QUEUED);
        let mut recent = Recent {
            bytes: tail(&path).into(),
            path,
            file: None,
        };
        recent.rewrite();
        Self {
            recent: Mutex::new(recent),
            output: broadcast::Sender::new(PIECES_QUEUED),
            input,
            typed: AsyncMutex::new(typed),
        }
    }

    /// What was printed last, and everything after that. A receiver that lags has lost pieces.
    pub fn watch(&self) -> (Vec<u8>, broadcast::Receiver<Arc<[u8]>>) {
        let recent = self.lock();
        (
            recent.bytes.iter().copied().collect(),
            self.output.subscribe(),
        )
    }

    /// Types. What the guest does not take for too long is lost, as on a real line.
    pub fn type_in(&self, bytes: Vec<u8>) {
        if self.input.try_send(bytes).is_err() {
            tracing::debug!("the guest does not read its console: input dropped");
        }
    }

    fn printed(&self, bytes: &[u8]) {
        // Under the lock, so that nobody who comes now misses or repeats a piece.
        let mut recent = self.lock();
        recent.push(bytes);
        // Without a watcher nobody needs it.
        let _ = self.output.send(bytes.into());
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(RECENT_LIMIT);
        self.bytes.drain(..over);
        let Some(file) = &mut self.file else {
            return;
        };
        let written = file.write_all(bytes).and_then(|()| file.stream_position());
        if !matches!(written, Ok(length) if length <= FILE_LIMIT) {
            self.rewrite();
        }
    }

    /// Without a file the output is kept in memory alone: a full `/run` must not end the console.
    fn rewrite(&mut self) {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path);
        self.file = opened.ok().and_then(|mut file| {
            let (front, back) = self.bytes.as_slices();
            file.write_all(front).ok()?;
            file.write_all(back).ok()?;
            Some(file)
        });
    }
}

/// The end of a file; empty if there is none.
fn tail(path: &Path) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(RECENT_LIMIT as u64)))?;
        let mut bytes = Vec::new();
        file.take(RECENT_LIMIT as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// Stays connected to the console's socket for as long as it is polled.
pub async fn attach(console: Arc<Console>, socket: PathBuf, uid: u32, mut backoff: Backoff) {
    let mut typed = console.typed.lock().await;
    loop {
        match connect_as(&socket, uid).await {
            Ok(stream) => {
                backoff.succeeded();
                let (mut reader, mut writer) = stream.into_split();
                let read = async {
                    let mut buffer = [0_u8; 4096];
                    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                        console.printed(&buffer[..count]);
                    }
                };
                let write = async {
                    while let Some(bytes) = typed.recv().await {
                        if writer.write_all(&bytes).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! {
                    () = read => {}
                    () = write => {}
                }
            }
            Err(ControlError::Connect { .. }) => {}
            Err(error) => tracing::warn!(%error, "no console"),
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}
