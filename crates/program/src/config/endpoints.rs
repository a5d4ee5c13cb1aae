//! Where the other servers are, and how they are reached.

use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Uri};

use super::Invalid;
use crate::channel::Connector;

/// Where the other servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// URL of IAM: `http://` for loopback alone, else `https://`.
    pub iam: String,
    /// URL of PrismNET.
    pub prismnet: String,
    /// URL of PlasmaVMC.
    pub plasmavmc: String,
    /// PEM file of the authorities that their certificates are checked with; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// PEM certificate to show them.
    pub certificate: Option<PathBuf>,
    /// PEM private key of that certificate.
    pub key: Option<PathBuf>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            iam: "http://127.0.0.1:50080".into(),
            prismnet: "http://127.0.0.1:50081".into(),
            plasmavmc: "http://127.0.0.1:50082".into(),
            ca: None,
            certificate: None,
            key: None,
        }
    }
}

impl Endpoints {
    /// Checks the URLs and the files.
    pub fn validate(&self) -> Result<(), Invalid> {
        for (key, url) in [
            ("endpoints.iam", &self.iam),
            ("endpoints.prismnet", &self.prismnet),
            ("endpoints.plasmavmc", &self.plasmavmc),
        ] {
            self.endpoint(key, url)?;
        }
        Ok(())
    }

    /// A channel to `url` (one of this struct's) that connects when it is first used, and again after it broke. Each
    /// connection is made with the TLS files as they are then.
    pub fn channel(&self, url: &str) -> Result<Channel, Invalid> {
        Ok(match self.endpoint("endpoint", url)? {
            (endpoint, None) => endpoint.connect_lazy(),
            (endpoint, Some(connector)) => endpoint.connect_with_connector_lazy(connector),
        })
    }

    fn endpoint(&self, key: &str, url: &str) -> Result<(Endpoint, Option<Connector>), Invalid> {
        let expected = "a URL such as 'https://iam.example:50080', \
                        or with http:// if the host is a loopback address";
        let wrong = || Invalid::new(key, url, expected);
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(host) => false,
            _ => return Err(wrong()),
        };
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !bare || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err(wrong());
        }
        let connector = tls
            .then(|| Connector::new(self, host))
            .transpose()
            .map_err(|invalid| match invalid.key.as_str() {
                "endpoint" => wrong(),
                _ => invalid,
            })?;
        let endpoint = match &connector {
            None => Endpoint::from(uri),
            // Ours speaks TLS; to tonic it is a connection like others, for requests to the https:// origin.
            Some(_) => {
                let port = uri.port_u16().unwrap_or(443);
                let plain = format!("http://{host}:{port}").parse::<Uri>();
                Endpoint::from(plain.map_err(|_| wrong())?).origin(uri)
            }
        };
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        Ok((endpoint, connector))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
