//! The provisioner, as seen from a host: who answers must have a certificate of the pinned authority.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::pki::Pair;

const CONNECT: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(30);

/// Why something did not come about.
#[derive(Clone, Debug)]
pub struct Failure {
    reason: String,
    lasting: bool,
}

impl Failure {
    /// The next try would end the same.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Failure {
            reason: reason.into(),
            lasting: true,
        }
    }

    /// The next try may end better.
    pub fn passing(reason: impl Into<String>) -> Self {
        Failure {
            reason: reason.into(),
            lasting: false,
        }
    }

    pub(super) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::passing(format!("cannot {doing} {}: {error}", path.display()))
    }

    pub(super) fn context(mut self, doing: &str) -> Self {
        self.reason = format!("{doing}: {}", self.reason);
        self
    }

    /// Whether trying again is of no use until someone changed something.
    pub fn is_lasting(&self) -> bool {
        self.lasting
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

/// A connection that is made when it is used.
pub(super) struct Remote {
    channel: Channel,
}

impl Remote {
    /// To `url`, trusting `authority` alone, and with this host's certificate if there is one.
    pub fn new(url: &str, authority: &str, pair: Option<&Pair>) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::lasting(format!(
                "the provisioner's URL {url:?} {why}; expected is https://ADDRESS:50089"
            ))
        };
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| wrong(&format!("is not readable ({error})")))?;
        // The token must not be sent to whoever listens.
        if endpoint.uri().scheme_str() != Some("https") {
            return Err(wrong("is not https"));
        }
        let host = endpoint.uri().host().ok_or_else(|| wrong("has no host"))?;
        let mut tls = ClientTlsConfig::new()
            .domain_name(host.trim_matches(['[', ']']))
            .ca_certificate(Certificate::from_pem(authority));
        if let Some(pair) = pair {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let channel = endpoint
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .tls_config(tls)
            .map_err(|error| {
                Failure::lasting(format!(
                    "the certificates of this host cannot be used: {}",
                    chain(&error)
                ))
            })?
            .connect_lazy();
        Ok(Remote { channel })
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

/// How long to try, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// From the first try until the last begins.
    pub limit: Duration,
    /// Between the first two tries; it doubles from there.
    pub first: Duration,
    /// The longest pause between two.
    pub longest: Duration,
}

impl Wait {
    /// One second at first, half a minute at most: a rack that starts together asks a server that starts too.
    pub fn of(limit: Duration) -> Self {
        Wait {
            limit,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
        }
    }
}

pub(super) struct Deadline {
    wait: Wait,
    end: Instant,
}

impl Deadline {
    pub fn from_now(wait: Wait) -> Self {
        Deadline {
            wait,
            end: Instant::now() + wait.limit,
        }
    }

    /// Calls until it is answered, refused, or too late.
    pub async fn retry<T>(
        &self,
        mut call: impl AsyncFnMut() -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let mut pause = self.wait.first;
        loop {
            let status = match call().await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if !may_pass(status.code()) {
                return Err(Failure::lasting(format!(
                    "refused ({:?}): {}",
                    status.code(),
                    chain(&status)
                )));
            }
            if Instant::now() + pause >= self.end {
                return Err(Failure::passing(format!(
                    "no success within {} s; the last try: {}",
                    self.wait.limit.as_secs(),
                    chain(&status)
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.wait.longest);
        }
    }
}

/// Whether the same call may be answered differently a little later (the gRPC documentation, "Status codes").
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Internal
            | Code::Unknown
    )
}

/// An error with what caused it: of a failed connection, only the causes say why.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
