//! Machines: from the first netboot to a host of the cloud.
//!
//! Two programs share this crate. `photon-provisioner` keeps the inventory of machines, serves what they netboot,
//! has approved ones installed, and is the cluster's certificate authority. `photon-enrol` runs in the netboot image
//! and on every host: it reports the inventory, and gets and renews the host's certificate.

pub mod app;
pub mod authority;
pub mod boot;
pub mod bootstrap;
mod convert;
pub mod enrol;
pub mod identify;
pub mod inventory;
pub mod limit;
pub mod log;
pub mod mac;
pub mod model;
pub mod plan;
pub mod report;
mod run;
pub mod server;
mod settings;
pub mod store;

pub use run::{Outside, run, run_with};
pub use settings::Settings;

/// The server.
pub const COMPONENT: photon_service::Component = photon_service::Component {
    name: "provisioner",
    port: 50089,
};
