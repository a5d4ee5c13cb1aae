//! The only crate that touches the host.
//!
//! Everything that an agent does to the machine goes through a trait of this crate, so that what decides is
//! tested without a machine; with the feature `fake` there is a fake of each.
//!
//! | module | what |
//! | --- | --- |
//! | [`conntrack`] | tracked connections |
//! | [`durable`] | files that survive a power cut |
//! | [`forwarding`] | what bridges and tunnels are told of stations elsewhere, by rtnetlink |
//! | [`gateways`] | namespaces of NAT gateways, by units of systemd |
//! | [`links`] | network interfaces and their addresses, by rtnetlink |
//! | [`network1`] | systemd-networkd's D-Bus interface |
//! | [`network_files`] | `.netdev` and `.network` files |
//! | [`nft`] | nftables |
//! | [`process`] | running a program to its end |
//! | [`rules`] | where policy routing looks for the host's own addresses |
//! | [`systemd`] | services, by systemd's D-Bus interface |
//! | [`sysctl`] | kernel settings under `/proc/sys` |
//! | [`vrf_socket`] | sockets that hear and are heard in one VRF alone |

pub mod conntrack;
pub mod durable;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod forwarding;
pub mod gateways;
pub mod links;
pub mod network1;
pub mod network_files;
pub mod nft;
pub mod process;
pub mod rules;
pub mod sysctl;
pub mod systemd;
pub mod vrf_socket;

pub use error::{Error, Result};
