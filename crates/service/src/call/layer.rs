use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use photon_program::request_id::{REQUEST_ID, answering, is_request_id, new_request_id};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument;

use super::CallContext;
use super::body::CallBody;

/// How much may be asked for.
#[derive(Clone, Debug)]
pub(crate) struct CallLimits {
    /// How long a call may take to answer.
    pub timeout: Duration,
    /// Methods (`/package.Service/Method`) that answer only when the client ends its stream, or that never
    /// end: no time limit.
    pub unlimited: Arc<HashSet<String>>,
    /// One permit for each call that has not answered.
    pub calls: Arc<Semaphore>,
}

/// Surrounds every call.
#[derive(Clone, Debug)]
pub(crate) struct CallLayer {
    pub limits: CallLimits,
    pub shutdown: CancellationToken,
    /// All methods that this server has: others share one label in the metrics, so that a stranger can't
    /// make new ones.
    pub methods: Arc<HashSet<String>>,
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

#[derive(Clone, Debug)]
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
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let CallLayer {
            limits,
            shutdown,
            methods,
        } = self.layer.clone();

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
        let known = methods.contains(&path);
        let method: Arc<str> = if known {
            path[1..].into()
        } else {
            "unknown".into()
        };
        let context = CallContext {
            request_id: request_id.clone(),
            method: method.clone(),
            principal: Arc::new(OnceLock::new()),
        };
        request.extensions_mut().insert(context.clone());
        let span = tracing::info_span!("call", request_id = %request_id, method = %method);
        let started = Instant::now();
        let timeout = (!limits.unlimited.contains(&path)).then_some(limits.timeout);

        Box::pin(async move {
            let mut record = super::body::Record::new(context, started, span.clone());
            let answer = async {
                let Ok(_permit) = limits.calls.try_acquire() else {
                    return Status::resource_exhausted(
                        "the server has as many calls under way as it takes: try again in a second",
                    )
                    .into_http();
                };
                let call = inner.call(request);
                let answered = match timeout {
                    None => Ok(call.await),
                    Some(limit) => tokio::time::timeout(limit, call).await,
                };
                match answered {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => Status::deadline_exceeded(format!(
                        "the call took longer than {} s; whether it had an effect is not known: \
                         repeat it with the same request_id",
                        limits.timeout.as_secs()
                    ))
                    .into_http(),
                }
            };
            let mut response = answering(request_id, answer.instrument(span)).await;
            response.headers_mut().insert(REQUEST_ID, header);
            // An answer without a message has its status in the headers (gRPC: Trailers-Only).
            if let Some(code) = response.headers().get("grpc-status") {
                record.code(code.as_bytes());
            }
            Ok(response.map(|body| Body::new(CallBody::new(body, record, shutdown))))
        })
    }
}
