//! A port of this machine that leads to one in a host.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::host::Host;

/// Ends, with the connections that it carries, when it is dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Forward {
    pub(super) async fn start(host: Host, port: u16, listen: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen} for {}", host.name()))?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(carry(stream, host.clone(), port));
                        }
                        // The peer left before it was accepted, or descriptors ran out.
                        Err(_) => tokio::task::yield_now().await,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Forward { address, task })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When nothing answers in the host, the caller sees its connection closed, as by a server that
/// went away.
async fn carry(mut outer: TcpStream, host: Host, port: u16) {
    if let Ok(mut inner) = host.dial(port).await {
        let _ = outer.set_nodelay(true);
        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
    }
}
