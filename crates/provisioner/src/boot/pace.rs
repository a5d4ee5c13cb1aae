//! A connection whose other end must read: one that takes next to nothing of what is written to it is given up, so that a
//! few such clients do not keep everybody else from booting.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What the other end must take in bytes a second, on average. The slowest network that machines are installed over is a
/// hundred times as fast.
const LEAST_RATE: u64 = 16 << 10;
/// How long it may take nothing at all, while it has not fallen behind.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream that is written to at a pace.
pub struct Paced<S> {
    stream: S,
    /// For how long may be waited yet. Waiting uses it up, what is taken gives some of it back.
    left: Duration,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            left: PATIENCE,
            waiting: None,
        }
    }

    /// After `written` was tried.
    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            let left = self.left;
            let waiting = self.waiting.get_or_insert_with(|| {
                let since = Instant::now();
                Waiting {
                    since,
                    end: Box::pin(sleep_until(since + left)),
                }
            });
            let late = waiting.end.as_mut().poll(context);
            return late.map(|()| Err(io::ErrorKind::TimedOut.into()));
        };
        if let Some(waiting) = self.waiting.take() {
            self.left = self.left.saturating_sub(waiting.since.elapsed());
        }
        if let Ok(count) = written {
            let earned = Duration::from_micros(count as u64 * 1_000_000 / LEAST_RATE);
            self.left = PATIENCE.min(self.left + earned);
        }
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// How long writing goes on to a client that takes `bytes` every `every`; `None`: to the end of a megabyte.
    async fn given_up_after(bytes: usize, every: Duration) -> Option<Duration> {
        let (mut client, server) = duplex(4096);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            loop {
                tokio::time::sleep(every).await;
                if !matches!(client.read(&mut buffer).await, Ok(1..)) {
                    return;
                }
            }
        });
        let begun = Instant::now();
        let written = Paced::new(server).write_all(&vec![0; 1 << 20]).await;
        reading.abort();
        written.err().map(|error| {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            begun.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_too_little_is_given_up_and_whoever_reads_is_not() {
        // Nothing at all.
        let still = given_up_after(1, Duration::from_secs(3600)).await;
        assert_eq!(still, Some(PATIENCE));
        // A byte now and then counts for next to nothing.
        let trickle = given_up_after(1, Duration::from_secs(1)).await.unwrap();
        assert!(trickle < PATIENCE * 2, "{trickle:?}");
        // As fast as it must be, with pauses.
        let slow = given_up_after(4096, Duration::from_millis(200)).await;
        assert_eq!(slow, None);
    }
}
