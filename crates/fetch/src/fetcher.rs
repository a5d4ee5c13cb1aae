//! The side of who asks: names, addresses, redirections, and going on where a connection broke.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;
use url::{Host, Url};

use crate::frame;
use crate::{Answer, Head, Job, Reach};

/// The longest URL, in bytes.
const LONGEST_URL: usize = 2048;

/// How often an answer may send elsewhere.
const REDIRECTIONS: usize = 5;

/// A name that is not resolved in this time is not resolved.
const RESOLVING: Duration = Duration::from_secs(10);

/// The program tells of a silent server after 60 s, and before that tries its addresses.
const SILENCE: Duration = Duration::from_secs(150);

/// How often in a row a download is begun anew without a byte more, and how long it waits before the first time; twice as
/// long before each other.
const RETRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What came in the way of a download.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL, or one that it leads to, is none that is fetched.
    #[error("{url}: {expected}")]
    Url {
        /// The URL, or the address that it leads to.
        url: String,
        /// What would be accepted.
        expected: String,
    },
    /// The server has answered, with a status that is no content.
    #[error("{host} answers {status}")]
    Status {
        /// Which server.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// There is another content now than there was when it began.
    #[error("{0} has another content than when the download began")]
    Changed(String),
    /// It can't be had now.
    #[error("{0}")]
    Unreachable(String),
    /// Nothing fetches on this host, or as much as may is being fetched.
    #[error("nothing can be fetched now: {0}")]
    NoFetcher(String),
}

/// Who wants something fetched. Clones are the same.
#[derive(Clone, Debug)]
pub struct Fetcher {
    socket: PathBuf,
    reach: Reach,
}

impl Fetcher {
    /// One that asks the programs at `socket`, for what is within reach.
    pub fn new(socket: impl Into<PathBuf>, reach: Reach) -> Self {
        Self {
            socket: socket.into(),
            reach,
        }
    }

    /// Begins a download. It ends when the answer is dropped.
    ///
    /// # Errors
    /// All of [`FetchError`].
    pub async fn begin(&self, url: &Url) -> Result<Download, FetchError> {
        let (stream, answer, host) = self.open(url, 0, None).await?;
        Ok(Download {
            fetcher: self.clone(),
            url: url.clone(),
            host,
            stream,
            at: 0,
            skip: 0,
            total: answer.total,
            validator: answer.validator,
        })
    }

    /// Follows redirections to content that begins at `from` or before it.
    async fn open(
        &self,
        url: &Url,
        from: u64,
        validator: Option<&str>,
    ) -> Result<(UnixStream, Answer, String), FetchError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTIONS {
            check_parts(&url)?;
            let host = url.host_str().unwrap_or_default().to_owned();
            let job = Job {
                tls: url.scheme() == "https",
                host: host.clone(),
                port: url.port_or_known_default().unwrap_or_default(),
                addresses: self.addresses(&url).await?,
                path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
                from,
                validator: validator.map(str::to_owned),
            };
            let (stream, answer) = self.ask(&job).await?;
            match answer.status {
                200 | 206 => return Ok((stream, answer, host)),
                301 | 302 | 303 | 307 | 308 => {
                    let location = answer.location.unwrap_or_default();
                    url = url.join(&location).map_err(|error| FetchError::Url {
                        url: location,
                        expected: format!("where {host} leads to is no URL ({error})"),
                    })?;
                }
                status => return Err(FetchError::Status { host, status }),
            }
        }
        Err(FetchError::Url {
            url: url.to_string(),
            expected: format!("a URL that leads to content by {REDIRECTIONS} redirections at most"),
        })
    }

    /// Has the program ask; its answer, and the stream on which the content follows.
    async fn ask(&self, job: &Job) -> Result<(UnixStream, Answer), FetchError> {
        let no_fetcher = |error: &dyn std::fmt::Display| {
            FetchError::NoFetcher(format!("{}: {error}", self.socket.display()))
        };
        let mut stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| no_fetcher(&error))?;
        let asked = async {
            let job = serde_json::to_vec(job).map_err(io::Error::other)?;
            frame::send(&mut stream, &job).await?;
            let head = frame::receive(&mut stream).await?;
            serde_json::from_slice(&head).map_err(io::Error::other)
        };
        match timeout(SILENCE, asked).await {
            Ok(Ok(Head::Answer(answer))) => Ok((stream, answer)),
            Ok(Ok(Head::Failed(why))) => Err(FetchError::Unreachable(why)),
            // systemd closes what is beyond MaxConnections=.
            Ok(Err(error)) => Err(no_fetcher(&error)),
            Err(_) => Err(no_fetcher(&"no answer")),
        }
    }

    /// The addresses of a URL's host that are within reach.
    async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>, FetchError> {
        let found: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => resolve(name).await?,
            None => Vec::new(),
        };
        let (within, beyond): (Vec<IpAddr>, Vec<IpAddr>) = found
            .into_iter()
            .partition(|address| self.reach.has(*address));
        match beyond.first() {
            Some(address) if within.is_empty() => Err(FetchError::Url {
                url: url.to_string(),
                expected: format!(
                    "a host on the internet, or in a network that the operator allows; {address} is neither"
                ),
            }),
            _ => Ok(within),
        }
    }
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, FetchError> {
    let unknown = |why: String| FetchError::Unreachable(format!("{name} has no address: {why}"));
    let found = timeout(RESOLVING, tokio::net::lookup_host((name, 0)))
        .await
        .map_err(|_| unknown("no answer".to_owned()))?
        .map_err(|error| unknown(error.to_string()))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The URL that a text is, if it is one that is fetched at all; where it leads is judged when it is fetched.
///
/// # Errors
/// [`FetchError::Url`].
pub fn check_url(text: &str) -> Result<Url, FetchError> {
    let wrong = |expected: &str| FetchError::Url {
        url: text.chars().take(LONGEST_URL).collect(),
        expected: expected.to_owned(),
    };
    if text.len() > LONGEST_URL {
        return Err(wrong(&format!("a URL of {LONGEST_URL} bytes at most")));
    }
    let url = Url::parse(text).map_err(|error| wrong(&format!("https://HOST/PATH ({error})")))?;
    check_parts(&url)?;
    Ok(url)
}

fn check_parts(url: &Url) -> Result<(), FetchError> {
    let wrong = |expected: &str| {
        let mut shown = url.clone();
        // A password is in no message.
        let _ = shown.set_password(None);
        FetchError::Url {
            url: shown.to_string(),
            expected: expected.to_owned(),
        }
    };
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a URL without a user's name and password"));
    }
    match url.port_or_known_default() {
        Some(80 | 443 | 1024..) => Ok(()),
        _ => Err(wrong("port 80, 443, or one from 1024 on")),
    }
}

/// A download under way.
#[derive(Debug)]
pub struct Download {
    fetcher: Fetcher,
    url: Url,
    host: String,
    stream: UnixStream,
    /// How many bytes have been given.
    at: u64,
    /// How many of the next bytes have been given before.
    skip: u64,
    total: Option<u64>,
    validator: Option<String>,
}

impl Download {
    /// How many bytes it has in all, if the server has said.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next piece; `None` at the end. Where the connection breaks, another goes on from there.
    ///
    /// # Errors
    /// All of [`FetchError`].
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        let mut wait = FIRST_WAIT;
        let mut failures = 0;
        loop {
            let broken = match timeout(SILENCE, frame::receive(&mut self.stream)).await {
                Ok(Ok(piece)) if piece.is_empty() => return self.end(),
                Ok(Ok(mut piece)) => {
                    let known = self.skip.min(piece.len() as u64);
                    self.skip -= known;
                    if known < piece.len() as u64 {
                        piece.drain(..known as usize);
                        self.at += piece.len() as u64;
                        return Ok(Some(piece));
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "silence".to_owned(),
            };
            let mut last =
                FetchError::Unreachable(format!("{} has broken off: {broken}", self.host));
            loop {
                failures += 1;
                if failures > RETRIES {
                    return Err(last);
                }
                tracing::info!(host = self.host, at = self.at, error = %last, "a download goes on");
                tokio::time::sleep(wait).await;
                wait *= 2;
                match self.go_on().await {
                    Ok(()) => break,
                    Err(error @ (FetchError::Unreachable(_) | FetchError::NoFetcher(_))) => {
                        last = error
                    }
                    Err(error @ FetchError::Status { status: 500.., .. }) => last = error,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn end(&self) -> Result<Option<Vec<u8>>, FetchError> {
        match self.total {
            Some(total) if total != self.at => Err(FetchError::Changed(self.url.to_string())),
            _ => Ok(None),
        }
    }

    /// From where it is.
    async fn go_on(&mut self) -> Result<(), FetchError> {
        let validator = self.validator.as_deref();
        let (stream, answer, host) = self.fetcher.open(&self.url, self.at, validator).await?;
        let another = match (answer.total, self.total) {
            (Some(now), Some(before)) => now != before,
            _ => false,
        };
        if another || answer.from > self.at {
            return Err(FetchError::Changed(self.url.to_string()));
        }
        self.skip = self.at - answer.from;
        (self.stream, self.host) = (stream, host);
        Ok(())
    }
}
