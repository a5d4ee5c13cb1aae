//! Connections to other servers: the TLS files are read anew for each, so that a renewed certificate or authority
//! needs no restart.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Uri;
use tower::Service;

use crate::config::{Endpoints, Invalid};
use crate::tls;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects over TCP and then TLS.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    endpoints: Arc<Endpoints>,
    server: ServerName<'static>,
}

impl Connector {
    /// To the server whose certificate must be for `host`. Reads the files once, to tell what is wrong with them.
    pub fn new(endpoints: &Endpoints, host: &str) -> Result<Self, Invalid> {
        tls::client_config(endpoints)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let server = ServerName::try_from(bare.to_owned())
            .map_err(|_| Invalid::new("endpoint", host, "a host name or an address"))?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        Ok(Self {
            tcp,
            endpoints: Arc::new(endpoints.clone()),
            server,
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let (endpoints, server) = (self.endpoints.clone(), self.server.clone());
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            // Files, and perhaps the system's many authorities: not on a worker of the runtime.
            let config =
                tokio::task::spawn_blocking(move || tls::client_config(&endpoints)).await??;
            let stream = TlsConnector::from(Arc::new(config))
                .connect(server, stream)
                .await?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err("the server speaks no HTTP/2".into());
            }
            Ok(TokioIo::new(stream))
        })
    }
}
