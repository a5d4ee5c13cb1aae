//! What the rack and the agent in a host say to each other, over one TCP connection per request on
//! the management network.
//!
//! A frame is its kind (one byte), the length of its content (four bytes, big-endian) and the content.
//! The rack opens with [`Kind::Request`]. After a [`Request::Connect`] was answered by
//! [`Kind::Connected`], the connection carries that connection's bytes and no more frames.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The agent's port: nothing else in a host listens on its management address.
pub const PORT: u16 = 7;

/// Kind and length.
const HEAD: usize = 5;

/// Far above what one read of a pipe or a request needs.
const LONGEST: u32 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Run a script with bash. It is killed, with its children, when the connection ends first.
    Run { script: String },
    /// Connect to this port of the host's loopback.
    Connect { port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    /// To the script; empty at its end.
    Stdin,
    Stdout,
    Stderr,
    /// The exit status as a decimal number: the code, or 128 and the signal.
    Exit,
    Connected,
    /// The request could not be carried out; the content says why.
    Failed,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Request,
        Kind::Stdin,
        Kind::Stdout,
        Kind::Stderr,
        Kind::Exit,
        Kind::Connected,
        Kind::Failed,
    ];
}

#[derive(Debug)]
pub struct Frame {
    pub kind: Kind,
    pub content: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

pub async fn send(to: &mut (impl AsyncWrite + Unpin), kind: Kind, content: &[u8]) -> Result<()> {
    let mut frame = Vec::with_capacity(HEAD + content.len());
    frame.push(kind as u8);
    frame.extend_from_slice(&u32::try_from(content.len())?.to_be_bytes());
    frame.extend_from_slice(content);
    Ok(to.write_all(&frame).await?)
}

/// The next frame, and not a byte more: what follows may be no frame. Not to be cancelled half-way.
pub async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Result<Frame> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await?;
    let (kind, length) = parse(head)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content).await?;
    Ok(Frame { kind, content })
}

/// A stream of nothing but frames.
pub struct Frames<R> {
    from: R,
    unparsed: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub fn of(from: R) -> Self {
        Frames {
            from,
            unparsed: Vec::new(),
        }
    }

    /// The next frame. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(head) = self.unparsed.first_chunk::<HEAD>() {
                let (kind, length) = parse(*head)?;
                if self.unparsed.len() >= HEAD + length {
                    let rest = self.unparsed.split_off(HEAD + length);
                    let mut content = std::mem::replace(&mut self.unparsed, rest);
                    content.drain(..HEAD);
                    return Ok(Frame { kind, content });
                }
            }
            if self.from.read_buf(&mut self.unparsed).await? == 0 {
                bail!("the connection ended");
            }
        }
    }
}

fn parse(head: [u8; HEAD]) -> Result<(Kind, usize)> {
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    let Some(kind) = Kind::ALL.get(usize::from(kind)).copied() else {
        bail!("a frame of unknown kind {kind}");
    };
    if length > LONGEST {
        bail!("a frame of {length} bytes, where at most {LONGEST} are expected");
    }
    Ok((kind, length as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let sender = tokio::spawn(async move {
            for kind in Kind::ALL {
                send(&mut near, kind, format!("{kind:?}").as_bytes())
                    .await
                    .unwrap();
            }
        });
        for kind in Kind::ALL {
            let frame = receive(&mut far).await.unwrap();
            assert_eq!((frame.kind, frame.text()), (kind, format!("{kind:?}")));
        }
        sender.await.unwrap();
    }

    #[tokio::test]
    async fn a_frame_that_arrives_in_pieces_survives_impatience() {
        let (mut near, far) = tokio::io::duplex(64);
        let mut frames = Frames::of(far);
        let mut bytes = Vec::new();
        for content in ["first", "", "third"] {
            send(&mut bytes, Kind::Stdout, content.as_bytes())
                .await
                .unwrap();
        }
        let mut received = Vec::new();
        for byte in bytes {
            near.write_all(&[byte]).await.unwrap();
            tokio::select! {
                biased;
                frame = frames.next() => received.push(frame.unwrap().text()),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(received, ["first", "", "third"]);
        drop(near);
        assert!(frames.next().await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        let unknown: &[u8] = &[99, 0, 0, 0, 0];
        assert!(receive(&mut &*unknown).await.is_err());
        let huge: &[u8] = &[1, 255, 255, 255, 255];
        let error = receive(&mut &*huge).await.unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }
}
