//! Sockets: what comes in of a VPC is answered from its view.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use photon_names::View;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::{Answer, Transport, answer, failed, fitted};
use crate::pace::{Pace, Rate};
use crate::shares::{Place, Shares};
use crate::upstream::Upstream;

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
    /// Whom foreign names are asked of; `None`: they are refused.
    upstream: Option<Upstream>,
    connections: Shares,
}

impl Vpc {
    /// Answers from `view`, each address at most at `rate`; foreign names are asked of `upstream`.
    pub fn new(view: View, rate: Option<Rate>, upstream: Option<SocketAddr>) -> Self {
        Self {
            view: RwLock::new(Arc::new(view)),
            pace: rate.map(|rate| Mutex::new(Pace::new(rate))),
            upstream: upstream.map(Upstream::new),
            connections: Shares::new(MOST_CONNECTIONS, MOST_OF_ADDRESS),
        }
    }

    /// Answers from another view from now on.
    pub fn put(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// What is to be done with a message, as far as it is known here; `Nothing` also to who asks too fast.
    fn answer(&self, source: IpAddr, request: &[u8], transport: Transport) -> Answer {
        if let Some(pace) = &self.pace {
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            if !pace.admits(source, Instant::now()) {
                counted("paced");
                return Answer::Nothing;
            }
        }
        let view = {
            let held = self.view.read();
            held.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let answer = answer(&view, request, transport);
        counted(match answer {
            Answer::Now(_) => "answered",
            Answer::Foreign(_) | Answer::Alias(..) => "foreign",
            Answer::Nothing => "ignored",
        });
        answer
    }

    /// What is sent in the end. Nobody waits for it but who asked.
    async fn finish(
        &self,
        answer: Answer,
        source: IpAddr,
        request: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let Some(upstream) = &self.upstream else {
            return match answer {
                Answer::Now(bytes) | Answer::Foreign(bytes) => Some(bytes),
                Answer::Alias(unfinished, _) => unfinished.finished(),
                Answer::Nothing => None,
            };
        };
        match answer {
            Answer::Now(bytes) => Some(bytes),
            Answer::Nothing => None,
            Answer::Foreign(refused) => {
                let relayed = match upstream.admit(source) {
                    Some(place) => place.relay(request, transport).await,
                    None => None,
                };
                match relayed {
                    Some(answer) => fitted(answer, &refused, transport),
                    None => failed(&refused),
                }
            }
            Answer::Alias(unfinished, name) => {
                let kind = unfinished.kind();
                let end = match upstream.admit(source) {
                    Some(place) => place.resolve(&name, kind).await,
                    None => None,
                };
                unfinished.with(end)
            }
        }
    }
}

fn counted(outcome: &'static str) {
    metrics::counter!("photon_agent_dns_questions_total", "outcome" => outcome).increment(1);
}

/// Answers what comes by UDP, for as long as it is polled. Questions that somebody else is asked end with it.
pub async fn udp(vpc: Arc<Vpc>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut room = vec![0; LONGEST];
    let mut elsewhere = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut room) => received,
            Some(_) = elsewhere.join_next() => continue,
        };
        let (length, source) = match received {
            Ok(came) => came,
            Err(error) => {
                rest("receive by UDP", &error).await;
                continue;
            }
        };
        let request = room.get(..length).unwrap_or_default();
        match vpc.answer(source.ip(), request, Transport::Udp) {
            Answer::Nothing => {}
            Answer::Now(answer) => send(&socket, &answer, source).await,
            // The next question does not wait for it. How many there are is bounded where they are asked.
            foreign => {
                let (vpc, socket, request) = (vpc.clone(), socket.clone(), request.to_vec());
                elsewhere.spawn(async move {
                    let finished = vpc.finish(foreign, source.ip(), &request, Transport::Udp);
                    if let Some(answer) = finished.await {
                        send(&socket, &answer, source).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    // Whoever is not there any more does not miss it; whoever is asks again.
    if let Err(error) = socket.send_to(answer, to).await {
        tracing::debug!(%to, %error, "an answer was not sent");
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
            Ok((stream, source)) => match vpc.connections.admit(source.ip()) {
                Some(place) => {
                    connections.spawn(converse(vpc.clone(), place, stream, source));
                }
                None => counted("too-many-connections"),
            },
            Err(error) => rest("accept by TCP", &error).await,
        }
    }
}

async fn converse(vpc: Arc<Vpc>, _place: Place, mut stream: TcpStream, source: SocketAddr) {
    loop {
        match timeout(IDLE, exchange(&vpc, &mut stream, source)).await {
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
    let answer = vpc.answer(source.ip(), &request, Transport::Tcp);
    let finished = vpc.finish(answer, source.ip(), &request, Transport::Tcp);
    let Some(answer) = finished.await else {
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
