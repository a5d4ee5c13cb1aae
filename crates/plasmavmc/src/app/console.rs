//! Consoles: an owner's stream on one side, one stream of each host on the other, sessions in between.
//!
//! ```text
//!   Console(vm) ──input──►┐                      ┌──► ServeConsoles(node)
//!   Console(vm) ──input──►┤ hub: session numbers ├
//!   Console(vm) ◄─output──┘                      └◄── {session, output}
//! ```
//! A host's stream carries the sessions of many tenants, so a slow reader never holds it up: a session whose
//! reader lags too far behind is closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use photon_resource::{Error, VmId};
use tokio::sync::mpsc;

use super::tunnels::Target;

/// Messages that wait for a reader. A host sends at most 64 KiB in each.
const OUTPUT_WAITING: usize = 256;
/// Messages that wait for a host, of at most 64 KiB each.
const INPUT_WAITING: usize = 64;

/// What a host is told of one session.
#[derive(Debug, PartialEq, Eq)]
pub struct ToHost {
    /// Its number, from 1.
    pub session: u64,
    pub what: Asked,
}

/// What a host is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Open it, on this VM's console.
    Open(VmId),
    /// Pass on what was typed.
    Input(Vec<u8>),
    /// Close it.
    Close,
    /// It is a tunnel: connect, and serve it by a stream of its own.
    Tunnel(Target),
}

/// What a host sends of one session.
#[derive(Debug, PartialEq, Eq)]
pub struct FromHost {
    pub session: u64,
    /// What the guest printed.
    pub output: Vec<u8>,
    /// After that the session is over; why, for people.
    pub closed: Option<String>,
}

/// What a session tells its reader.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    Bytes(Vec<u8>),
    /// The session is over; why, for people.
    Closed(String),
}

/// Knows the hosts that offer consoles, and the sessions on each. Clones are the same.
#[derive(Clone, Default)]
pub struct ConsoleHub {
    hosts: Arc<Mutex<HashMap<String, Host>>>,
    next: Arc<AtomicU64>,
}

struct Host {
    /// Which stream of the host this is: one that ends late must not take its successor away.
    stream: u64,
    to_host: mpsc::Sender<ToHost>,
    sessions: HashMap<u64, mpsc::Sender<Output>>,
}

/// A host's stream. Dropped when it ends, which ends its sessions.
pub struct Offer {
    hub: ConsoleHub,
    node: String,
    stream: u64,
}

/// An open session. Dropped when its reader goes, which the host is told.
pub struct Opened {
    hub: ConsoleHub,
    node: String,
    stream: u64,
    session: u64,
    to_host: mpsc::Sender<ToHost>,
    /// What the guest prints; ends after [`Output::Closed`], or when it lagged too far behind.
    pub output: mpsc::Receiver<Output>,
}

impl ConsoleHub {
    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host offers its consoles; the receiver is what it is to be sent. Its earlier stream, if there is one,
    /// ends.
    pub fn offer(&self, node: &str) -> (Offer, mpsc::Receiver<ToHost>) {
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        let (to_host, from_hub) = mpsc::channel(INPUT_WAITING);
        let host = Host {
            stream,
            to_host,
            sessions: HashMap::new(),
        };
        let earlier = self.hosts().insert(node.to_owned(), host);
        if let Some(earlier) = earlier {
            earlier.end("the host has connected anew: open the console again");
        }
        let offer = Offer {
            hub: self.clone(),
            node: node.to_owned(),
            stream,
        };
        (offer, from_hub)
    }

    /// A number that no session has. From 1: 0 is what a message without a session has.
    pub fn next_session(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells a host something of a session that is none of a console.
    ///
    /// Errors: `Unavailable` if the host offers no consoles now.
    pub async fn ask(&self, node: &str, session: u64, what: Asked) -> Result<(), Error> {
        let to_host = {
            let hosts = self.hosts();
            let host = hosts.get(node).ok_or_else(not_connected)?;
            host.to_host.clone()
        };
        let message = ToHost { session, what };
        to_host.send(message).await.map_err(|_| not_connected())
    }

    /// Opens a session on a VM of a host.
    ///
    /// Errors: `Unavailable` if the host offers no consoles now.
    pub async fn open(&self, node: &str, vm: VmId) -> Result<Opened, Error> {
        let session = self.next_session();
        let (to_reader, output) = mpsc::channel(OUTPUT_WAITING);
        let (to_host, stream) = {
            let mut hosts = self.hosts();
            let host = hosts.get_mut(node).ok_or_else(not_connected)?;
            host.sessions.insert(session, to_reader);
            (host.to_host.clone(), host.stream)
        };
        // From here on dropping it takes the session away again.
        let opened = Opened {
            hub: self.clone(),
            node: node.to_owned(),
            stream,
            session,
            to_host,
            output,
        };
        opened.send(Asked::Open(vm)).await?;
        Ok(opened)
    }
}

impl Host {
    fn end(self, reason: &str) {
        for reader in self.sessions.into_values() {
            // Who lags too far behind to hear it sees the end all the same.
            let _ = reader.try_send(Output::Closed(reason.to_owned()));
        }
    }
}

impl Offer {
    /// Passes on what the host has sent.
    pub fn received(&self, message: FromHost) {
        let mut hosts = self.hub.hosts();
        let Some(host) = hosts.get_mut(&self.node) else {
            return;
        };
        if host.stream != self.stream {
            return;
        }
        let Some(reader) = host.sessions.get(&message.session) else {
            // Closed by its reader in the meantime.
            return;
        };
        let closed = message.closed.is_some();
        let mut ends = closed;
        if !message.output.is_empty() {
            ends |= reader.try_send(Output::Bytes(message.output)).is_err();
        }
        if let Some(reason) = message.closed {
            let _ = reader.try_send(Output::Closed(reason));
        }
        if ends {
            host.sessions.remove(&message.session);
            if !closed {
                tracing::info!(
                    node = self.node,
                    session = message.session,
                    "a console's reader lags too far behind: closed"
                );
                close_on_host(&host.to_host, message.session);
            }
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let mut hosts = self.hub.hosts();
        if hosts
            .get(&self.node)
            .is_some_and(|host| host.stream == self.stream)
            && let Some(host) = hosts.remove(&self.node)
        {
            host.end("the host is not connected any more: try again");
        }
    }
}

impl Opened {
    /// Sends what was typed.
    ///
    /// Errors: `Unavailable` if the host's stream has ended.
    pub async fn input(&self, input: Vec<u8>) -> Result<(), Error> {
        self.send(Asked::Input(input)).await
    }

    async fn send(&self, what: Asked) -> Result<(), Error> {
        let message = ToHost {
            session: self.session,
            what,
        };
        self.to_host
            .send(message)
            .await
            .map_err(|_| not_connected())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut hosts = self.hub.hosts();
        if let Some(host) = hosts.get_mut(&self.node)
            && host.stream == self.stream
            && host.sessions.remove(&self.session).is_some()
        {
            close_on_host(&host.to_host, self.session);
        }
    }
}

/// Tells a host that a session is over; one that has much to read is told later.
fn close_on_host(to_host: &mpsc::Sender<ToHost>, session: u64) {
    let to_host = to_host.clone();
    let message = ToHost {
        session,
        what: Asked::Close,
    };
    match to_host.try_send(message) {
        Err(mpsc::error::TrySendError::Full(message)) => {
            tokio::spawn(async move { to_host.send(message).await });
        }
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
    }
}

fn not_connected() -> Error {
    Error::Unavailable("the VM's host is not connected: try again later".to_owned())
}

#[cfg(test)]
mod tests;
