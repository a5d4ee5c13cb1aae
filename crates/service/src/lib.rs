//! What every server and agent does alike: settings, TLS, logging, metrics, health, reflection, systemd,
//! authentication and authorization of calls, idempotent and audited changes, graceful stop.
//!
//! A component's program is a few lines: it declares its [`Component`], its own settings, and a `run` function
//! that opens the store, makes its gRPC services and gives them to [`serve`]; [`main`] does the rest.

mod call;
mod channel;
pub mod claims;
mod config;
mod events;
mod guard;
mod iam_client;
mod identity;
mod metrics;
mod mutation;
mod outgoing;
mod program;
mod refusals;
mod server;
mod store;
pub mod systemd;
mod telemetry;
mod tls;

pub use call::carry;
pub use config::{
    AgentArgs, AgentSettings, ClientCertificates, CommonArgs, Component, ComponentSettings,
    ConfigError, Endpoints, Invalid, Limits, ServerArgs, ServerSettings, Settings, StoreCommand,
    TlsFiles,
};
pub use events::Events;
pub use guard::Guard;
pub use iam_client::IamClient;
pub use identity::Identity;
pub use mutation::{Mutation, Mutations};
pub use outgoing::{on_behalf, with_token};
pub use program::{agent_main, main};
pub use server::{Services, serve};
