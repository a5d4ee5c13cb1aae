//! The gRPC services: a call is converted, authorized and handed to `app`, nothing else.

mod dns;
mod node;

pub use dns::Dns;
pub use node::Nodes;
