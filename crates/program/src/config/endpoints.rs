//! Where the servers are, and how they are reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use photon_api::components::{self, COMPONENTS};
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use tonic::transport::{Channel, Endpoint, Uri};

use super::Invalid;
use crate::channel::Connector;

/// Where the servers are: a URL for each component; by default all are on this host's loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Their URLs.
    pub urls: Urls,
    /// PEM file of the authorities that their certificates are checked with; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// PEM certificate to show them.
    pub certificate: Option<PathBuf>,
    /// PEM private key of that certificate.
    pub key: Option<PathBuf>,
}

/// A URL for each component, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(BTreeMap<&'static str, String>);

impl Default for Urls {
    /// All on this host's loopback.
    fn default() -> Self {
        let urls =
            COMPONENTS.map(|component| (component.name, component.default_endpoint.to_owned()));
        Self(urls.into())
    }
}

impl Urls {
    /// The same, with `component` at `url`.
    #[must_use]
    pub fn with(mut self, component: &components::Component, url: impl Into<String>) -> Self {
        self.0.insert(component.name, url.into());
        self
    }
}

impl Endpoints {
    /// The URL of `component`: `http://` for loopback alone, else `https://`.
    pub fn url(&self, component: &components::Component) -> &str {
        // Every component of the table has one, from the default on.
        self.urls.0.get(component.name).map_or("", String::as_str)
    }

    /// Checks the URLs and the files.
    pub fn validate(&self) -> Result<(), Invalid> {
        for (name, url) in &self.urls.0 {
            self.endpoint(&format!("endpoints.{name}"), url)?;
        }
        Ok(())
    }

    /// A channel to `component`'s server that connects when it is first used, and again after it broke. Each
    /// connection is made with the TLS files as they are then.
    ///
    /// Errors: its URL or a file can't be used.
    pub fn channel(&self, component: &components::Component) -> Result<Channel, Invalid> {
        let key = format!("endpoints.{}", component.name);
        Ok(match self.endpoint(&key, self.url(component))? {
            (endpoint, None) => endpoint.connect_lazy(),
            (endpoint, Some(connector)) => endpoint.connect_with_connector_lazy(connector),
        })
    }

    fn endpoint(&self, key: &str, url: &str) -> Result<(Endpoint, Option<Connector>), Invalid> {
        let (uri, tls) = parse(key, url)?;
        let wrong = || Invalid::new(key, url, EXPECTED);
        let host = uri.host().ok_or_else(wrong)?;
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

const EXPECTED: &str = "a URL such as 'https://iam.example:50080', \
                        or with http:// if the host is a loopback address";

/// Looks whether a server can be at `url`, the value of `key`: `https://`, or `http://` on loopback alone, a host and
/// perhaps a port, and nothing more.
///
/// Errors: it can't.
pub fn check_url(key: &str, url: &str) -> Result<(), Invalid> {
    parse(key, url).map(drop)
}

/// The URL, and whether it is for TLS.
fn parse(key: &str, url: &str) -> Result<(Uri, bool), Invalid> {
    let wrong = || Invalid::new(key, url, EXPECTED);
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let tls = match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) if is_loopback(host) => false,
        _ => return Err(wrong()),
    };
    let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    if !bare || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(wrong());
    }
    Ok((uri, tls))
}

/// The flags with the servers' URLs, one for each component: `--iam-endpoint`, or `PHOTON_IAM_ENDPOINT`.
#[derive(Clone, Debug, Default)]
pub struct EndpointArgs(BTreeMap<&'static str, String>);

impl clap::Args for EndpointArgs {
    fn augment_args(command: Command) -> Command {
        COMPONENTS.into_iter().fold(command, |command, component| {
            let components::Component {
                title,
                default_endpoint,
                ..
            } = component;
            command.arg(
                Arg::new(component.endpoint_flag)
                    .long(component.endpoint_flag)
                    .env(component.endpoint_variable)
                    .value_name("URL")
                    .help(format!("URL of {title} [default: {default_endpoint}]")),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for EndpointArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for component in COMPONENTS {
            let given = matches.get_one::<String>(component.endpoint_flag).cloned();
            if let Some(url) = given.or_else(|| component.url_in_environment()) {
                self.0.insert(component.name, url);
            }
        }
        Ok(())
    }
}

/// `[endpoints]` of the file.
#[derive(Debug, Default)]
pub(super) struct Section {
    urls: BTreeMap<&'static str, String>,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Section {
    /// The URLs: a flag wins over the file, that over the default.
    pub(super) fn urls(&self, flags: &EndpointArgs) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for urls in [&self.urls, &flags.0] {
            let urls = urls.iter().map(|(name, url)| (*name, url.clone()));
            endpoints.urls.0.extend(urls);
        }
        endpoints
    }
}

/// A key of the section.
enum Entry {
    Url(&'static str),
    Ca,
    Certificate,
    Key,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "ca" => Ok(Entry::Ca),
            "certificate" => Ok(Entry::Certificate),
            "key" => Ok(Entry::Key),
            name => match components::component(name) {
                Some(component) => Ok(Entry::Url(component.name)),
                None => Err(D::Error::unknown_field(name, known_keys())),
            },
        }
    }
}

/// All keys of the section, for who wrote another one.
fn known_keys() -> &'static [&'static str] {
    static KEYS: OnceLock<Vec<&str>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let names = COMPONENTS.map(|component| component.name);
        names
            .into_iter()
            .chain(["ca", "certificate", "key"])
            .collect()
    })
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Section;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of URLs, with ca, certificate and key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Section, A::Error> {
                let mut section = Section::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Entry::Url(name) => {
                            section.urls.insert(name, map.next_value()?);
                        }
                        Entry::Ca => section.ca = Some(map.next_value()?),
                        Entry::Certificate => section.certificate = Some(map.next_value()?),
                        Entry::Key => section.key = Some(map.next_value()?),
                    }
                }
                Ok(section)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
