//! Over loopback: from its addresses ask whom the test says.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::instance::{Instance, example};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

struct Served {
    vrf: Arc<Vrf>,
    at: SocketAddr,
    _listening: AbortOnDropHandle<()>,
}

fn known(instance: &Instance) -> Arc<Callers> {
    let known = Known {
        instance: Arc::new(instance.clone()),
        tap: "pt1".into(),
    };
    Arc::new(Callers::from([(ONE.into(), known)]))
}

async fn serve(callers: Arc<Callers>) -> Served {
    let vrf = Arc::new(Vrf::new(callers, Arc::new(Issuer::new().unwrap())));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let listening = tokio::spawn(listen(vrf.clone(), listener));
    Served {
        vrf,
        at,
        _listening: AbortOnDropHandle::new(listening),
    }
}

impl Served {
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.at).await.unwrap()
    }
}

/// One answer, whose body has a length.
async fn exchange(stream: &mut TcpStream, head: &str) -> String {
    let request = format!("{head}\r\nHost: 169.254.169.254\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{text}");
    }
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    end.is_ok()
}

#[tokio::test]
async fn a_guest_gets_a_token_and_with_it_what_it_is() {
    let instance = example(1, "pt1", "10.0.1.10/24");
    let served = serve(known(&instance)).await;
    let mut stream = served.connect(ONE).await;
    let read = "GET /latest/meta-data/instance-id HTTP/1.1";
    let refused = exchange(&mut stream, read).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let put = format!("PUT /latest/api/token HTTP/1.1\r\n{TTL}: 60");
    let answer = exchange(&mut stream, &put).await;
    assert!(answer.contains(&format!("{TTL}: 60\r\n")), "{answer}");
    let (_, token) = answer.split_once("\r\n\r\n").unwrap();
    let read = format!("{read}\r\nX-aws-ec2-metadata-token: {token}");
    let answer = exchange(&mut stream, &read).await;
    assert!(answer.ends_with(&instance.instance_id), "{answer}");
    // Another address is nobody.
    let mut stream = served.connect(Ipv4Addr::new(127, 0, 0, 12)).await;
    let answer = exchange(&mut stream, &read).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn a_connection_ends_when_its_address_is_anothers() {
    let instance = example(1, "pt1", "10.0.1.10/24");
    let served = serve(known(&instance)).await;
    let mut kept = served.connect(ONE).await;
    exchange(&mut kept, "GET / HTTP/1.1").await;
    // The same VM, told otherwise.
    let renamed = Instance {
        hostname: "other".into(),
        ..instance
    };
    served.vrf.know(known(&renamed));
    exchange(&mut kept, "GET / HTTP/1.1").await;
    served.vrf.know(known(&example(2, "pt1", "10.0.1.10/24")));
    assert!(is_closed(&mut kept).await);
    let mut next = served.connect(ONE).await;
    exchange(&mut next, "GET / HTTP/1.1").await;
    served.vrf.know(Arc::default());
    assert!(is_closed(&mut next).await);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_large_requests_are_refused() {
    let served = serve(known(&example(1, "pt1", "10.0.1.10/24"))).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = served.connect(ONE).await;
        exchange(&mut stream, "GET / HTTP/1.1").await;
        held.push(stream);
    }
    assert!(is_closed(&mut served.connect(ONE).await).await);
    let mut stream = held.pop().unwrap();
    let large = format!("GET / HTTP/1.1\r\nX-Large: {}", "x".repeat(LARGEST));
    let answer = exchange_or_end(&mut stream, &large).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// What comes until the connection ends.
async fn exchange_or_end(stream: &mut TcpStream, head: &str) -> String {
    let request = format!("{head}\r\nHost: 169.254.169.254\r\n\r\n");
    // It may be refused before all of it is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
