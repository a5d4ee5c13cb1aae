//! A connection to QEMU's monitor.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::message::{Decoder, Message, command};
use crate::hypervisor::qemu::{PRINTED, PRINTED_LIMIT};
use crate::hypervisor::{Control, ControlError, GuestEvent, connect_as};

/// Longest time that QEMU may take for a command: it answers at once unless it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Events that may wait for us. A guest that resets itself in a loop must not fill the agent's memory;
/// what is beyond is dropped.
const EVENTS_QUEUED: usize = 64;

type Answer = Result<Value, String>;

#[derive(Default)]
struct Pending {
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
    closed: bool,
}

/// A connection after capability negotiation. Closed when dropped; QEMU then waits for the next.
pub struct Qmp {
    writer: AsyncMutex<OwnedWriteHalf>,
    pending: Arc<Mutex<Pending>>,
    events: AsyncMutex<mpsc::Receiver<GuestEvent>>,
    next_id: AtomicU64,
    reader: AbortHandle,
}

impl Qmp {
    /// Connects to the monitor's socket, which must be served by a process of `uid`.
    ///
    /// Errors: any of `ControlError`. QEMU serves one connection at a time: a second one is accepted but
    /// not answered, and ends as `Silent`.
    pub async fn connect(path: &Path, uid: u32) -> Result<Self, ControlError> {
        let (reader, writer) = connect_as(path, uid).await?.into_split();
        let pending = Arc::new(Mutex::new(Pending::default()));
        let (sender, events) = mpsc::channel(EVENTS_QUEUED);
        let (greeted, greeting) = oneshot::channel();
        let reader = tokio::spawn(read(reader, Arc::clone(&pending), sender, greeted));
        let qmp = Self {
            writer: AsyncMutex::new(writer),
            pending,
            events: AsyncMutex::new(events),
            next_id: AtomicU64::new(1),
            reader: reader.abort_handle(),
        };
        within("greeting", greeting)
            .await?
            .map_err(|_| ControlError::Closed)?;
        qmp.execute("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Sends a command without arguments, waits for its answer, and gives what that returns.
    ///
    /// Errors: `Closed`, `Silent`, `Refused`.
    pub async fn execute(&self, name: &str) -> Result<Value, ControlError> {
        self.execute_with(name, &Value::Null).await
    }

    /// The same with arguments.
    ///
    /// Errors: `Closed`, `Silent`, `Refused`.
    pub async fn execute_with(&self, name: &str, arguments: &Value) -> Result<Value, ControlError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut pending = lock(&self.pending);
            if pending.closed {
                return Err(ControlError::Closed);
            }
            pending.answers.insert(id, sender);
        }
        let sent = self
            .writer
            .lock()
            .await
            .write_all(&command(id, name, arguments))
            .await;
        if sent.is_err() {
            lock(&self.pending).answers.remove(&id);
            return Err(ControlError::Closed);
        }
        let answer = within(name, answer).await;
        if answer.is_err() {
            lock(&self.pending).answers.remove(&id);
        }
        answer?
            .map_err(|_| ControlError::Closed)?
            .map_err(|reason| ControlError::Refused {
                command: name.to_owned(),
                reason,
            })
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[async_trait]
impl Control for Qmp {
    async fn reset(&self) -> Result<(), ControlError> {
        self.execute("system_reset").await.map(drop)
    }

    async fn is_out_of_room(&self) -> Result<bool, ControlError> {
        // `io-error` of RunState in qapi/run-state.json; disks stop the guest for want of room alone.
        let state = self.execute("query-status").await?;
        Ok(state.get("status").and_then(Value::as_str) == Some("io-error"))
    }

    async fn resume(&self) -> Result<(), ControlError> {
        self.execute("cont").await.map(drop)
    }

    async fn printed(&self) -> Result<Vec<u8>, ControlError> {
        let arguments = json!({ "device": PRINTED, "size": PRINTED_LIMIT, "format": "base64" });
        let answer = self.execute_with("ringbuf-read", &arguments).await?;
        let encoded = answer.as_str().unwrap_or_default();
        STANDARD
            .decode(encoded)
            .map_err(|error| ControlError::Protocol(error.to_string()))
    }

    async fn power_button(&self) -> Result<(), ControlError> {
        self.execute("system_powerdown").await.map(drop)
    }

    async fn event(&self) -> Option<GuestEvent> {
        self.events.lock().await.recv().await
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T, ControlError> {
    tokio::time::timeout(ANSWER_LIMIT, work)
        .await
        .map_err(|_| ControlError::Silent {
            command: what.to_owned(),
            seconds: ANSWER_LIMIT.as_secs(),
        })
}

/// Reads until the end; every command that waits then learns that it has come.
async fn read(
    mut reader: OwnedReadHalf,
    pending: Arc<Mutex<Pending>>,
    events: mpsc::Sender<GuestEvent>,
    greeted: oneshot::Sender<()>,
) {
    let mut decoder = Decoder::default();
    let mut greeted = Some(greeted);
    let mut buffer = [0_u8; 4096];
    'connection: while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let messages = match decoder.push(&buffer[..count]) {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "the hypervisor's monitor sent what it must not");
                break 'connection;
            }
        };
        for message in messages {
            match message {
                Message::Greeting => {
                    if let Some(greeted) = greeted.take() {
                        // Nobody waits any more if connecting was given up.
                        let _ = greeted.send(());
                    }
                }
                Message::Return { id, value } => answer(&pending, id, Ok(value)),
                Message::Error { id, reason } => answer(&pending, id, Err(reason)),
                Message::Event(event) => {
                    // Full: an event more or less changes nothing, the agent looks for itself.
                    let _ = events.try_send(event);
                }
                Message::Other => {}
            }
        }
    }
    let mut pending = lock(&pending);
    pending.closed = true;
    pending.answers.clear();
}

fn answer(pending: &Mutex<Pending>, id: Option<u64>, answer: Answer) {
    let waiting = id.and_then(|id| lock(pending).answers.remove(&id));
    if let Some(waiting) = waiting {
        // Nobody waits any more if the command was given up.
        let _ = waiting.send(answer);
    }
}
