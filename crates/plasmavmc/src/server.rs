//! The gRPC services: a call is converted, authorized and handed to `app`, nothing else.

mod image;
mod node;
mod ssh_key;
mod telling;
mod tunnel;
mod vm;

pub use image::Images;
pub use node::Nodes;
pub use ssh_key::SshKeys;
pub use vm::Vms;
