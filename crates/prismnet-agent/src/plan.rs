//! What a host's networks should look like, and the difference from what they do look like. Pure: no file, no
//! socket, no clock; the agent (`agent/`) observes and applies.
//!
//! ```text
//!   desired ──► networkd: files ──┐
//!           ──► filter: two nftables tables ──┼──► Plan = target − Observed
//!           ──► links, settings, rules, what bridges and tunnels are told ──┘
//! ```
//!
//! One VRF per VPC, one bridge per subnet in the VRF, one TAP per port in the bridge, and in it a tunnel to the other
//! hosts. A NAT gateway is a namespace beside them ([`gateway`]), with a leg in a bridge of its VPC and one in that of the
//! external network.

mod connections;
mod desired;
mod dhcp_filter;
mod dial_filter;
mod difference;
mod filter;
mod firewall;
mod gateway;
mod gateway_filter;
mod group_filter;
mod guest_filter;
mod interface;
mod limits;
mod metadata_filter;
mod networkd;
mod peering;
mod peering_filter;
mod precedence;
mod resolver_filter;
mod route;
mod route_filter;
mod rules;
mod step;
mod tunnel;
mod tunnel_filter;

pub use connections::{forbidden, parted};
pub use desired::{
    Desired, Gateway, Group, Peering, PeeringSide, Port, Protocol, Remote, RemotePort, Rule,
    Subnet, Tunnel, Vpc, Way, zones,
};
pub use difference::{Endpoint, FilterMemory, Observed, PeerRange, Plan, Target, port_problem};
pub use filter::{Digests, FilterChange, Table, observed_digests};
pub use gateway::{Egress, MOST_NAT_CONNECTIONS};
pub use limits::{FASTEST, Limits, MOST_CONNECTIONS, MOST_PACKETS};
pub use step::{AT_ONCE, Step};
pub use tunnel::OVERHEAD;

/// The names of networkd's files that the agent owns begin so. `50`: after an operator's own, which may
/// therefore not match our interfaces, and before distributions' catch-alls.
pub const FILE_PREFIX: &str = "50-photon-";

#[cfg(test)]
pub(crate) mod tests;
