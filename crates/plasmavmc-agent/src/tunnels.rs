//! Tunnels to guests: a TCP connection from this host, in the VRF that the guest's port is in, and a stream of the server's
//! for it alone. The agent carries bytes and knows none of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use photon_agent::Session;
use photon_api::plasmavmc::v1 as wire;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_host::links::Links;
use photon_host::vrf_socket;
use photon_resource::{PortId, tap_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// How long a guest may take to accept; the server waits longer.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may take to take the last of it.
const LAST: Duration = Duration::from_secs(30);
/// Messages that may wait for the server, and the bytes in one.
const QUEUED: usize = 4;
const PIECE: usize = 32 * 1024;

/// Why there is no connection; the text is for whoever wanted it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("'{0}' is no {1}")]
    Order(String, &'static str),
    #[error("the VM's port has no interface in a network on its host")]
    NoNetwork,
    #[error("the VM's host can't connect: {0}")]
    Host(#[from] photon_host::Error),
    #[error("the guest does not accept at port {port}: {reason}")]
    Guest { port: u16, reason: String },
}

/// Connects to what `order` says, and carries what is sent both ways until the guest or the server has ended it.
pub async fn serve(server: Session, links: Arc<dyn Links>, session: u64, order: wire::TunnelOrder) {
    let connected = connect(&*links, &order).await;
    let refusal = connected.as_ref().err().map(ToString::to_string);
    let (outgoing, queued) = mpsc::channel(QUEUED);
    let hello = wire::ServeTunnelRequest {
        node: server.node().to_owned(),
        session,
        refusal: refusal.unwrap_or_default(),
        data: Vec::new(),
    };
    // The queue is empty, and its other end is in this function.
    let _ = outgoing.try_send(hello);
    let opened = async {
        let request = server.stream(ReceiverStream::new(queued)).await?;
        let mut client = NodeServiceClient::new(server.channel());
        Ok::<_, Status>(client.serve_tunnel(request).await?.into_inner())
    };
    let incoming = match opened.await {
        Ok(incoming) => incoming,
        Err(status) => return server.failed("tunnel", &status).await,
    };
    if let Ok(guest) = connected {
        carry(guest, incoming, outgoing).await;
    }
}

async fn connect(links: &dyn Links, order: &wire::TunnelOrder) -> Result<TcpStream, Refusal> {
    let port: PortId = order
        .port_id
        .parse()
        .map_err(|_| Refusal::Order(order.port_id.clone(), "port's id"))?;
    let address = order
        .ip_address
        .parse()
        .map_err(|_| Refusal::Order(order.ip_address.clone(), "IPv4 address"))?;
    let number = u16::try_from(order.port)
        .map_err(|_| Refusal::Order(order.port.to_string(), "TCP port"))?;
    let vrf = vrf(links, &tap_name(port)).await?;
    let refused = |reason: String| Refusal::Guest {
        port: number,
        reason,
    };
    let socket = TcpSocket::from_std_stream(vrf_socket::dialer(&vrf)?);
    let connecting = socket.connect(SocketAddr::new(address, number));
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(stream)) => {
            // What is typed is not held back for more.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(_) => Err(refused(format!("no answer within {} s", CONNECT.as_secs()))),
    }
}

/// The VRF whose bridge has this TAP, as it is now.
async fn vrf(links: &dyn Links, tap: &str) -> Result<String, Refusal> {
    let links = links.list().await?;
    let master = |name: &str| {
        let link = links.iter().find(|link| link.name == name)?;
        link.master.clone()
    };
    let vrf = master(tap).and_then(|bridge| master(&bridge));
    vrf.ok_or(Refusal::NoNetwork)
}

async fn carry(
    guest: TcpStream,
    incoming: Streaming<wire::ServeTunnelResponse>,
    outgoing: mpsc::Sender<wire::ServeTunnelRequest>,
) {
    let (reader, writer) = guest.into_split();
    let to_guest = to_guest(incoming, writer);
    tokio::pin!(to_guest);
    tokio::select! {
        () = from_guest(reader, outgoing) => {}
        () = &mut to_guest => return,
    }
    // What the guest has said is still on its way: the server ends the stream when it has all of it.
    let _ = tokio::time::timeout(LAST, to_guest).await;
}

/// Until the guest has ended its side: then the tunnel ends.
async fn from_guest(mut reader: OwnedReadHalf, outgoing: mpsc::Sender<wire::ServeTunnelRequest>) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let message = wire::ServeTunnelRequest {
            data: buffer[..count].to_vec(),
            ..Default::default()
        };
        if outgoing.send(message).await.is_err() {
            return;
        }
    }
}

/// Until the server ends the stream, or the guest takes no more. That the owner has ended its side is passed on.
async fn to_guest(mut incoming: Streaming<wire::ServeTunnelResponse>, mut writer: OwnedWriteHalf) {
    while let Ok(Some(message)) = incoming.message().await {
        let written = match message.ended {
            true => writer.shutdown().await,
            false => writer.write_all(&message.data).await,
        };
        if written.is_err() {
            return;
        }
    }
}
