//! Foreign names: asked of a resolver on this host (Unbound), which caches and validates; here a message goes there and its
//! answer comes back, as they are but for the id.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::answer::{HEADER, Transport};
use crate::shares::{Place, Shares};

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
    under_way: Shares,
}

impl Upstream {
    /// At this address.
    pub fn new(at: SocketAddr) -> Self {
        Self {
            at,
            under_way: Shares::new(MOST, MOST_OF_ADDRESS),
        }
    }

    /// A question of a guest; `None`: the VPC or the address has as many under way as it may.
    pub fn admit(&self, source: IpAddr) -> Option<Forward> {
        Some(Forward {
            at: self.at,
            _place: self.under_way.admit(source)?,
        })
    }
}

/// A question that is under way until this is dropped.
#[derive(Debug)]
pub struct Forward {
    at: SocketAddr,
    _place: Place,
}

impl Forward {
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
                    tracing::debug!(upstream = %self.at, %error, "no answer");
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
        socket.connect(self.at).await?;
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
        let mut stream = TcpStream::connect(self.at).await?;
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

/// Whether a message is an answer to the request: with its id, no question itself, and to the same name (in whatever case,
/// RFC 4343), type and class.
fn answers(answer: &[u8], request: &[u8]) -> bool {
    let says_so = answer.len() >= HEADER && answer[..2] == request[..2] && answer[2] & 0x80 != 0;
    let same = match (question(answer), question(request)) {
        (Some((name, kind)), Some((asked, asked_kind))) => {
            // The lengths of labels are no letters.
            name.eq_ignore_ascii_case(asked) && kind == asked_kind
        }
        _ => false,
    };
    says_so && same
}

/// The one question of a message: its name as it is on the wire, and type and class. `None`: it has none, several, or one
/// whose name is said by pointing elsewhere, which nothing is before a first name to point to.
fn question(message: &[u8]) -> Option<(&[u8], &[u8])> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let rest = message.get(HEADER..)?;
    let mut end = 0;
    loop {
        match usize::from(*rest.get(end)?) {
            0 => break,
            label @ 1..64 => end += 1 + label,
            _ => return None,
        }
    }
    Some((rest.get(..=end)?, rest.get(end + 1..end + 5)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.add_query(Query::query(name.parse().unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn answering(mut message: Vec<u8>) -> Vec<u8> {
        message[2] |= 0x80;
        message
    }

    #[test]
    fn an_answer_is_to_the_same_question() {
        let request = asking("www.example.com.", RecordType::A);
        let same = asking("wWw.eXample.com.", RecordType::A);
        assert!(answers(&answering(request.clone()), &request));
        assert!(answers(&answering(same), &request));
        let mut other_class = request.clone();
        *other_class.last_mut().unwrap() = 3;
        let mut other_id = request.clone();
        other_id[1] = 8;
        let mut none = request.clone();
        none[5] = 0;
        let mut pointing = request.clone();
        pointing[HEADER..HEADER + 2].copy_from_slice(&[0xc0, 0]);
        for (what, message) in [
            ("another name", asking("www.example.org.", RecordType::A)),
            ("a longer name", asking("a.www.example.com.", RecordType::A)),
            ("another type", asking("www.example.com.", RecordType::AAAA)),
            ("another class", other_class),
            ("another id", other_id),
            ("no question", none),
            ("a pointer", pointing),
            ("cut off in it", request[..request.len() - 1].to_vec()),
            ("cut off before it", request[..HEADER].to_vec()),
        ] {
            assert!(!answers(&answering(message), &request), "{what}");
        }
        // What comes back as it went.
        assert!(!answers(&request, &request));
    }
}
