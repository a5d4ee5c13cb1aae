//! The program's side: one GET, to addresses that it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::frame::{self, LARGEST};
use crate::{Answer, Head, Job};

/// An address that takes longer to connect to is given up.
const CONNECT: Duration = Duration::from_secs(10);

/// So long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Serves one who asks, over `stream`: takes what is wanted, answers with what came of it.
///
/// # Errors
/// The stream is cut, or what is asked for is no job. What goes wrong elsewhere is told over the stream.
pub async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let job = frame::receive(&mut stream).await.context("no job")?;
    let job: Job = serde_json::from_slice(&job).context("no job")?;
    let response = match request(&job).await {
        Ok(response) => response,
        Err(error) => {
            let head = Head::Failed(format!("{error:#}"));
            return tell(&mut stream, &head).await;
        }
    };
    let answer = answer(&job, &response);
    let has_content = [200, 206].contains(&answer.status);
    tell(&mut stream, &Head::Answer(answer)).await?;
    if !has_content {
        return Ok(());
    }
    let mut content = response.into_body();
    // Without the empty piece at the end, who asked knows that there should be more.
    while let Some(piece) = timeout(SILENCE, content.frame()).await? {
        let Ok(data) = piece?.into_data() else {
            continue;
        };
        for piece in data.chunks(LARGEST) {
            frame::send(&mut stream, piece).await?;
        }
    }
    frame::send(&mut stream, &[]).await?;
    Ok(())
}

async fn tell(stream: &mut (impl AsyncWrite + Unpin), head: &Head) -> Result<()> {
    frame::send(stream, &serde_json::to_vec(head)?).await?;
    Ok(())
}

async fn request(job: &Job) -> Result<Response<Incoming>> {
    let stream = connect(job).await?;
    timeout(SILENCE, async {
        if !job.tls {
            return get(job, stream).await;
        }
        let name = ServerName::try_from(job.host.trim_matches(['[', ']']).to_owned())
            .with_context(|| format!("{} is no name of a server", job.host))?;
        let connector = TlsConnector::from(Arc::new(trust()?));
        let stream = connector.connect(name, stream).await.context("TLS")?;
        get(job, stream).await
    })
    .await
    .map_err(|_| anyhow!("{} does not answer", job.host))?
}

/// What the system trusts.
fn trust() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("the host has no certificates of authorities to trust");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn connect(job: &Job) -> Result<TcpStream> {
    let mut last = anyhow!("{} has no address", job.host);
    for address in &job.addresses {
        let address = SocketAddr::new(*address, job.port);
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = anyhow!(error).context(format!("cannot connect to {address}")),
            Err(_) => last = anyhow!("{address} does not answer"),
        }
    }
    Err(last)
}

async fn get(
    job: &Job,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Response<Incoming>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the process, if not before.
    tokio::spawn(connection);
    let usual = if job.tls { 443 } else { 80 };
    let host = match job.port {
        port if port == usual => job.host.clone(),
        port => format!("{}:{port}", job.host),
    };
    let mut request = Request::get(&job.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "photon-fetch")
        // As it is, not packed on the way.
        .header(header::ACCEPT_ENCODING, "identity");
    if job.from > 0 {
        request = request.header(header::RANGE, format!("bytes={}-", job.from));
        if let Some(validator) = &job.validator {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    Ok(sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?)
}

fn answer(job: &Job, response: &Response<Incoming>) -> Answer {
    let headers = response.headers();
    let text = |name: header::HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let (from, total) = match response.status() {
        StatusCode::PARTIAL_CONTENT => range(headers).unwrap_or((job.from, None)),
        _ => (
            0,
            text(header::CONTENT_LENGTH).and_then(|it| it.parse().ok()),
        ),
    };
    // A weak one is good for nothing here (RFC 9110, section 13.1.5).
    let strong = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
    Answer {
        status: response.status().as_u16(),
        from,
        total,
        location: text(header::LOCATION),
        validator: strong.or_else(|| text(header::LAST_MODIFIED)),
    }
}

/// `Content-Range: bytes FROM-TO/TOTAL` (RFC 9110, section 14.4).
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = span.split_once('-')?;
    Some((from.parse().ok()?, total.parse().ok()))
}
