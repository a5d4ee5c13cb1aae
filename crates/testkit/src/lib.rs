//! Real servers on port 0, for tests alone.
//!
//! [`TestCloud`] is IAM, PrismNET and PlasmaVMC in this process, with real stores, an operator and two tenants.
//! [`walk`](mod@walk) calls every RPC that a server's reflection tells of with every wrong token. What goes wrong here
//! panics with what it was: a test has no other use for it.

mod cloud;
mod server;
mod session;
mod tenant;
pub mod walk;

pub use cloud::{NODE, TestCloud};
pub use server::TestServer;
pub use session::Session;
pub use tenant::Tenant;
