//! Commands in a host: one connection each, so that any number run side by side.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use photon_e2e::guest::Line;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::wire::{self, Frames, Kind, Request};

/// What a script left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code, or 128 and the number of the signal that ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// A script that runs in a host; dropping it kills the script and its children.
pub struct Session {
    frames: Frames<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Standard output that was received and not yet asked for.
    unread: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<i32>,
}

impl Session {
    pub(super) async fn start(mut stream: TcpStream, script: &str) -> Result<Self> {
        let request = Request::Run {
            script: script.to_owned(),
        };
        wire::send(&mut stream, Kind::Request, &serde_json::to_vec(&request)?).await?;
        let (reader, writer) = stream.into_split();
        Ok(Session {
            frames: Frames::of(reader),
            writer,
            unread: Vec::new(),
            stderr: Vec::new(),
            status: None,
        })
    }

    pub async fn write(&mut self, input: &[u8]) -> Result<()> {
        for part in input.chunks(64 << 10) {
            wire::send(&mut self.writer, Kind::Stdin, part).await?;
        }
        Ok(())
    }

    pub async fn close_input(&mut self) -> Result<()> {
        wire::send(&mut self.writer, Kind::Stdin, &[]).await
    }

    /// The standard output that came since the last call; waits until there is some.
    ///
    /// # Errors
    /// When the script has ended. Cancelling it loses nothing.
    pub async fn read(&mut self) -> Result<Vec<u8>> {
        while self.unread.is_empty() {
            if let Some(status) = self.status {
                bail!(
                    "the script ended ({status}): {}",
                    String::from_utf8_lossy(&self.stderr)
                );
            }
            self.next().await?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Reads everything until the script ends.
    pub async fn finish(mut self, limit: Duration) -> Result<Output> {
        let end = async {
            while self.status.is_none() {
                self.next().await?;
            }
            anyhow::Ok(())
        };
        match timeout(limit, end).await {
            Ok(result) => result?,
            Err(_) => bail!(
                "not done within {} s (killed); it said:\n{}{}",
                limit.as_secs_f64(),
                String::from_utf8_lossy(&self.unread),
                String::from_utf8_lossy(&self.stderr)
            ),
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output {
            status: self.status.context("the loop ends with a status")?,
            stdout: text(&self.unread),
            stderr: text(&self.stderr),
        })
    }

    async fn next(&mut self) -> Result<()> {
        let frame = self
            .frames
            .next()
            .await
            .context("the host went away while a command ran in it")?;
        match frame.kind {
            Kind::Stdout => self.unread.extend_from_slice(&frame.content),
            Kind::Stderr => self.stderr.extend_from_slice(&frame.content),
            Kind::Exit => self.status = Some(frame.text().parse()?),
            Kind::Failed => bail!("{}", frame.text()),
            other => bail!("the agent sent {other:?} to a running script"),
        }
        Ok(())
    }
}

impl Line for Session {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes).await
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        self.read().await
    }
}
