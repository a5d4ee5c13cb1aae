//! Connections to the servers of a cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use photon_api::components::COMPONENTS;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::endpoints::Endpoints;
use crate::error::Error;

/// A server that takes longer to accept a connection is as good as away.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before it is asked whether it lives, and how long it has to answer. A
/// host that lost its power says no goodbye.
const ALIVE: Duration = Duration::from_secs(20);

/// Connections to a cloud's servers. They are made when first used, and again when lost; clones share them.
#[derive(Clone)]
pub struct Channels(Arc<Connections>);

struct Connections {
    endpoints: Endpoints,
    channels: BTreeMap<&'static str, Channel>,
}

impl Channels {
    /// To the servers at these endpoints; one that is not given is looked for on this machine. Nothing is connected
    /// yet. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When a URL or the authority's file cannot be used.
    pub fn at(endpoints: impl Into<Endpoints>) -> Result<Self, Error> {
        Self::named(
            endpoints,
            concat!("photon-client/", env!("CARGO_PKG_VERSION")),
        )
    }

    /// The same, by a program that calls itself so (RFC 9110's `User-Agent`).
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn named(endpoints: impl Into<Endpoints>, agent: &str) -> Result<Self, Error> {
        let endpoints = endpoints.into().or(&Endpoints::local());
        let https = |url: &String| url.starts_with("https://");
        // Not without need: the machine's authorities are looked for at once, of which there may be none.
        let tls = match (&endpoints.ca_file, endpoints.urls.values().any(https)) {
            (_, false) => None,
            (None, true) => Some(ClientTlsConfig::new().with_native_roots()),
            (Some(path), true) => {
                let pem = std::fs::read(path).map_err(|error| {
                    Error::Settings(format!("cannot read {}: {error}", path.display()))
                })?;
                Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
            }
        };
        let mut channels = BTreeMap::new();
        for component in COMPONENTS {
            if let Some(url) = endpoints.url(component.name) {
                let channel = endpoint(url, tls.as_ref(), agent)?.connect_lazy();
                channels.insert(component.name, channel);
            }
        }
        Ok(Self(Arc::new(Connections {
            endpoints,
            channels,
        })))
    }

    /// Where they lead.
    pub fn endpoints(&self) -> &Endpoints {
        &self.0.endpoints
    }

    /// The connection to a component's server.
    ///
    /// # Errors
    /// When there is no component of that name.
    pub fn to(&self, component: &str) -> Result<Channel, Error> {
        let channel = self.0.channels.get(component).cloned();
        channel
            .ok_or_else(|| Error::Settings(format!("'{component}' is no component with a server")))
    }

    /// What a status of a call to this component's server is.
    pub fn error(&self, component: &str, status: Status) -> Error {
        let endpoint = self.0.endpoints.url(component).unwrap_or_default();
        Error::of(component, endpoint, status)
    }
}

fn endpoint(url: &str, tls: Option<&ClientTlsConfig>, agent: &str) -> Result<Endpoint, Error> {
    let wrong = |reason: &dyn std::fmt::Display| {
        Error::Settings(format!(
            "'{url}' is not an http:// or https:// URL: {reason}"
        ))
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(wrong(&"it begins with neither"));
    }
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| wrong(&error))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE)
        .user_agent(agent)
        .map_err(|error| wrong(&error))?;
    match tls {
        Some(tls) if url.starts_with("https://") => endpoint
            .tls_config(tls.clone())
            .map_err(|error| Error::Settings(format!("TLS to {url}: {error}"))),
        _ => Ok(endpoint),
    }
}
