use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use photon_program::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::{Refusals, site};
use crate::limit::Limiter;

/// How long nothing is accepted after that failed: without a free descriptor it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// How many calls that are refused, or taken back at once, a connection is forgiven, and after how long one more; then it
/// is cut. Most of what a server can be made to do by those whom it refuses anyway is to tell them so.
const FORGIVEN: u32 = 128;
const FORGIVEN_AGAIN: Duration = Duration::from_millis(50);
/// As how many new connections of its address one that is cut counts: who is cut would begin anew with the next, else.
const CUT_COUNTS: u32 = 16;

/// The open connections of a listener.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    refusals: Arc<Refusals>,
    arrivals: Arc<Limiter<IpAddr>>,
    open: Mutex<Open>,
}

/// What is done under its lock is short whatever there is: every call looks up its connection here, and a lock that
/// is held while all are looked at, for each that comes, keeps all calls waiting for as long as somebody connects.
#[derive(Debug, Default)]
struct Open {
    by_peer: HashMap<SocketAddr, Arc<Connection>>,
    by_source: HashMap<IpAddr, Source>,
    /// Who has strangers' connections, by how many.
    strangers: BTreeSet<(usize, IpAddr)>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Source {
    open: usize,
    /// Those on which nobody with an accepted token or certificate called.
    strangers: HashMap<SocketAddr, Arc<Connection>>,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    calls: AtomicUsize,
    called: AtomicBool,
    /// Whether somebody with an accepted token or certificate called on it.
    known: AtomicBool,
    /// When it was accepted, or its last call ended.
    since: Mutex<Instant>,
    refused: Limiter<()>,
    cut: CancellationToken,
    source: IpAddr,
    arrivals: Arc<Limiter<IpAddr>>,
}

impl Connections {
    pub fn new(limits: &Limits, refusals: Arc<Refusals>) -> Self {
        let most = u32::try_from(limits.connections_per_source).unwrap_or(u32::MAX);
        Self {
            limits: limits.clone(),
            refusals,
            // As many as may be open at once, and all of them anew in ten seconds.
            arrivals: Arc::new(Limiter::new(most, Duration::from_secs(10) / most)),
            open: Mutex::default(),
        }
    }

    /// The connection from `peer`, if it is open.
    pub fn of(&self, peer: SocketAddr) -> Option<Arc<Connection>> {
        self.lock().by_peer.get(&peer).cloned()
    }

    /// Those that are let in, for as long as it is polled. One that is not is closed at once.
    pub fn accept(
        self: Arc<Self>,
        listener: TcpListener,
    ) -> impl Stream<Item = std::io::Result<Admitted>> {
        let state = (self, listener);
        Box::pin(futures::stream::unfold(state, async |(this, listener)| {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        if let Some(admitted) = this.admit(stream, peer) {
                            return Some((Ok(admitted), (this, listener)));
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no connection could be accepted");
                        this.refusals
                            .count(&error.to_string(), "it can't be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }))
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Option<Admitted> {
        let now = Instant::now();
        let source = site(Some(peer.ip()));
        let mut open = self.lock();
        let own = open.by_source.get(&source).map_or(0, |own| own.open);
        let why = if own >= self.limits.connections_per_source {
            "it has too many connections"
        } else if self.arrivals.admit(source, now).is_none() {
            "it connects too often"
        } else if open.by_peer.len() >= self.limits.connections
            && !self.make_room(&mut open, source)
        {
            "the server has too many connections"
        } else {
            let connection = Arc::new(Connection {
                calls: AtomicUsize::new(0),
                called: AtomicBool::new(false),
                known: AtomicBool::new(false),
                since: Mutex::new(now),
                refused: Limiter::new(FORGIVEN, FORGIVEN_AGAIN),
                cut: CancellationToken::new(),
                source,
                arrivals: Arc::clone(&self.arrivals),
            });
            open.add(peer, Arc::clone(&connection));
            drop(open);
            // An answer is told as soon as it is there.
            let _ = stream.set_nodelay(true);
            return Some(Admitted {
                stream,
                peer,
                check: Box::pin(tokio::time::sleep_until((now + self.limits.silent).into())),
                cut: Box::pin(connection.cut.clone().cancelled_owned()),
                connection,
                connections: Arc::clone(self),
            });
        };
        drop(open);
        self.refusals.count(&source.to_string(), why);
        None
    }

    /// Cuts a stranger's connection, of the address that has most of them, for one of an address that has fewer: a few
    /// addresses together could keep all others out, else. `false`: there is none.
    fn make_room(&self, open: &mut Open, newcomer: IpAddr) -> bool {
        let Some((most, source)) = open.strangers.last().copied() else {
            return false;
        };
        let own = open.by_source.get(&newcomer);
        if own.is_some_and(|own| own.strangers.len() >= most) {
            return false;
        }
        // Of these, one that waits for nothing, the oldest.
        let longest = open.by_source.get(&source).and_then(|of_source| {
            let strangers = of_source.strangers.iter();
            let first =
                strangers.min_by_key(|(_, it)| (it.calls.load(Ordering::Acquire) > 0, it.since()));
            first.map(|(peer, _)| *peer)
        });
        let Some(connection) = longest.and_then(|peer| open.remove(peer, None)) else {
            return false;
        };
        connection.cut.cancel();
        self.refusals
            .count(&source.to_string(), "others needed its place");
        true
    }

    /// Somebody with an accepted token or certificate calls on the connection from `peer`.
    pub fn is_of_somebody(&self, peer: SocketAddr, connection: &Connection) {
        if !connection.known.swap(true, Ordering::AcqRel) {
            self.lock().is_of_somebody(peer, connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, peer: SocketAddr, connection: Arc<Connection>) {
        let source = site(Some(peer.ip()));
        let own = self.by_source.entry(source).or_default();
        own.open += 1;
        own.strangers.insert(peer, Arc::clone(&connection));
        let strangers = own.strangers.len();
        self.strangers.remove(&(strangers - 1, source));
        self.strangers.insert((strangers, source));
        self.by_peer.insert(peer, connection);
    }

    /// The connection from `peer` is no stranger's, if it is still this one.
    fn is_of_somebody(&mut self, peer: SocketAddr, connection: &Connection) {
        let there = self.by_peer.get(&peer);
        if there.is_some_and(|there| std::ptr::eq(Arc::as_ptr(there), connection)) {
            self.no_stranger(peer, site(Some(peer.ip())));
        }
    }

    fn no_stranger(&mut self, peer: SocketAddr, source: IpAddr) {
        let Some(own) = self.by_source.get_mut(&source) else {
            return;
        };
        if own.strangers.remove(&peer).is_none() {
            return;
        }
        let left = own.strangers.len();
        self.strangers.remove(&(left + 1, source));
        if left > 0 {
            self.strangers.insert((left, source));
        }
    }

    /// Takes out what is there from `peer`; if `which` is given, only if it is that.
    fn remove(
        &mut self,
        peer: SocketAddr,
        which: Option<&Arc<Connection>>,
    ) -> Option<Arc<Connection>> {
        let there = self.by_peer.get(&peer)?;
        if which.is_some_and(|which| !Arc::ptr_eq(which, there)) {
            return None;
        }
        let source = site(Some(peer.ip()));
        self.no_stranger(peer, source);
        if let Some(own) = self.by_source.get_mut(&source) {
            own.open = own.open.saturating_sub(1);
            if own.open == 0 {
                self.by_source.remove(&source);
            }
        }
        self.by_peer.remove(&peer)
    }
}

impl Connection {
    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call until what is given back is dropped.
    pub fn call(self: Arc<Self>) -> Calling {
        self.calls.fetch_add(1, Ordering::AcqRel);
        self.called.store(true, Ordering::Release);
        Calling(self)
    }

    /// One of its calls was refused: whoever goes on for long is not heard any more.
    pub fn refused(&self) {
        let now = Instant::now();
        if self.refused.admit((), now).is_none() && !self.cut.is_cancelled() {
            self.cut.cancel();
            self.arrivals.charge(self.source, now, CUT_COUNTS);
        }
    }

    /// When to look again whether it may stay open; `None`: it may not.
    fn stays(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        let limit = if self.called.load(Ordering::Acquire) {
            limits.idle
        } else {
            limits.silent
        };
        if self.calls.load(Ordering::Acquire) > 0 {
            return Some(now + limit);
        }
        let end = self.since() + limit;
        (end > now).then_some(end)
    }
}

/// A call on a connection.
#[derive(Debug)]
pub(crate) struct Calling(Arc<Connection>);

impl Calling {
    /// The call was taken back at once.
    pub fn reset(&self) {
        self.0.refused();
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let connection = &self.0;
        *connection
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        connection.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection that was let in. It ends for its reader when it has been silent or idle for too long, or is cut.
#[derive(Debug)]
pub(crate) struct Admitted {
    stream: TcpStream,
    peer: SocketAddr,
    check: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Admitted {
    fn ended(&mut self, cx: &mut Context<'_>) -> bool {
        if self.cut.as_mut().poll(cx).is_ready() {
            return true;
        }
        while self.check.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.connection.stays(&self.connections.limits, now) {
                Some(next) => self.check.as_mut().reset(next.into()),
                None => return true,
            }
        }
        false
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        // It may have been taken out before, to make room.
        open.remove(self.peer, Some(&self.connection));
    }
}

impl Connected for Admitted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.ended(cx) {
            // As if the other end had closed it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
