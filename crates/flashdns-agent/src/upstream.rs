//! Foreign names: asked of a resolver on this host (Unbound), which caches and validates; here a message goes there and its
//! answer comes back, as they are but for the id.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::answer::{HEADER, Transport};

/// Questions of a VPC under way at a time.
const MOST: usize = 200;
/// Questions of one address under way at a time.
const MOST_OF_ADDRESS: usize = 50;
/// How long one try may take: with the second a guest's own first try (5 s, `resolv.conf(5)`) is not over.
const LIMIT: Duration = Duration::from_millis(1500);
const TRIES: u32 = 2;
/// The longest answer by UDP that is taken, in bytes: what a resolver sends at most by default.
const LONGEST: usize = 4096;

/// The resolver, as the guests of a VPC have it asked. Clones share what is under way.
#[derive(Clone, Debug)]
pub struct Upstream {
    at: SocketAddr,
    under_way: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Upstream {
    /// At this address.
    pub fn new(at: SocketAddr) -> Self {
        Self {
            at,
            under_way: Arc::default(),
        }
    }

    /// A place for a question of a guest; `None`: the VPC or the address has as many under way as it may.
    pub fn admit(&self, source: IpAddr) -> Option<Place> {
        let mut held = self.held();
        if held.values().sum::<usize>() >= MOST {
            return None;
        }
        let of_address = held.entry(source).or_default();
        if *of_address >= MOST_OF_ADDRESS {
            return None;
        }
        *of_address += 1;
        Some(Place {
            upstream: self.clone(),
            source,
        })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        let held = self.under_way.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is under way until this is dropped.
pub struct Place {
    upstream: Upstream,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.upstream.held();
        if let Some(count) = held.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.source);
            }
        }
    }
}

impl Place {
    /// The answer to a question, with its id; `None`: none came in time.
    pub async fn relay(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let id = request.first_chunk::<2>()?;
        for _ in 0..TRIES {
            let mut asked = request.to_vec();
            // Of our own: a guest that knew it could answer in the resolver's place.
            let own = Message::query().metadata.id.to_be_bytes();
            asked.splice(..2, own);
            let answer = match transport {
                Transport::Udp => timeout(LIMIT, self.by_udp(&asked)).await,
                Transport::Tcp => timeout(LIMIT, self.by_tcp(&asked)).await,
            };
            match answer {
                Ok(Ok(mut answer)) => {
                    answer.splice(..2, *id);
                    return Some(answer);
                }
                Ok(Err(error)) => {
                    tracing::debug!(upstream = %self.upstream.at, %error, "no answer");
                    // Nobody is there: asking again at once would find nobody.
                    tokio::time::sleep(LIMIT / 4).await;
                }
                Err(_) => {}
            }
        }
        None
    }

    /// The records of an alias' end, and the code that they come with; `None`: none came in time.
    pub async fn resolve(&self, name: &Name, kind: RecordType) -> Option<Message> {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name.clone(), kind));
        let answer = self.relay(&question.to_vec().ok()?, Transport::Tcp).await?;
        Message::from_vec(&answer).ok()
    }

    async fn by_udp(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        // A port of its own for each question, which nobody can guess with the id.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(self.upstream.at).await?;
        socket.send(request).await?;
        let mut room = vec![0; LONGEST];
        loop {
            let length = socket.recv(&mut room).await?;
            if room
                .get(..length)
                .is_some_and(|answer| answers(answer, request))
            {
                room.truncate(length);
                return Ok(room);
            }
        }
    }

    async fn by_tcp(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.upstream.at).await?;
        let length = u16::try_from(request.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], request].concat();
        stream.write_all(&framed).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        match answers(&answer, request) {
            true => Ok(answer),
            false => Err(io::Error::other("the answer is to another question")),
        }
    }
}

/// Whether a message is an answer to the question: with its id, and not a question itself.
fn answers(answer: &[u8], request: &[u8]) -> bool {
    answer.len() >= HEADER && answer[..2] == request[..2] && answer[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpc_and_an_address_have_so_many_under_way() {
        let upstream = Upstream::new("127.0.0.1:5335".parse().unwrap());
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let of_one: Vec<_> = (0..100)
            .filter_map(|_| upstream.admit(address(1)))
            .collect();
        assert_eq!(of_one.len(), MOST_OF_ADDRESS);
        let all: Vec<_> = (0..=255)
            .filter_map(|n| upstream.admit(address(n)))
            .collect();
        assert_eq!(of_one.len() + all.len(), MOST);
        drop(of_one);
        assert!(upstream.admit(address(1)).is_some());
    }
}
