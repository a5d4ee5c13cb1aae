//! Between the wire and the domain; the wire's types go no further.

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

pub use external_network::{external_network, external_network_changes, new_external_network};
pub use floating_ip::{floating_ip, floating_ip_changes, new_floating_ip};
pub use nat_gateway::{nat_gateway, nat_gateway_changes, new_nat_gateway};
pub use network_settings::network_settings;
pub use node::{desired, gateway_host};
pub use peering::{new_peering, peering, peering_changes};
pub use port::{attachment, new_port, port, port_addressing, port_changes, port_filter, report};
pub use route::{new_route, route, route_changes};
pub use security_group::{
    new_rule, new_security_group, security_group, security_group_changes, security_group_rule,
};
pub use subnet::{new_subnet, subnet, subnet_changes};
pub use trace::{question, trace};
pub use vpc::{new_vpc, vpc, vpc_changes};
