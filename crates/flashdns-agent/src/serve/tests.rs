use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use photon_names::Contents;

use super::*;

fn view(address: &str) -> View {
    let addresses = vec![address.parse().unwrap()];
    let told = Contents {
        names: [("db.web.acme".to_owned(), addresses)].into(),
        ..Contents::default()
    };
    View::of(&told, "cloud.internal", &[])
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
async fn serving(
    rate: Option<Rate>,
    upstream: Option<SocketAddr>,
) -> (Arc<Vpc>, SocketAddr, SocketAddr) {
    let vpc = Arc::new(Vpc::new(view("10.0.1.2"), rate, upstream));
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
    let (vpc, udp, tcp) = serving(None, None).await;
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
    let (vpc, _, tcp) = serving(None, None).await;
    let mut held = Vec::new();
    for _ in 0..MOST_OF_ADDRESS {
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        ask_tcp(&mut stream, &db()).await.unwrap();
        held.push(stream);
    }
    let mut more = TcpStream::connect(tcp).await.unwrap();
    assert!(ask_tcp(&mut more, &db()).await.is_err());
    held.clear();
    while !vpc.connections.is_free() {
        tokio::task::yield_now().await;
    }
    let mut again = TcpStream::connect(tcp).await.unwrap();
    ask_tcp(&mut again, &db()).await.unwrap();
}

#[test]
fn a_vpc_has_a_hundred_connections() {
    let vpc = Arc::new(Vpc::new(view("10.0.1.2"), None, None));
    let address = |n: usize| IpAddr::from([10, 0, 0, n as u8]);
    let places: Vec<_> = (0..200)
        .filter_map(|n| vpc.connections.admit(address(n / 5)))
        .collect();
    assert_eq!(places.len(), MOST_CONNECTIONS);
    assert!(vpc.connections.admit(address(250)).is_none());
    drop(places);
    assert!(vpc.connections.admit(address(250)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_ends() {
    let (vpc, _, tcp) = serving(None, None).await;
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    stream.write_all(&[0]).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    assert!(vpc.connections.is_free());
}

#[tokio::test]
async fn who_asks_too_fast_is_not_answered() {
    let rate = Rate {
        per_second: 1,
        burst: 2,
    };
    let vpc = Vpc::new(view("10.0.1.2"), Some(rate), None);
    let source = IpAddr::from([10, 0, 1, 3]);
    let answered = (0..10).filter(|_| {
        let answer = vpc.answer(source, &db(), Transport::Udp);
        matches!(answer, Answer::Now(_))
    });
    assert_eq!(answered.count(), 2);
}

/// A resolver that has an address for every name, as its question asks for it.
async fn everywhere(answers: u8) -> SocketAddr {
    let at: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = TcpListener::bind(at).await.unwrap();
    let at = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(at).await.unwrap();
    let say = move |request: &[u8]| {
        let mut message = Message::from_vec(request).unwrap();
        message.metadata.message_type = MessageType::Response;
        let name = message.queries[0].name().clone();
        for n in 0..answers {
            let value = RData::A(A::new(203, 0, 113, n));
            message.add_answer(Record::from_rdata(name.clone(), 60, value));
        }
        message.to_vec().unwrap()
    };
    tokio::spawn(async move {
        let mut room = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut room).await.unwrap();
            socket.send_to(&say(&room[..length]), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut request).await.unwrap();
            let answer = say(&request);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    at
}

fn foreign() -> Vec<u8> {
    let mut bytes = question("example.com.");
    bytes[2] |= 1;
    bytes
}

#[tokio::test]
async fn a_foreign_name_is_asked_of_somebody_else() {
    let upstream = everywhere(1).await;
    let (_, udp, tcp) = serving(None, Some(upstream)).await;
    let address = Ok("203.0.113.0".to_owned());
    assert_eq!(ask_udp(udp, &foreign()).await, address);
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    let answer = ask_tcp(&mut stream, &foreign()).await.unwrap();
    assert_eq!(answer[..2], foreign()[..2]);
    assert_eq!(said(&answer), address);
    assert_eq!(ask_udp(udp, &db()).await, Ok("10.0.1.2".to_owned()));
    // What is the cloud's own, and what is nobody's, is not asked for; nor is for who does not want that.
    for (question, code) in [
        (question("x.cloud.internal."), ResponseCode::NXDomain),
        (question("1.2.3.10.in-addr.arpa."), ResponseCode::NXDomain),
        (question("example.com."), ResponseCode::Refused),
    ] {
        assert_eq!(ask_udp(udp, &question).await, Err(code));
    }
}

#[tokio::test]
async fn what_is_too_long_comes_by_tcp_from_elsewhere_too() {
    let upstream = everywhere(200).await;
    let (_, udp, tcp) = serving(None, Some(upstream)).await;
    assert_eq!(ask_udp(udp, &foreign()).await, Err(ResponseCode::NoError));
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    let answer = ask_tcp(&mut stream, &foreign()).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 200);
}

#[tokio::test]
async fn without_an_answer_from_elsewhere_our_own_names_are_answered() {
    // Nobody answers there, and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (_, udp, _) = serving(None, Some(silent.local_addr().unwrap())).await;
    let begun = Instant::now();
    let lost = tokio::spawn(async move { ask_udp(udp, &foreign()).await });
    assert_eq!(ask_udp(udp, &db()).await, Ok("10.0.1.2".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(lost.await.unwrap(), Err(ResponseCode::ServFail));
    assert!(begun.elapsed() < Duration::from_secs(5));
}
