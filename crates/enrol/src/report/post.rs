//! One POST over plain HTTP: firmware and netboot images have no certificate to trust yet, and what they send is a
//! claim.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use photon_api::inventory::Answer;

/// A provisioner that takes longer is asked again.
const LIMIT: Duration = Duration::from_secs(20);

/// What an answer may have, in bytes.
const LARGEST_ANSWER: usize = 64 << 10;

/// What came of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It was taken.
    Taken(Answer),
    /// It was not, and why.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the server said.
        reason: String,
    },
}

/// A URL that cannot be the provisioner's.
#[derive(Debug, thiserror::Error)]
#[error("the provisioner's URL {0:?} is not of the form http://ADDRESS:PORT")]
pub struct BadUrl(String);

pub(super) fn check_url(url: &str) -> Result<(Uri, String, u16), BadUrl> {
    let bad = || BadUrl(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
    if uri.scheme_str() != Some("http") {
        return Err(bad());
    }
    // An IPv6 address stands in brackets in a URL, and without them in a call of the system.
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(80);
    Ok((uri, host, port))
}

/// Sends JSON to `url`.
///
/// # Errors
/// [`BadUrl`]; nobody there; no HTTP; an answer of success that is not an [`Answer`].
pub async fn post(url: &str, body: Vec<u8>) -> Result<Posted> {
    let (uri, host, port) = check_url(url)?;
    tokio::time::timeout(LIMIT, exchange(&uri, &host, port, body))
        .await
        .map_err(|_| anyhow::anyhow!("no answer within {} s", LIMIT.as_secs()))?
}

async fn exchange(uri: &Uri, host: &str, port: u16, body: Vec<u8>) -> Result<Posted> {
    let stream = TcpStream::connect((host, port))
        .await
        .context("cannot connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let content = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer is cut or too long: {error}"))?
        .to_bytes();
    connection.abort();
    if !status.is_success() {
        let reason = String::from_utf8_lossy(&content);
        return Ok(Posted::Refused {
            status: status.as_u16(),
            reason: reason.trim().chars().take(500).collect(),
        });
    }
    match serde_json::from_slice(&content) {
        Ok(answer) => Ok(Posted::Taken(answer)),
        Err(error) => bail!("something answers that is no provisioner ({error})"),
    }
}
