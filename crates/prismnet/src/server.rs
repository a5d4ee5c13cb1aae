//! The gRPC services: a call is converted, authorized and handed to `app`, nothing else.

mod external_network;
mod floating_ip;
mod nat_gateway;
mod network_settings;
mod node;
mod peering;
mod port;
mod route;
mod security_group;
mod subnet;
mod trace;
mod vpc;

pub use external_network::ExternalNetworks;
pub use floating_ip::FloatingIps;
pub use nat_gateway::NatGateways;
pub use network_settings::Settings;
pub use node::Nodes;
pub use peering::Peerings;
pub use port::Ports;
pub use route::Routes;
pub use security_group::SecurityGroups;
pub use subnet::Subnets;
pub use trace::Traces;
pub use vpc::Vpcs;
