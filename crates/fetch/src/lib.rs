//! Content from URLs that tenants name.
//!
//! Two sides. The program `photon-fetch` speaks TLS and HTTP with whatever is there: systemd starts one for each
//! connection to `photon-fetch.socket`, in a sandbox that has no file of ours and reaches no network of the cloud's. Who
//! asks it, a server, has a [`Fetcher`]: it alone resolves names, judges addresses and follows redirections, so that what
//! hostile answers are parsed by decides nothing.

mod address;
mod fetcher;
mod frame;
mod program;

pub use address::Reach;
pub use fetcher::{Download, FetchError, Fetcher, check_url};
pub use program::serve;

/// Where systemd listens for who wants something fetched.
pub const SOCKET: &str = "/run/photon-fetch.socket";

/// What is asked of the program: one GET.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Job {
    /// Whether over TLS.
    tls: bool,
    /// The name that TLS and the request's `Host` say.
    host: String,
    /// TCP port.
    port: u16,
    /// Where that is, to be tried in this order. Nothing else is connected to.
    addresses: Vec<std::net::IpAddr>,
    /// Path and query.
    path: String,
    /// The first byte that is wanted.
    from: u64,
    /// With `from`: only of the content that was told of by this (`ETag` or `Last-Modified`, RFC 9110 section 13.1.5).
    validator: Option<String>,
}

/// What the program says first.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    /// The server's answer; its content follows, if the status is 200 or 206.
    Answer(Answer),
    /// There is none, and why.
    Failed(String),
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Answer {
    /// HTTP status.
    status: u16,
    /// Where the content begins, in bytes.
    from: u64,
    /// How many bytes there are in all, if that is said.
    total: Option<u64>,
    /// Where it says to look instead.
    location: Option<String>,
    /// What tells this content from another.
    validator: Option<String>,
}
