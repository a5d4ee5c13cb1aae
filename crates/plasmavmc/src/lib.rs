//! Images and virtual machines.
//!
//! Two programs share this crate. `plasmavmc-server` keeps the registry of images and the records of
//! VMs, chooses a host for each and tells that host, level-based, what should exist on it.
//! `plasmavmc-agent` runs on every host and makes it so. They speak `plasmavmc.v1.NodeService`.

pub mod agent;
pub mod app;
mod convert;
pub mod hypervisor;
pub mod image_format;
pub mod model;
pub mod phase;
pub mod plan;
mod prismnet;
mod run;
pub mod scheduler;
pub mod server;
mod settings;
pub mod store;

pub use run::run;
pub use settings::Settings;

/// The server.
pub const COMPONENT: photon_program::Component =
    photon_program::Component::server_of(&photon_api::components::PLASMAVMC);
