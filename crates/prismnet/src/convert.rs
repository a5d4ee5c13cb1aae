//! Between the wire and the domain; the wire's types go no further.

mod network_settings;
mod node;
mod port;
mod security_group;
mod subnet;
mod vpc;

pub use network_settings::network_settings;
pub use node::desired;
pub use port::{attachment, new_port, port, port_addressing, port_changes, port_filter, report};
pub use security_group::{
    new_rule, new_security_group, security_group, security_group_changes, security_group_rule,
};
pub use subnet::{new_subnet, subnet, subnet_changes};
pub use vpc::{new_vpc, vpc, vpc_changes};
