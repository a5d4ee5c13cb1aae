//! Consoles over one stream to the server: it opens sessions, each on a VM of this host.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use photon_agent::Session;
use photon_api::plasmavmc::v1 as wire;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_host::links::Links;
use photon_reconcile::Backoff;
use photon_resource::VmId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::guests::Guests;
use crate::hypervisor::console::Console;
use crate::tunnels;

/// Delays before consoles are offered again.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// Messages that may wait for the server, of all sessions together. A session waits when it is full, and loses
/// output when it waits too long.
const OUTGOING_QUEUED: usize = 64;
/// Output in one message, in bytes.
const PIECE: usize = 32 * 1024;

/// A session of somebody who watches.
struct Open {
    /// Not kept alive from here: its end is how the session learns that the guest has ended.
    console: Weak<Console>,
    _forward: DropGuard,
}

/// Offers the consoles of this host's guests, and tunnels to them, for as long as it is polled.
pub async fn serve_consoles(session: Session, guests: Guests, links: Arc<dyn Links>) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    loop {
        match serve_once(&session, &guests, &links, &mut backoff).await {
            Ok(()) => tracing::debug!("the server ended the stream of consoles"),
            Err(status) => session.failed("consoles", &status).await,
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

async fn serve_once(
    server: &Session,
    guests: &Guests,
    links: &Arc<dyn Links>,
    backoff: &mut Backoff,
) -> Result<(), Status> {
    let (outgoing, queued) = mpsc::channel(OUTGOING_QUEUED);
    let hello = wire::ServeConsolesRequest {
        node: server.node().to_owned(),
        ..Default::default()
    };
    // The queue is empty, and its other end is in this function.
    let _ = outgoing.send(hello).await;
    let request = server.stream(ReceiverStream::new(queued)).await?;
    let mut client = NodeServiceClient::new(server.channel());
    let mut incoming = client.serve_consoles(request).await?.into_inner();
    let mut sessions: BTreeMap<u64, Open> = BTreeMap::new();
    let mut carried = JoinSet::new();
    while let Some(message) = incoming.message().await? {
        backoff.succeeded();
        let session = message.session;
        if let Some(order) = message.tunnel {
            // They end with this stream, as the server that knows them has gone.
            while carried.try_join_next().is_some() {}
            carried.spawn(tunnels::serve(
                server.clone(),
                links.clone(),
                session,
                order,
            ));
            continue;
        }
        if !message.open_vm_id.is_empty() {
            match open(guests, &message.open_vm_id) {
                Ok(console) => {
                    let opened = forward(session, &console, outgoing.clone());
                    sessions.insert(session, opened);
                }
                Err(refused) => close(&outgoing, session, refused.to_string()).await,
            }
        }
        let console = sessions.get(&session).and_then(|it| it.console.upgrade());
        if let Some(console) = console
            && !message.input.is_empty()
        {
            console.type_in(message.input);
        }
        if message.close {
            sessions.remove(&session);
        }
    }
    Ok(())
}

/// Why a console is not opened; the text is for whoever wanted it.
#[derive(Debug, thiserror::Error)]
enum NotOpened {
    #[error("'{0}' is no VM's id")]
    Id(String),
    #[error("the VM is not running")]
    NotRunning,
}

fn open(guests: &Guests, vm: &str) -> Result<Arc<Console>, NotOpened> {
    let id: VmId = vm.parse().map_err(|_| NotOpened::Id(vm.to_owned()))?;
    guests.console(id).ok_or(NotOpened::NotRunning)
}

/// Sends what the guest prints until the session or the guest ends.
fn forward(
    session: u64,
    console: &Arc<Console>,
    outgoing: mpsc::Sender<wire::ServeConsolesRequest>,
) -> Open {
    let stop = CancellationToken::new();
    let (recent, mut output) = console.watch();
    let ended = stop.clone();
    tokio::spawn(async move {
        let send = async {
            for piece in recent.chunks(PIECE) {
                send_output(&outgoing, session, piece).await?;
            }
            loop {
                match output.recv().await {
                    Ok(piece) => send_output(&outgoing, session, &piece).await?,
                    Err(RecvError::Lagged(_)) => {
                        send_output(&outgoing, session, b"\r\n[output lost]\r\n").await?;
                    }
                    Err(RecvError::Closed) => {
                        close(&outgoing, session, "the VM has ended".to_owned()).await;
                        return None::<()>;
                    }
                }
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            _ = send => {}
        }
    });
    Open {
        console: Arc::downgrade(console),
        _forward: stop.drop_guard(),
    }
}

async fn send_output(
    outgoing: &mpsc::Sender<wire::ServeConsolesRequest>,
    session: u64,
    output: &[u8],
) -> Option<()> {
    let message = wire::ServeConsolesRequest {
        session,
        output: output.to_vec(),
        ..Default::default()
    };
    outgoing.send(message).await.ok()
}

async fn close(outgoing: &mpsc::Sender<wire::ServeConsolesRequest>, session: u64, reason: String) {
    let message = wire::ServeConsolesRequest {
        session,
        closed: true,
        reason,
        ..Default::default()
    };
    // Nobody is there any more when this fails.
    let _ = outgoing.send(message).await;
}
