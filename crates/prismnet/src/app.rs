//! The rules that take more than one resource to judge. Every change here is one transaction.

mod addresses;
mod default_network;
mod node;
mod number;
mod port;
mod security_group;
mod subnet;
mod vpc;

pub use addresses::Addresses;
pub use default_network::{DefaultNetworks, SettingsChange};
pub use node::{
    Desired, DesiredGroup, DesiredSubnet, DesiredVpc, Interest, Inventory, Nodes, Reported,
};
pub use port::{PortFilter, Ports};
pub use security_group::SecurityGroups;
pub use subnet::Subnets;
pub use vpc::Vpcs;
