//! What a program needs, server or agent: settings, TLS, logs, metrics, systemd, its own identity, connections to the
//! servers. It holds neither a store nor the side of a call that answers; `photon-service` adds these for servers.
//!
//! An agent's program is a few lines: it declares its [`Component`] and its own settings, and gives [`agent_main`] a
//! function that runs.

pub mod boot;
mod channel;
mod config;
mod identity;
mod listen;
pub mod metrics;
mod outgoing;
pub mod request_id;
pub mod room;
pub mod systemd;
mod telemetry;
pub mod tls;

pub use boot::agent_main;
pub use config::{
    AgentArgs, AgentSettings, ClientCertificates, CommonArgs, Component, ComponentSettings,
    ConfigError, EndpointArgs, Endpoints, Invalid, KeptEvents, Limits, ServerArgs, ServerSettings,
    Settings, Share, StoreCommand, TlsFiles, Urls, check_url,
};
pub use identity::Identity;
pub use listen::listen;
pub use outgoing::{on_behalf, with_token};
/// Which components there are: a table, and no message of the API.
pub use photon_api::components;
