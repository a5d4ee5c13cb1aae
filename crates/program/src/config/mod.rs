//! The settings of servers and agents: a flag wins over an environment variable, that over the file, that over
//! the default. What is not understood is refused, with the place, the key and the value.

mod args;
mod endpoints;
mod events;
mod file;
mod limits;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use photon_api::components;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use args::{AgentArgs, CommonArgs, ServerArgs, StoreCommand};
pub use endpoints::{EndpointArgs, Endpoints, Urls, check_url};

/// Which server or agent a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name: the section of its settings in the file, its directory under `/var/lib/photoncloud`, and what
    /// the log and the health service call it. `iam`, `prismnet-agent`.
    pub name: &'static str,
    /// The default gRPC port of a server. `/metrics` is by default at this + 1000; an agent has only that.
    pub port: u16,
}

impl Component {
    /// The server of `component`.
    pub const fn server_of(component: &components::Component) -> Self {
        Self {
            name: component.name,
            port: component.port,
        }
    }

    /// The agent of `component`, which must have one: this is for constants.
    pub const fn agent_of(component: &components::Component) -> Self {
        let mut at = 0;
        while at < component.programs.len() {
            let program = &component.programs[at];
            if matches!(program.kind, components::ProgramKind::Agent) {
                return Self {
                    name: program.name,
                    port: program.metrics_port - 1000,
                };
            }
            at += 1;
        }
        panic!("the component has no agent")
    }
}

/// A value that can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key, as in the file: `tls.certificate`.
    pub key: String,
    /// The value.
    pub value: String,
    /// What would be accepted.
    pub expected: String,
}

impl Invalid {
    /// A value that can't be accepted.
    pub fn new(
        key: impl Into<String>,
        value: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {:?} can't be used: expected {}",
            self.key, self.value, self.expected
        )
    }
}

impl std::error::Error for Invalid {}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a key or a value that is not known.
    #[error("configuration file {path}, in [{section}]: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// `top level` or the section of the component.
        section: String,
        /// Line, key, value and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A value is of the right type but can't be used.
    #[error("{origin}: {invalid}")]
    Invalid {
        /// The file, or that flags, environment and defaults were merged.
        origin: String,
        /// What and why.
        invalid: Invalid,
    },
}

/// The settings that only one component has: the section of its name in the file. Derive `Deserialize` with
/// `#[serde(deny_unknown_fields, default)]`.
pub trait ComponentSettings: DeserializeOwned + Default + Clone + Send + 'static {
    /// Lets environment variables win over the file. `env` gives a variable's value.
    fn apply_env(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Invalid> {
        let _ = env;
        Ok(())
    }

    /// Refuses values of the right type that can't be used.
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// For a component without settings of its own.
impl ComponentSettings for () {}

/// A server's settings.
#[derive(Clone, Debug)]
pub struct Settings<S> {
    /// What every server has.
    pub server: ServerSettings,
    /// What only this one has.
    pub component: S,
}

/// The settings that every server has.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address to listen on. Other than loopback only with [`ServerSettings::tls`].
    pub listen: IpAddr,
    /// The gRPC port; 0: any free one.
    pub port: u16,
    /// Where `/metrics` is: a loopback address; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the server keeps its state.
    pub state_dir: PathBuf,
    /// How it speaks TLS; `None`: it does not.
    pub tls: Option<TlsFiles>,
    /// Where the other servers are.
    pub endpoints: Endpoints,
    /// The file with the secret of its own identity's API key.
    pub credential_file: Option<PathBuf>,
    /// Bounds on what callers can ask for at once.
    pub limits: Limits,
    /// Which events are kept.
    pub events: KeptEvents,
}

/// An agent's settings.
#[derive(Clone, Debug)]
pub struct AgentSettings<S> {
    /// The name of its host.
    pub node: String,
    /// Where `/metrics` is: a loopback address; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where it keeps what it must remember.
    pub state_dir: PathBuf,
    /// Where the servers are.
    pub endpoints: Endpoints,
    /// The file with the secret of its own identity's API key.
    pub credential_file: Option<PathBuf>,
    /// What only this agent has.
    pub component: S,
}

/// The PEM files of a TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and what it needs up to a root.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities of client certificates; a certificate from another one is refused.
    pub client_ca: Option<PathBuf>,
    /// Whether every client must show one.
    pub client_certificates: ClientCertificates,
}

/// Whether clients must show a certificate from [`TlsFiles::client_ca`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// A client without one is refused in the handshake.
    #[default]
    Required,
    /// A client may come without one, and prove who it is by a token alone.
    Optional,
}

impl fmt::Display for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientCertificates::Required => "required",
            ClientCertificates::Optional => "optional",
        })
    }
}

/// Bounds on what callers can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be open in all.
    pub connections: usize,
    /// How many of them may come from one address (IPv6: one /64).
    pub connections_per_source: usize,
    /// How long a connection may be open before its first call comes.
    pub silent: Duration,
    /// How long it may be open without a call under way.
    pub idle: Duration,
    /// How many calls one connection may have under way.
    pub calls_per_connection: u32,
    /// How many calls may be under way in all, streams not counted.
    pub calls: usize,
    /// How many streams may be open in all.
    pub streams: usize,
    /// How long a call may take to answer. Calls to which the client streams have no such end.
    pub call_timeout: Duration,
    /// How long the first message of a stream may take to come.
    pub first_message: Duration,
    /// How many KiB of the store one principal of a tenant may have written at once: records, their copies in the log of
    /// changes, kept answers, events.
    pub written_kib: u32,
    /// And how many a second from then on.
    pub written_kib_per_second: u32,
    /// What one address may ask for without a token that is accepted.
    pub stranger: Share,
    /// What one principal may ask for.
    pub principal: Share,
    /// What all principals of one organization together may ask for.
    pub organization: Share,
}

/// What one of those who call may ask for. One who asks faster waits for a moment, and is refused if that would take
/// long; what is answered is paid for as well, by its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many calls it may have under way, streams not counted.
    pub calls: usize,
    /// How many streams it may have open.
    pub streams: usize,
    /// How many calls a second it may make.
    pub per_second: u32,
    /// How many it may make at once before that counts.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_source: 512,
            silent: Duration::from_secs(15),
            idle: Duration::from_secs(600),
            calls_per_connection: 256,
            calls: 1024,
            streams: 4096,
            call_timeout: Duration::from_secs(30),
            first_message: Duration::from_secs(10),
            written_kib: 1536,
            written_kib_per_second: 32,
            stranger: Share {
                calls: 16,
                streams: 4,
                per_second: 20,
                burst: 100,
            },
            principal: Share {
                calls: 64,
                streams: 64,
                per_second: 100,
                burst: 200,
            },
            organization: Share {
                calls: 256,
                streams: 512,
                per_second: 400,
                burst: 800,
            },
        }
    }
}

/// Which events a server keeps in its store. Those that are younger than [`KeptEvents::LEAST_DAYS`] it keeps in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptEvents {
    /// Those of so many days; `None`: of all.
    pub days: Option<u32>,
    /// So many of each organization, and of the cloud's own; `None`: any number.
    pub most: Option<u64>,
}

impl KeptEvents {
    /// The fewest days that events are kept.
    pub const LEAST_DAYS: u32 = 30;
    /// The smallest number that may be kept.
    pub const LEAST: u64 = 10_000;
}

impl Default for KeptEvents {
    /// A year and a month, so that a yearly audit finds all of its year; and some 3 GB of each organization.
    fn default() -> Self {
        Self {
            days: Some(400),
            most: Some(2_000_000),
        }
    }
}

impl<S: ComponentSettings> Settings<S> {
    /// The defaults.
    pub fn new(component: Component) -> Self {
        Self {
            server: ServerSettings {
                listen: LOOPBACK,
                port: component.port,
                metrics_listen: default_metrics(component.port),
                state_dir: default_state_dir(component),
                tls: None,
                endpoints: Endpoints::default(),
                credential_file: None,
                limits: Limits::default(),
                events: KeptEvents::default(),
            },
            component: S::default(),
        }
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// 1000 above the gRPC port; nowhere if that is no port.
fn default_metrics(port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::new(LOOPBACK, port.checked_add(1000)?))
}

fn default_state_dir(component: Component) -> PathBuf {
    PathBuf::from("/var/lib/photoncloud").join(component.name)
}
