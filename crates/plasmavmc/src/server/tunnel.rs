//! The two streams of a tunnel. Each passes on no faster than its reader takes it, and neither waits for the other direction.

use futures::stream::try_unfold;
use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::tunnel_request::Message;
use photon_catalog::desk::WatchStream;
use photon_resource::Error;
use photon_service::{Supervision, status};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::vm::MAX_INPUT;
use crate::app::End;

/// Where ssh listens (RFC 4253 section 4.1).
const SSH: u16 = 22;

/// What the first message of a tunnel's owner says: the VM and the port; the stream goes on after it.
pub async fn first(
    mut input: Streaming<pb::TunnelRequest>,
) -> Result<(Streaming<pb::TunnelRequest>, String, u16), Status> {
    let refused = |field, value: String, expected| status(Error::invalid(field, value, expected));
    let Some(first) = input.message().await? else {
        return Err(refused(
            "message",
            String::new(),
            "'vm_id' in the first message",
        ));
    };
    let Some(Message::VmId(id)) = first.message else {
        return Err(refused(
            "message",
            String::new(),
            "'vm_id' in the first message",
        ));
    };
    let port = match first.port {
        0 => SSH,
        port => u16::try_from(port)
            .map_err(|_| refused("port", port.to_string(), "a TCP port, 1 to 65535"))?,
    };
    Ok((input, id, port))
}

/// The owner's stream: an empty message, as the guest has accepted, then what the guest sends until it has ended.
pub fn owners(
    end: End,
    input: Streaming<pb::TunnelRequest>,
    supervision: Supervision,
) -> WatchStream<pb::TunnelResponse> {
    let End {
        received,
        sent,
        place,
    } = end;
    let (failed, failure) = mpsc::channel(1);
    let writing = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = pass_on(input, sent).await {
            let _ = failed.send(error).await;
        }
    }));
    let state = (true, received, failure, supervision, writing, place);
    Box::pin(try_unfold(
        state,
        async |(first, mut received, mut failure, mut supervision, writing, place)| {
            let data = if first {
                Some(Vec::new())
            } else {
                tokio::select! {
                    data = received.recv() => data,
                    Some(error) = failure.recv() => return Err(status(error)),
                    error = supervision.lost() => return Err(status(error)),
                }
            };
            let state = (false, received, failure, supervision, writing, place);
            Ok(data.map(|data| (pb::TunnelResponse { data }, state)))
        },
    ))
}

/// What the owner sends, until it ends or the host's end is gone.
async fn pass_on(
    mut input: Streaming<pb::TunnelRequest>,
    sent: mpsc::Sender<Vec<u8>>,
) -> Result<(), Error> {
    while let Ok(Some(message)) = input.message().await {
        let data = match message.message {
            Some(Message::Data(data)) if data.len() <= MAX_INPUT => data,
            Some(Message::Data(data)) => {
                let value = format!("({} bytes)", data.len());
                let expected = "at most 65536 bytes in each message";
                return Err(Error::invalid("data", value, expected));
            }
            Some(Message::VmId(id)) => {
                let expected = "nothing after the first message: open another tunnel";
                return Err(Error::invalid("vm_id", id, expected));
            }
            None => continue,
        };
        if sent.send(data).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The host's stream: what is for the guest, until the host has no more of it. Without an `end` there is nothing to serve.
pub fn hosts(
    end: Option<End>,
    mut from_host: Streaming<pb::ServeTunnelRequest>,
    supervision: Supervision,
) -> WatchStream<pb::ServeTunnelResponse> {
    let Some(End {
        received,
        sent,
        place,
    }) = end
    else {
        return Box::pin(futures::stream::empty());
    };
    let reading = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(Some(message)) = from_host.message().await {
            if sent.send(message.data).await.is_err() {
                break;
            }
        }
    }));
    Box::pin(try_unfold(
        (Some(received), supervision, reading, place),
        async |(mut received, mut supervision, mut reading, place)| {
            let told = tokio::select! {
                data = next(&mut received) => match data {
                    Some(data) => pb::ServeTunnelResponse { data, ended: false },
                    None => {
                        received = None;
                        pb::ServeTunnelResponse { data: Vec::new(), ended: true }
                    }
                },
                _ = &mut reading => return Ok(None),
                error = supervision.lost() => return Err(status(error)),
            };
            Ok(Some((told, (received, supervision, reading, place))))
        },
    ))
}

/// What comes next for the guest; never answers once its owner has ended that side.
async fn next(received: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match received {
        Some(received) => received.recv().await,
        None => std::future::pending().await,
    }
}
