//! Machines: from the first netboot to a host of the cloud.
//!
//! `photon-provisioner` keeps the inventory of machines, serves what they netboot, has approved ones installed, and is
//! the cluster's certificate authority. The other side, on the machines, is `photon-enrol`.

pub mod app;
pub mod authority;
pub mod boot;
pub mod bootstrap;
mod convert;
mod iam;
pub mod identify;
pub mod log;
pub mod model;
pub mod plan;
mod run;
pub mod server;
mod settings;
pub mod store;

pub use run::{Outside, run, run_with};
pub use settings::Settings;

/// The server.
pub const COMPONENT: photon_program::Component =
    photon_program::Component::server_of(&photon_api::components::PROVISIONER);
