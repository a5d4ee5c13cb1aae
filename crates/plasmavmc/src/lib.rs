//! Images and virtual machines.
//!
//! `plasmavmc-server` keeps the registry of images and the records of VMs, chooses a host for each and tells that
//! host, level-based, what should exist on it. `plasmavmc-agent`, a crate of its own, runs on every host and makes it
//! so. They speak `plasmavmc.v1.NodeService`.

pub mod app;
mod convert;
pub mod image_format;
pub mod model;
mod prismnet;
mod run;
pub mod scheduler;
pub mod server;
mod settings;
pub mod store;

pub use run::run;
pub use settings::{Offer, Settings};

/// The server.
pub const COMPONENT: photon_program::Component =
    photon_program::Component::server_of(&photon_api::components::PLASMAVMC);
