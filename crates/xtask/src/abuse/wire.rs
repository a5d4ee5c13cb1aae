//! gRPC by hand over HTTP/2: from any address of the namespace, with requests that no client of ours would make.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use photon_client::call::Call;
use prost::Message;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Status};

/// A server that takes longer to accept a connection does not.
const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a server takes to give up on a call.
const ANSWER: Duration = Duration::from_secs(40);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The server's status, and what it says.
    Status(Code, String),
    /// There was no connection, or it broke.
    Broken(String),
}

impl Failed {
    fn broken(error: impl fmt::Display) -> Self {
        Failed::Broken(error.to_string())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Status(code, text) => write!(f, "{code:?}: {text}"),
            Failed::Broken(text) => write!(f, "the connection broke: {text}"),
        }
    }
}

/// A TCP connection from one of the namespace's addresses.
///
/// # Errors
/// When the server does not accept it in 5 s.
pub async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match from {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(from, 0))?;
    let connected = timeout(CONNECT, socket.connect(to)).await;
    let stream = connected.map_err(|_| std::io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An HTTP/2 connection; it ends when this is dropped.
pub struct Wire {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A place to call from and to, with a connection that is made anew when it broke.
pub struct Line {
    from: IpAddr,
    to: SocketAddr,
    wire: Option<Wire>,
}

impl Line {
    pub fn new(from: IpAddr, to: SocketAddr) -> Self {
        Line {
            from,
            to,
            wire: None,
        }
    }

    /// Its connection. What became of the last one is told by [`Line::kept`].
    pub async fn wire(&mut self) -> Result<&Wire, Failed> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::open(self.from, self.to).await?,
        };
        Ok(self.wire.insert(wire))
    }

    /// Gives the connection up if this broke it.
    pub fn kept<T>(&mut self, outcome: Result<T, Failed>) -> Result<T, Failed> {
        if let Err(Failed::Broken(_)) = outcome {
            self.wire = None;
        }
        outcome
    }

    /// Calls, and waits for the answer.
    pub async fn call<R: Call>(
        &mut self,
        token: Option<&str>,
        request: &R,
    ) -> Result<R::Answer, Failed> {
        let outcome = self.wire().await?.call(token, request).await;
        self.kept(outcome)
    }

    /// Sends headers alone, and waits for the answer.
    pub async fn send(&mut self, path: &str, headers: HeaderMap) -> Result<(), Failed> {
        let begun = self.wire().await?.begin(path, None, headers).await;
        let outcome = match begun {
            Ok(begun) => begun.answered().await.map(drop),
            Err(failed) => Err(failed),
        };
        self.kept(outcome)
    }
}

/// A call that was begun.
pub struct Begun {
    answer: ResponseFuture,
    pub body: SendStream<Bytes>,
}

impl Wire {
    pub async fn open(from: IpAddr, to: SocketAddr) -> Result<Self, Failed> {
        let stream = connect(from, to).await.map_err(Failed::broken)?;
        let shaking = timeout(
            CONNECT,
            h2::client::Builder::new()
                // Answers that nobody reads would wait in the server; lists are read here.
                .initial_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .handshake(stream),
        );
        let shaken = shaking.await.map_err(Failed::broken)?;
        let (send, connection) = shaken.map_err(Failed::broken)?;
        // How it ended is seen by the calls on it.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Wire { send, driver })
    }

    /// Begins a call of `path` with more headers; nothing of its body is sent yet.
    pub async fn begin(
        &self,
        path: &str,
        token: Option<&str>,
        more: HeaderMap,
    ) -> Result<Begun, Failed> {
        let mut request = Request::post(format!("http://abuse{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(()).map_err(Failed::broken)?;
        request.headers_mut().extend(more);
        let ready = timeout(ANSWER, self.send.clone().ready()).await;
        let mut send = ready.map_err(Failed::broken)?.map_err(Failed::broken)?;
        let (answer, body) = send.send_request(request, false).map_err(Failed::broken)?;
        Ok(Begun { answer, body })
    }

    /// Calls, and waits for the answer.
    pub async fn call<R: Call>(
        &self,
        token: Option<&str>,
        request: &R,
    ) -> Result<R::Answer, Failed> {
        let mut begun = self.begin(R::PATH, token, HeaderMap::new()).await?;
        let sent = begun.body.send_data(framed(request), true);
        sent.map_err(Failed::broken)?;
        let message = begun.answered().await?;
        R::Answer::decode(message).map_err(Failed::broken)
    }

    /// Opens a stream of answers, which is left unread until [`Begun::answered`].
    pub async fn open_stream<R: Call>(
        &self,
        token: Option<&str>,
        request: &R,
    ) -> Result<Begun, Failed> {
        let mut begun = self.begin(R::PATH, token, HeaderMap::new()).await?;
        let sent = begun.body.send_data(framed(request), true);
        sent.map_err(Failed::broken)?;
        Ok(begun)
    }
}

impl Begun {
    /// Waits for the one message of the answer, or of a stream its first until it ends.
    pub async fn answered(self) -> Result<Bytes, Failed> {
        match timeout(ANSWER, answered(self.answer)).await {
            Ok(answered) => answered,
            Err(_) => Err(Failed::Broken(format!(
                "no answer in {} s",
                ANSWER.as_secs()
            ))),
        }
    }

    /// Waits for the beginning of the answer: whether it is a refusal.
    pub async fn headed(self) -> Result<(), Failed> {
        let response = self.answer.await.map_err(Failed::broken)?;
        status(response.headers()).map_or(Ok(()), Err)
    }

    /// Takes it back with an RST_STREAM.
    pub fn reset(mut self) {
        self.body.send_reset(h2::Reason::CANCEL);
    }
}

async fn answered(answer: ResponseFuture) -> Result<Bytes, Failed> {
    let response = answer.await.map_err(Failed::broken)?;
    let (head, mut body) = response.into_parts();
    if let Some(status) = status(&head.headers) {
        return Err(status);
    }
    if !head.status.is_success() {
        return Err(Failed::Broken(format!("HTTP {}", head.status)));
    }
    let message = read(&mut body).await?;
    let trailers = body.trailers().await.map_err(Failed::broken)?;
    if let Some(status) = trailers.as_ref().and_then(status) {
        return Err(status);
    }
    // Five bytes before it: whether it is compressed, and its length (gRPC over HTTP/2).
    match message.len() {
        0..5 => Err(Failed::Broken("an answer without a message".into())),
        _ => Ok(message.slice(5..)),
    }
}

async fn read(body: &mut RecvStream) -> Result<Bytes, Failed> {
    let mut all = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(Failed::broken)?;
        let released = body.flow_control().release_capacity(data.len());
        released.map_err(Failed::broken)?;
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// What a status in these headers says, if it is not OK.
fn status(headers: &HeaderMap) -> Option<Failed> {
    let status = Status::from_header_map(headers)?;
    let failed = Failed::Status(status.code(), status.message().to_owned());
    (status.code() != Code::Ok).then_some(failed)
}

/// A message as it goes over the wire.
pub fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}
