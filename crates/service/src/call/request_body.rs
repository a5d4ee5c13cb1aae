use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use crate::admission::{Bytes, Queue};
use crate::turns::Turn;

/// The prefix of a message (gRPC over HTTP/2, Length-Prefixed-Message): whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A request's body within its bounds: what is held in memory takes bytes of its caller's share, and a stream's first
/// message must come soon.
pub(super) struct RequestBody {
    inner: Body,
    bounds: Bounds,
}

pub(super) enum Bounds {
    /// The whole request is in memory until it is answered. It ends when it is its turn to be carried out: who sends
    /// slowly takes no turn meanwhile.
    Held(Bytes, Option<Waiting>),
    /// Messages are handled as they come.
    Streamed(FirstMessage),
}

/// Waits for a call's turn.
pub(super) struct Waiting {
    turn: Pin<Box<dyn Future<Output = Turn<Queue>> + Send>>,
    had: Had,
}

/// A call's turn, once it has come: whoever answers the call gives it back, or [`only_waits`] does.
pub(super) type Had = Arc<Mutex<Option<Turn<Queue>>>>;

tokio::task_local! {
    /// That of the call that is being answered.
    pub(super) static HAD: Had;
}

/// What is left of the call that is being answered is to wait, for a disk or for a turn elsewhere: its turn is another's. As
/// many changes as come may then share a write, also of one organization.
pub fn only_waits() {
    let _ = HAD.try_with(give_back);
}

fn give_back(had: &Had) {
    drop(had.lock().unwrap_or_else(PoisonError::into_inner).take());
}

impl Waiting {
    /// Keeps the turn in `had` when it has come.
    pub fn new(turn: impl Future<Output = Turn<Queue>> + Send + 'static, had: &Had) -> Self {
        Self {
            turn: Box::pin(turn),
            had: Arc::clone(had),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.turn.as_mut().poll(cx).map(|turn| {
            *self.had.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
        })
    }
}

/// Waits for the first message of a stream.
#[derive(Debug)]
pub(super) struct FirstMessage {
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
    prefix: Vec<u8>,
    /// Bytes that are missing of it, once its prefix is known.
    missing: Option<u64>,
    came: bool,
}

impl FirstMessage {
    pub fn within(limit: Duration) -> Self {
        Self {
            limit,
            deadline: Box::pin(tokio::time::sleep(limit)),
            prefix: Vec::new(),
            missing: None,
            came: false,
        }
    }

    fn saw(&mut self, bytes: &[u8]) {
        if self.came {
            return;
        }
        let mut rest = bytes;
        if self.missing.is_none() {
            let wanted = (PREFIX - self.prefix.len()).min(rest.len());
            self.prefix.extend_from_slice(&rest[..wanted]);
            rest = &rest[wanted..];
            if let &[_, a, b, c, d] = self.prefix.as_slice() {
                self.missing = Some(u32::from_be_bytes([a, b, c, d]).into());
            }
        }
        if let Some(missing) = &mut self.missing {
            *missing = missing.saturating_sub(rest.len() as u64);
            self.came = *missing == 0;
        }
    }

    fn late(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        if self.came || self.deadline.as_mut().poll(cx).is_pending() {
            return None;
        }
        self.came = true;
        Some(Status::deadline_exceeded(format!(
            "the stream's first message did not come within {} s",
            self.limit.as_secs_f64()
        )))
    }
}

impl RequestBody {
    pub fn new(inner: Body, bounds: Bounds) -> Self {
        Self { inner, bounds }
    }
}

impl HttpBody for RequestBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match &mut this.bounds {
                Bounds::Held(bytes, _) => {
                    if let Err(status) = bytes.take(data.len()) {
                        return Poll::Ready(Some(Err(status)));
                    }
                }
                Bounds::Streamed(first) => first.saw(data),
            }
        }
        if let (Poll::Ready(None), Bounds::Held(_, waiting)) = (&polled, &mut this.bounds)
            && let Some(turn) = waiting
        {
            ready!(turn.poll(cx));
            *waiting = None;
        }
        if polled.is_pending()
            && let Bounds::Streamed(first) = &mut this.bounds
            && let Some(status) = first.late(cx)
        {
            return Poll::Ready(Some(Err(status)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.bounds, Bounds::Held(_, Some(_))) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::Turns;

    #[tokio::test]
    async fn a_message_has_come_when_its_last_byte_has() {
        let mut first = FirstMessage::within(Duration::from_secs(1));
        for piece in [&[0, 0][..], &[0, 0, 3, b'a'], b"b"] {
            first.saw(piece);
            assert!(!first.came, "{piece:?}");
        }
        first.saw(b"c and the next");
        assert!(first.came);
    }

    #[tokio::test]
    async fn a_call_that_only_waits_for_a_disk_has_given_its_turn_back() {
        let queue = || Queue::Source([192, 0, 2, 1].into());
        let turns = Turns::new(1, 1);
        let had = Had::default();
        let mut waiting = Waiting::new(Arc::clone(&turns).take(queue()), &had);
        std::future::poll_fn(|cx| waiting.poll(cx)).await;
        assert!(had.lock().unwrap().is_some());
        HAD.scope(Had::clone(&had), async { only_waits() }).await;
        let next = tokio::time::timeout(Duration::from_secs(1), turns.take(queue()));
        next.await.expect("the turn is still taken");
        // And outside of a call there is none to give back.
        only_waits();
    }
}
