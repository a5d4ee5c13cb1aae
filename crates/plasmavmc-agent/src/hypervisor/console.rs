//! The serial console of a guest: what it printed last, and any number of people who watch and type.
//!
//! A machine keeps what its guest prints, and the agent is connected to it only while somebody watches ([`look`]): who is
//! connected and does not read makes the guest wait. One that keeps nothing, of an earlier release or an older QEMU, is
//! read for as long as it runs ([`attach`]). Whoever watches more slowly than the guest prints loses output, never the
//! guest time. What was read last is kept below `/run` too, so that it outlives the agent.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use photon_reconcile::Backoff;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify, broadcast, mpsc, watch};

use crate::hypervisor::{Control, ControlError, connect_as};

#[cfg(test)]
mod tests;

/// How much of the output is kept, in bytes.
pub const RECENT_LIMIT: usize = 64 * 1024;
/// The file is written anew from the memory when it is longer than this.
const FILE_LIMIT: u64 = 2 * RECENT_LIMIT as u64;
/// Pieces of output (of up to 4 KiB) that may wait for one watcher.
const PIECES_QUEUED: usize = 256;
/// Pieces of input that may wait for the guest, and the bytes in all of them.
const INPUT_QUEUED: usize = 64;
const INPUT_LIMIT: usize = 64 * 1024;
/// How often it is seen whether somebody watches still.
const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// One guest's console.
pub struct Console {
    recent: Mutex<Recent>,
    output: broadcast::Sender<Arc<[u8]>>,
    input: mpsc::Sender<Vec<u8>>,
    typed: AsyncMutex<mpsc::Receiver<Vec<u8>>>,
    /// Bytes that wait in `input`.
    waiting: AtomicUsize,
    /// Told when somebody begins to watch.
    watched: Notify,
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
            waiting: AtomicUsize::new(0),
            watched: Notify::new(),
        }
    }

    /// What was printed last, and everything after that. A receiver that lags has lost pieces.
    pub fn watch(&self) -> (Vec<u8>, broadcast::Receiver<Arc<[u8]>>) {
        let recent = self.lock();
        let watching = self.output.subscribe();
        self.watched.notify_one();
        (recent.bytes.iter().copied().collect(), watching)
    }

    /// Types. What the guest does not take for too long is lost, as on a real line.
    pub fn type_in(&self, bytes: Vec<u8>) {
        let length = bytes.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed) + length;
        if waiting > INPUT_LIMIT || self.input.try_send(bytes).is_err() {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            tracing::debug!("the guest does not read its console: input dropped");
        }
    }

    /// The next that was typed.
    async fn next_typed(&self, typed: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
        let bytes = typed.recv().await?;
        self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some(bytes)
    }

    fn is_watched(&self) -> bool {
        self.output.receiver_count() > 0
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
                let (mut reader, writer) = stream.into_split();
                let read = async {
                    let mut buffer = [0_u8; 4096];
                    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                        console.printed(&buffer[..count]);
                    }
                };
                tokio::select! {
                    () = read => {}
                    () = write(&console, &mut typed, writer) => {}
                }
            }
            Err(ControlError::Connect { .. }) => {}
            Err(error) => tracing::warn!(%error, "no console"),
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

/// Connects to the console of a machine that keeps its output, while somebody watches. What comes on the socket only says
/// that there is more: all output is taken from where it is kept, so that none is seen twice and none is left out.
pub async fn look(
    console: Arc<Console>,
    mut control: watch::Receiver<Option<Arc<dyn Control>>>,
    socket: PathBuf,
    uid: u32,
    mut backoff: Backoff,
) {
    let mut typed = console.typed.lock().await;
    loop {
        while !console.is_watched() {
            console.watched.notified().await;
        }
        let Ok(control) = control.wait_for(Option::is_some).await.map(|it| it.clone()) else {
            return;
        };
        match (connect_as(&socket, uid).await, control) {
            (Ok(stream), Some(control)) => {
                backoff.succeeded();
                let (reader, writer) = stream.into_split();
                tokio::select! {
                    () = read_kept(&console, &*control, reader) => {}
                    () = write(&console, &mut typed, writer) => {}
                    () = unwatched(&console) => continue,
                }
            }
            (Ok(_), None) | (Err(ControlError::Connect { .. }), _) => {}
            (Err(error), _) => tracing::warn!(%error, "no console"),
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

/// Reads what is kept, now and whenever something comes on the line, until the line or the control ends.
async fn read_kept(console: &Console, control: &dyn Control, mut line: OwnedReadHalf) {
    let mut buffer = [0_u8; 4096];
    loop {
        match control.printed().await {
            Ok(bytes) => bytes.chunks(4096).for_each(|piece| console.printed(piece)),
            Err(error) => {
                tracing::debug!(%error, "what the guest printed is not read");
                return;
            }
        }
        if !matches!(line.read(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn write(console: &Console, typed: &mut mpsc::Receiver<Vec<u8>>, mut line: OwnedWriteHalf) {
    while let Some(bytes) = console.next_typed(typed).await {
        if line.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn unwatched(console: &Console) {
    while console.is_watched() {
        tokio::time::sleep(WATCHED_EVERY).await;
    }
}
