//! Sockets: what comes in of a VPC is answered from its view.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::{Transport, answer};
use crate::pace::{Pace, Rate};
use crate::view::View;

/// Connections of a VPC at a time.
const MOST_CONNECTIONS: usize = 100;
/// Connections of one address at a time.
const MOST_OF_ADDRESS: usize = 10;
/// How long a connection may take with the next question, and with taking the answer.
const IDLE: Duration = Duration::from_secs(10);
/// After a socket could not be read, for want of memory or of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any question: those of EDNS, too, are a few hundred bytes.
const LONGEST: usize = 4096;

/// A VPC whose guests are answered: all of its sockets share it.
#[derive(Debug)]
pub struct Vpc {
    view: RwLock<Arc<View>>,
    pace: Option<Mutex<Pace>>,
    /// How many connections each address has.
    connections: Mutex<HashMap<IpAddr, usize>>,
}

impl Vpc {
    /// Answers from `view`, each address at most at `rate`.
    pub fn new(view: View, rate: Option<Rate>) -> Self {
        Self {
            view: RwLock::new(Arc::new(view)),
            pace: rate.map(|rate| Mutex::new(Pace::new(rate))),
            connections: Mutex::default(),
        }
    }

    /// Answers from another view from now on.
    pub fn put(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    fn answer(&self, source: IpAddr, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        if let Some(pace) = &self.pace {
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            if !pace.admits(source, Instant::now()) {
                counted("paced");
                return None;
            }
        }
        let view = {
            let held = self.view.read();
            held.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let answer = answer(&view, request, transport);
        counted(match answer {
            Some(_) => "answered",
            None => "ignored",
        });
        answer
    }

    /// A connection's place; `None`: the VPC or the address has as many as it may.
    fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let mut held = self.connections();
        if held.values().sum::<usize>() >= MOST_CONNECTIONS {
            return None;
        }
        let of_address = held.entry(source).or_default();
        if *of_address >= MOST_OF_ADDRESS {
            return None;
        }
        *of_address += 1;
        Some(Place {
            vpc: self.clone(),
            source,
        })
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        let held = self.connections.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is counted until this is dropped.
struct Place {
    vpc: Arc<Vpc>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.vpc.connections();
        if let Some(count) = held.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.source);
            }
        }
    }
}

fn counted(outcome: &'static str) {
    metrics::counter!("photon_agent_dns_questions_total", "outcome" => outcome).increment(1);
}

/// Answers what comes by UDP, for as long as it is polled.
pub async fn udp(vpc: Arc<Vpc>, socket: UdpSocket) {
    let mut room = vec![0; LONGEST];
    loop {
        let (length, source) = match socket.recv_from(&mut room).await {
            Ok(came) => came,
            Err(error) => {
                rest("receive by UDP", &error).await;
                continue;
            }
        };
        let request = room.get(..length).unwrap_or_default();
        let Some(answer) = vpc.answer(source.ip(), request, Transport::Udp) else {
            continue;
        };
        // Whoever is not there any more does not miss it; whoever is asks again.
        if let Err(error) = socket.send_to(&answer, source).await {
            tracing::debug!(%source, %error, "an answer was not sent");
        }
    }
}

/// Answers what comes by TCP, for as long as it is polled. Connections end with it.
pub async fn tcp(vpc: Arc<Vpc>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, source)) => match vpc.admit(source.ip()) {
                Some(place) => {
                    connections.spawn(converse(place, stream, source));
                }
                None => counted("too-many-connections"),
            },
            Err(error) => rest("accept by TCP", &error).await,
        }
    }
}

async fn converse(place: Place, mut stream: TcpStream, source: SocketAddr) {
    loop {
        match timeout(IDLE, exchange(&place.vpc, &mut stream, source)).await {
            Ok(Ok(true)) => {}
            // It has gone, was idle, or said something that is not answered.
            Ok(Ok(false) | Err(_)) | Err(_) => return,
        }
    }
}

/// One question and its answer (RFC 7766): whether there may be another.
async fn exchange(vpc: &Vpc, stream: &mut TcpStream, source: SocketAddr) -> io::Result<bool> {
    let length: usize = stream.read_u16().await?.into();
    if length > LONGEST {
        return Ok(false);
    }
    let mut request = vec![0; length];
    stream.read_exact(&mut request).await?;
    let Some(answer) = vpc.answer(source.ip(), &request, Transport::Tcp) else {
        return Ok(false);
    };
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], &answer].concat();
    stream.write_all(&framed).await?;
    Ok(true)
}

async fn rest(what: &'static str, error: &io::Error) {
    tracing::warn!(%error, "{what}");
    tokio::time::sleep(PAUSE).await;
}

#[cfg(test)]
mod tests;
