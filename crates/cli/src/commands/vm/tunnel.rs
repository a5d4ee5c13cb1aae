//! `photon vm tunnel`: standard input and output are a TCP connection to a port of a guest.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use photon_api::plasmavmc::v1::{
    GetVmRequest, TunnelRequest, TunnelResponse, tunnel_request::Message,
};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::Vms;
use crate::error::Failure;
use crate::noun::{Desk, One};

/// Bytes in one message.
const PIECE: usize = 32 * 1024;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to, and for how long.
#[derive(Args)]
pub struct Tunnel {
    #[command(flatten)]
    vm: One<Vms>,
    /// The guest's TCP port.
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Try for so many seconds while the guest does not accept, as one that boots.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true
    )]
    retry: u32,
}

/// `photon vm tunnel`
pub async fn run(tunnel: Tunnel, desk: &Desk<'_>) -> Result<(), Failure> {
    let vm = desk.find::<GetVmRequest>("VM", &tunnel.vm.name).await?;
    let lost = |status| Failure::from(desk.session.channels.error("plasmavmc", status));
    let until = Instant::now() + Duration::from_secs(tunnel.retry.into());
    let (to_guest, from_guest) = loop {
        desk.session.fresh().await?;
        match open(desk, &vm.id, tunnel.port).await {
            Ok(opened) => break opened,
            Err(status) if status.code() == Code::Unavailable && Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => return Err(lost(status)),
        }
    };
    tokio::select! {
        carried = print(from_guest) => carried.map_err(|error| match error {
            Ended::Guest(status) => lost(*status),
            Ended::Output(error) => Failure::print(error),
        }),
        error = read(to_guest) => Err(Failure::Local(format!("cannot read what is for the guest: {error}"))),
    }
}

/// The two ways of a tunnel, once the guest has accepted.
async fn open(
    desk: &Desk<'_>,
    vm: &str,
    port: u16,
) -> Result<(mpsc::Sender<TunnelRequest>, Streaming<TunnelResponse>), Status> {
    let (sender, receiver) = mpsc::channel(4);
    let first = TunnelRequest {
        message: Some(Message::VmId(vm.to_owned())),
        port: port.into(),
    };
    // The receiver is right here, and the queue is empty.
    let _ = sender.try_send(first);
    let mut vms = desk.session.vms();
    let opened = vms.tunnel(ReceiverStream::new(receiver)).await?;
    let mut answers = opened.into_inner();
    match answers.message().await? {
        Some(_) => Ok((sender, answers)),
        None => Err(Status::unavailable("the tunnel has ended as it began")),
    }
}

enum Ended {
    Guest(Box<Status>),
    Output(std::io::Error),
}

async fn print(mut answers: Streaming<TunnelResponse>) -> Result<(), Ended> {
    loop {
        let message = answers.message().await;
        let Some(answer) = message.map_err(|status| Ended::Guest(Box::new(status)))? else {
            return Ok(());
        };
        let mut out = std::io::stdout();
        let written = out.write_all(&answer.data).and_then(|()| out.flush());
        written.map_err(Ended::Output)?;
    }
}

/// Carries what is read until it ends, which the guest is told; then waits for the guest. Returns what came in the way.
async fn read(to_guest: mpsc::Sender<TunnelRequest>) -> std::io::Error {
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; PIECE];
    loop {
        match input.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                let message = Message::Data(buffer[..count].to_vec());
                let message = TunnelRequest {
                    message: Some(message),
                    port: 0,
                };
                // Why there is nobody any more is said on the other way.
                if to_guest.send(message).await.is_err() {
                    break;
                }
            }
            Err(error) => return error,
        }
    }
    drop(to_guest);
    std::future::pending().await
}
