use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use photon_program::metrics::{CALLS, SECONDS, UNDER_WAY};
use photon_resource::PrincipalId;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;

use super::CallContext;
use crate::admission::{Calling, Permit};
use crate::limit::Limiter;

/// Lines of the access log of one principal, and of all strangers together: in a row, and one more after how long. A
/// flood of calls is no flood of lines; what is beyond is in the metrics, and in the log as debugging information.
const LINES: u32 = 500;
const LINE_AGAIN: Duration = Duration::from_millis(100);

/// Who asks and takes it back sooner than this is not somebody who tired of waiting (a rapid reset, CVE-2023-44487).
const RESET: Duration = Duration::from_secs(1);

/// Whose lines the access log has had.
#[derive(Debug)]
pub(crate) struct AccessLog(Limiter<Option<PrincipalId>>);

impl Default for AccessLog {
    fn default() -> Self {
        Self(Limiter::new(LINES, LINE_AGAIN))
    }
}

/// Writes the access log line and counts the call when it ends, however it does.
#[derive(Debug)]
pub(super) struct Record {
    log: Arc<AccessLog>,
    context: CallContext,
    started: Instant,
    span: Span,
    code: Option<Code>,
    refused: bool,
    /// Its connection is not idle.
    calling: Option<Calling>,
}

impl Record {
    pub fn new(
        log: Arc<AccessLog>,
        context: CallContext,
        started: Instant,
        span: Span,
        calling: Option<Calling>,
    ) -> Self {
        metrics::gauge!(UNDER_WAY).increment(1.0);
        Self {
            log,
            context,
            started,
            span,
            code: None,
            refused: false,
            calling,
        }
    }

    /// It was not let in: the log tells of such calls together.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// `code` is the value of a `grpc-status` header or trailer.
    pub fn code(&mut self, code: &[u8]) {
        self.code = Some(Code::from_bytes(code));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Neither status nor trailers: the client went away.
        let code = self.code.unwrap_or(Code::Cancelled);
        let elapsed = self.started.elapsed();
        if let Some(calling) = &self.calling
            && self.code.is_none()
            && elapsed < RESET
        {
            calling.reset();
        }
        let method = &self.context.method;
        metrics::gauge!(UNDER_WAY).decrement(1.0);
        metrics::counter!(CALLS, "method" => Arc::clone(method), "code" => name(code)).increment(1);
        metrics::histogram!(SECONDS, "method" => Arc::clone(method)).record(elapsed.as_secs_f64());
        let _entered = self.span.enter();
        let principal = self.context.principal.get().map_or("-", String::as_str);
        let milliseconds = (elapsed.as_secs_f64() * 1e5).round() / 1e2;
        // Method and request id are the span's.
        let line = match self.refused || is_frequent(method) {
            true => None,
            false => {
                let verified = self.context.verified.get();
                let who = verified.map(|claims| claims.principal_id);
                self.log.0.admit(who, Instant::now())
            }
        };
        match line {
            Some(0) => tracing::info!(
                code = name(code),
                milliseconds,
                principal,
                "{method} answered"
            ),
            Some(left_out) => tracing::info!(
                code = name(code),
                milliseconds,
                principal,
                left_out,
                "{method} answered"
            ),
            None => tracing::debug!(
                code = name(code),
                milliseconds,
                principal,
                "{method} answered"
            ),
        }
    }
}

/// Probes come every few seconds, and the servers' questions to IAM with every call: they say nothing.
fn is_frequent(method: &str) -> bool {
    method.starts_with("grpc.") || method.starts_with("iam.v1.IamAuthzService/")
}

/// A response's body that keeps the [`Record`], pays for what it tells, and ends when the server stops.
#[derive(Debug)]
pub(super) struct CallBody {
    inner: Body,
    record: Record,
    permit: Option<Permit>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl CallBody {
    pub fn new(
        inner: Body,
        record: Record,
        permit: Option<Permit>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            inner,
            record,
            permit,
            stop: Box::pin(shutdown.cancelled_owned()),
            ended: false,
        }
    }
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let span = this.record.span.clone();
        let _entered = span.enter();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                match &frame {
                    Some(Ok(frame)) => {
                        if let (Some(permit), Some(data)) = (&this.permit, frame.data_ref()) {
                            permit.told(data.len());
                        }
                        if let Some(code) = frame
                            .trailers_ref()
                            .and_then(|it| it.get(Status::GRPC_STATUS))
                        {
                            this.record.code(code.as_bytes());
                        }
                    }
                    Some(Err(status)) => this.record.code = Some(status.code()),
                    None => {}
                }
                Poll::Ready(frame)
            }
            // A single answer is never pending, so only a stream that waits for something to say is cut.
            Poll::Pending => match this.stop.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    this.ended = true;
                    this.record.code = Some(Code::Unavailable);
                    let status = Status::unavailable("the server is stopping: connect again");
                    let mut trailers = HeaderMap::new();
                    Poll::Ready(match status.add_header(&mut trailers) {
                        Ok(()) => Some(Ok(Frame::trailers(trailers))),
                        Err(status) => Some(Err(status)),
                    })
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The codes as gRPC spells them.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
