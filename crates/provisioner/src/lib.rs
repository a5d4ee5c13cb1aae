//! Machines: from the first netboot to a host of the cloud.
//!
//! Two programs share this crate. `photon-provisioner` keeps the inventory of machines, serves what they netboot,
//! has approved ones installed, and is the cluster's certificate authority. `photon-enrol` runs in the netboot image
//! and on every host: it reports the inventory, and gets and renews the host's certificate.

pub mod enrol;
pub mod identify;
pub mod inventory;
pub mod mac;
pub mod model;
pub mod report;
mod settings;

pub use settings::Settings;

/// The server.
pub const COMPONENT: photon_service::Component = photon_service::Component {
    name: "provisioner",
    port: 50089,
};
