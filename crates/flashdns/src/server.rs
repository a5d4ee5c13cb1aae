//! The gRPC services: a call is converted, authorized and handed to `app`, nothing else.

mod node;

pub use node::Nodes;
