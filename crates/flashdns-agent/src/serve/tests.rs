use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::*;
use crate::plan;

fn view(address: &str) -> View {
    let addresses = vec![address.parse().unwrap()];
    let told = plan::Vpc {
        names: [("db.web.acme".to_owned(), addresses)].into(),
        ..plan::Vpc::default()
    };
    View::of(&told, "cloud.internal")
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn db() -> Vec<u8> {
    question("db.web.acme.cloud.internal.")
}

/// What is answered: the first address, or the code.
fn said(answer: &[u8]) -> Result<String, ResponseCode> {
    let message = Message::from_vec(answer).unwrap();
    let first = message.answers.first().map(|it| it.data.to_string());
    first.ok_or(message.metadata.response_code)
}

async fn ask_udp(at: SocketAddr, question: &[u8]) -> Result<String, ResponseCode> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(question, at).await.unwrap();
    let mut room = [0; 1500];
    let (length, _) = socket.recv_from(&mut room).await.unwrap();
    said(&room[..length])
}

/// A VPC at loopback addresses, and where.
async fn serving(rate: Option<Rate>) -> (Arc<Vpc>, SocketAddr, SocketAddr) {
    let vpc = Arc::new(Vpc::new(view("10.0.1.2"), rate));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = (socket.local_addr().unwrap(), listener.local_addr().unwrap());
    tokio::spawn(udp(vpc.clone(), socket));
    tokio::spawn(tcp(vpc.clone(), listener));
    (vpc, at.0, at.1)
}

async fn ask_tcp(stream: &mut TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(question.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_view_takes_the_place_of_the_one_before_at_once() {
    let (vpc, udp, tcp) = serving(None).await;
    assert_eq!(ask_udp(udp, &db()).await, Ok("10.0.1.2".to_owned()));
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    let answer = ask_tcp(&mut stream, &db()).await.unwrap();
    assert_eq!(said(&answer), Ok("10.0.1.2".to_owned()));
    vpc.put(view("10.0.1.9"));
    assert_eq!(ask_udp(udp, &db()).await, Ok("10.0.1.9".to_owned()));
    // One connection asks as often as it likes.
    let answer = ask_tcp(&mut stream, &db()).await.unwrap();
    assert_eq!(said(&answer), Ok("10.0.1.9".to_owned()));
    let foreign = ask_udp(udp, &question("example.com.")).await;
    assert_eq!(foreign, Err(ResponseCode::Refused));
}

#[tokio::test]
async fn an_address_has_ten_connections_and_gets_them_back() {
    let (vpc, _, tcp) = serving(None).await;
    let mut held = Vec::new();
    for _ in 0..MOST_OF_ADDRESS {
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        ask_tcp(&mut stream, &db()).await.unwrap();
        held.push(stream);
    }
    let mut more = TcpStream::connect(tcp).await.unwrap();
    assert!(ask_tcp(&mut more, &db()).await.is_err());
    held.clear();
    while !vpc.connections().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut again = TcpStream::connect(tcp).await.unwrap();
    ask_tcp(&mut again, &db()).await.unwrap();
}

#[test]
fn a_vpc_has_a_hundred_connections() {
    let vpc = Arc::new(Vpc::new(view("10.0.1.2"), None));
    let address = |n: usize| IpAddr::from([10, 0, 0, n as u8]);
    let places: Vec<_> = (0..200).filter_map(|n| vpc.admit(address(n / 5))).collect();
    assert_eq!(places.len(), MOST_CONNECTIONS);
    assert!(vpc.admit(address(250)).is_none());
    drop(places);
    assert!(vpc.admit(address(250)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_ends() {
    let (vpc, _, tcp) = serving(None).await;
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    stream.write_all(&[0]).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    assert!(vpc.connections().is_empty());
}

#[tokio::test]
async fn who_asks_too_fast_is_not_answered() {
    let rate = Rate {
        per_second: 1,
        burst: 2,
    };
    let vpc = Vpc::new(view("10.0.1.2"), Some(rate));
    let source = IpAddr::from([10, 0, 1, 3]);
    let answered = (0..10).filter(|_| vpc.answer(source, &db(), Transport::Udp).is_some());
    assert_eq!(answered.count(), 2);
}
