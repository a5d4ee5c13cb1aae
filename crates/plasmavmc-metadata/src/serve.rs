//! Connections: what comes in of a VRF is answered to who has the address there.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use photon_resource::VmId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::{Answer, Caller, TTL, answer};
use crate::plan::{Callers, Known};
use crate::share::{Place, Shares};
use crate::token::Issuer;

/// The largest request's head, in bytes; the least that hyper takes.
const LARGEST: usize = 8 << 10;
/// How long a client may take to send it, also the next one on a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last: a guest that takes no answers holds no place for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// After a connection could not be accepted, for want of memory or of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A VRF whose guests are answered.
pub struct Vrf {
    callers: watch::Sender<Arc<Callers>>,
    issuer: Arc<Issuer>,
    shares: Arc<Shares>,
}

impl Vrf {
    /// In which these are known.
    pub fn new(callers: Arc<Callers>, issuer: Arc<Issuer>) -> Self {
        Self {
            callers: watch::Sender::new(callers),
            issuer,
            shares: Arc::default(),
        }
    }

    /// Who is known in it.
    pub fn callers(&self) -> Arc<Callers> {
        self.callers.borrow().clone()
    }

    /// Knows these from now on. Connections of an address that is another VM's now end.
    pub fn know(&self, callers: Arc<Callers>) {
        self.callers.send_replace(callers);
    }

    fn known(&self, source: IpAddr) -> Option<Known> {
        self.callers.borrow().get(&source).cloned()
    }

    /// Whom the address is of does not go with the connection: it is looked up for each request.
    fn answer(&self, source: IpAddr, of: Option<VmId>, request: Request<Incoming>) -> Answer {
        if !self.shares.admits(source, Instant::now()) {
            let expected = "so many requests are not answered: try again in a second";
            return Answer::refused(StatusCode::TOO_MANY_REQUESTS, expected);
        }
        let known = self.known(source).filter(|it| Some(it.instance.vm) == of);
        let caller = known.as_ref().map(|it| Caller {
            instance: &it.instance,
            tap: &it.tap,
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_secs());
        let (parts, _) = request.into_parts();
        answer(caller, &parts, &self.issuer, now)
    }
}

/// Answers for as long as it is polled. Connections end with it.
pub async fn listen(vrf: Arc<Vrf>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, source)) => match vrf.shares.connect(source.ip()) {
                Some(place) => {
                    connections.spawn(converse(place, vrf.clone(), stream, source));
                }
                None => counted("too-many-connections"),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(_place: Place, vrf: Arc<Vrf>, stream: TcpStream, source: SocketAddr) {
    let source = source.ip();
    let vm_of = |callers: &Callers| callers.get(&source).map(|known| known.instance.vm);
    let mut callers = vrf.callers.subscribe();
    let of = vm_of(&callers.borrow_and_update());
    // For the hops of a token, while the connection has the stream.
    let Ok(leash) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    let leash = std::net::TcpStream::from(leash);
    let service = service_fn(|request| {
        let answered = vrf.answer(source, of, request);
        // From then on whatever the connection carries: a token must not come along with the next answer.
        let limited = match answered.token {
            Some((_, hops)) => leash.set_ttl(hops.into()),
            None => Ok(()),
        };
        let answered = limited.map_or_else(
            |_| Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, "no token: try again"),
            |()| answered,
        );
        counted(answered.status.as_str());
        std::future::ready(Ok::<_, Infallible>(response(answered)))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(LARGEST)
        .serve_connection(TokioIo::new(stream), service);
    let handed_over = async {
        while callers.changed().await.is_ok() {
            if vm_of(&callers.borrow_and_update()) != of {
                break;
            }
        }
    };
    tokio::select! {
        served = timeout(LONGEST, connection) => {
            if let Ok(Err(error)) = served {
                tracing::debug!(%source, %error, "a connection ended");
            }
        }
        () = handed_over => {}
    }
}

fn response(answered: Answer) -> Response<Full<Bytes>> {
    let Answer {
        status,
        content_type,
        body,
        token,
    } = answered;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some((seconds, _)) = token {
        headers.insert(TTL, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT"));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, HeaderValue::from(1));
    }
    response
}

fn counted(what: &str) {
    metrics::counter!("photon_metadata_requests_total", "what" => what.to_owned()).increment(1);
}

#[cfg(test)]
mod tests;
