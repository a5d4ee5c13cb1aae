//! Tells the guests of a host who they are: at 169.254.169.254, as guests ask Amazon's clouds, and OpenStack's.
//!
//! ```text
//!   plasmavmc-agent ── one file per VM (Instance) ──┐
//!                                                   ▼ looked at each second
//!   interfaces (rtnetlink) ── signal ──► reconcile: observe → plan → apply ──► Callers and a socket for each VRF
//!                                                                                │
//!   guest ── request ──► socket of a VRF ──► answer (of the VM with that address in it) ──► guest
//! ```
//! Who asks is known by the VRF that the socket is bound to, which no guest can choose, and by the address that it asks from,
//! which the filter at its TAP holds it to. Nobody else is asked: it answers without servers and without agents.

mod answer;
mod files;
mod instance;
mod plan;
mod program;
mod reconcile;
mod serve;
mod share;
mod token;

pub use instance::{Instance, Interface, Tokens};
pub use program::{Args, DIRECTORY, GROUP, main};

/// Where guests ask. The same in every VPC, and on every host: it never leaves one.
pub const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 169, 254);
