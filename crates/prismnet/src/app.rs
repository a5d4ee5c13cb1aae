//! The rules that take more than one resource to judge. Every change here is one transaction.

mod addresses;
mod default_network;
mod external_addresses;
mod external_network;
mod floating_ip;
mod nat_gateway;
mod node;
mod number;
mod peering;
mod port;
mod route;
mod security_group;
mod subnet;
mod vpc;

pub use addresses::Addresses;
pub use default_network::{DefaultNetworks, SettingsChange};
pub use external_network::{ExternalNetworks, external_network_to_use};
pub use floating_ip::{AssociateFloatingIp, FloatingIps};
pub use nat_gateway::NatGateways;
pub use node::{
    Asked, Desired, DesiredGateway, DesiredGroup, DesiredPeering, DesiredRoute, DesiredSubnet,
    DesiredVpc, Interest, Inventory, Nodes, Question, Reported, Step, Trace, Transit, Verdict, Way,
};
pub use peering::Peerings;
pub use port::{PortFilter, Ports};
pub use route::Routes;
pub use security_group::SecurityGroups;
pub use subnet::Subnets;
pub use vpc::Vpcs;
