//! The gRPC services: a call is converted, authorized and handed to `app`, nothing else.

mod node;
mod port;
mod security_group;
mod subnet;
mod vpc;

pub use node::Nodes;
pub use port::Ports;
pub use security_group::SecurityGroups;
pub use subnet::Subnets;
pub use vpc::Vpcs;
