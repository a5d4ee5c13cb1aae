use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use photon_program::request_id::{REQUEST_ID, answering, is_request_id, new_request_id};
use photon_resource::TokenVerifier;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service};
use tracing::Instrument;

use super::CallContext;
use super::body::{AccessLog, CallBody, Record};
use super::request_body::{Bounds, FirstMessage, HAD, Had, RequestBody, Waiting};
use crate::admission::{Admission, Connections, Kind, Permit, Refusals, Who};
use crate::guard;

/// How long somebody without an accepted token may take for a call.
const STRANGERS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refusal is kept back: whoever asks again as soon as it is refused would keep the server busy with telling it so.
const KEPT_BACK: Duration = Duration::from_millis(250);
/// How many refusals are kept back at the same time; beyond that they are told at once.
const MOST_KEPT_BACK: usize = 1024;

/// What a server's methods are, by their paths (`/package.Service/Method`).
#[derive(Debug, Default)]
pub(crate) struct Methods {
    /// All that there are: others share one label in the metrics, so that a stranger can't make new ones.
    pub kinds: HashMap<String, Kind>,
    /// Those to which the client streams: they answer only when it ends, or never, so that they have no time limit.
    pub client_streaming: HashSet<String>,
}

/// Refusals that are not told yet.
#[derive(Debug)]
pub(crate) struct KeptBack(Semaphore);

impl Default for KeptBack {
    fn default() -> Self {
        Self(Semaphore::new(MOST_KEPT_BACK))
    }
}

impl KeptBack {
    async fn pass(&self) {
        if let Ok(_place) = self.0.try_acquire() {
            tokio::time::sleep(KEPT_BACK).await;
        }
    }
}

/// Surrounds every call.
#[derive(Clone)]
pub(crate) struct CallLayer {
    pub methods: Arc<Methods>,
    /// How long a call may take to answer.
    pub timeout: Duration,
    /// How long the first message of a stream may take to come.
    pub first_message: Duration,
    pub verifier: Arc<dyn TokenVerifier>,
    pub connections: Arc<Connections>,
    pub admission: Arc<Admission>,
    pub refusals: Arc<Refusals>,
    pub kept_back: Arc<KeptBack>,
    pub log: Arc<AccessLog>,
    pub shutdown: CancellationToken,
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The service that is ready is the one that was polled; the clone takes its place.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();

        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|it| it.to_str().ok());
        let request_id: Arc<str> = match given {
            Some(id) if is_request_id(id) => id.into(),
            _ => new_request_id().into(),
        };
        let header = HeaderValue::from_str(&request_id).expect("request ids are visible ASCII");
        request.headers_mut().insert(REQUEST_ID, header.clone());

        let path = request.uri().path().to_owned();
        let known = layer.methods.kinds.get(&path).copied();
        let method: Arc<str> = match known {
            Some(_) => path[1..].into(),
            None => "unknown".into(),
        };
        let context = CallContext {
            request_id: request_id.clone(),
            method: method.clone(),
            principal: Arc::new(OnceLock::new()),
            verified: Arc::new(OnceLock::new()),
        };
        request.extensions_mut().insert(context.clone());
        let span = tracing::info_span!("call", request_id = %request_id, method = %method);
        let started = Instant::now();
        let token = guard::bearer(request.headers()).ok().map(str::to_owned);
        let (peer, certified) = peer(request.extensions());
        let connection = peer.and_then(|peer| Some((peer, layer.connections.of(peer)?)));
        let calling = connection.clone().map(|(_, it)| it.call());

        Box::pin(async move {
            let mut record = Record::new(
                Arc::clone(&layer.log),
                context.clone(),
                started,
                span.clone(),
                calling,
            );
            let kind = known.unwrap_or(Kind::Call).asked_by(peer, certified);
            let shutdown = layer.shutdown.clone();
            let stranger = Who::stranger(peer.map(|peer| peer.ip()), certified);
            let answer = async {
                let who = layer.identify(token, &context, stranger).await;
                let known = matches!(who, Who::Known(_));
                if let Some((peer, connection)) = connection.as_ref().filter(|_| known || certified)
                {
                    layer.connections.is_of_somebody(*peer, connection);
                }
                let permit = match layer.admission.admit(who, kind).await {
                    Ok(permit) => permit,
                    Err(refusal) => {
                        layer.refusals.count(&refusal.who, refusal.why);
                        if let Some((_, connection)) = &connection {
                            connection.refused();
                        }
                        record.refused();
                        // With what has come of its body.
                        drop(request);
                        layer.kept_back.pass().await;
                        return (refusal.status().into_http(), None);
                    }
                };
                let admitted = Instant::now();
                let response = layer.answer(inner, request, &path, &permit, known).await;
                permit.took(admitted.elapsed());
                (response, Some(permit))
            };
            let (mut response, permit) = answering(request_id, answer.instrument(span)).await;
            response.headers_mut().insert(REQUEST_ID, header);
            // An answer without a message has its status in the headers (gRPC: Trailers-Only).
            if let Some(code) = response.headers().get("grpc-status") {
                record.code(code.as_bytes());
            }
            Ok(response.map(|body| Body::new(CallBody::new(body, record, permit, shutdown))))
        })
    }
}

impl CallLayer {
    /// Who calls; a token that can't be verified is none.
    async fn identify(&self, token: Option<String>, context: &CallContext, stranger: Who) -> Who {
        let Some(token) = token else {
            return stranger;
        };
        match self.verifier.verify(&token).await {
            Ok(claims) => {
                let claims = Arc::new(claims);
                // The first to set it.
                let _ = context.verified.set(Arc::clone(&claims));
                Who::Known(claims)
            }
            Err(_) => stranger,
        }
    }

    async fn answer<S>(
        &self,
        mut inner: S,
        request: Request<Body>,
        path: &str,
        permit: &Permit,
        known: bool,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let streams = self.methods.client_streaming.contains(path);
        // Given back when the call is answered.
        let had = Had::default();
        let bounds = || match streams {
            true => Bounds::Streamed(FirstMessage::within(self.first_message)),
            false => {
                let turn = permit.carry_out();
                Bounds::Held(permit.bytes(), turn.map(|turn| Waiting::new(turn, &had)))
            }
        };
        let timeout = match (streams, known) {
            (true, _) => None,
            (false, true) => Some(self.timeout),
            (false, false) => Some(self.timeout.min(STRANGERS_TIMEOUT)),
        };
        let call = inner.call(request.map(|body| Body::new(RequestBody::new(body, bounds()))));
        let call = HAD.scope(Had::clone(&had), call);
        let Some(limit) = timeout else {
            return match call.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
        };
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => Status::deadline_exceeded(format!(
                "the call took longer than {} s; whether it had an effect is not known: repeat it with the same \
                 request_id",
                limit.as_secs()
            ))
            .into_http(),
        }
    }
}

/// Where a call comes from, and whether its connection has a certificate that the server asks for.
fn peer(extensions: &http::Extensions) -> (Option<SocketAddr>, bool) {
    let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
    let tcp = extensions.get::<TcpConnectInfo>();
    let tcp = tcp.or(tls.map(TlsConnectInfo::get_ref));
    (
        tcp.and_then(TcpConnectInfo::remote_addr),
        tls.is_some_and(|tls| tls.peer_certs().is_some()),
    )
}
