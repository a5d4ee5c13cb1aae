//! What tests of servers have in common, whatever the servers are.
//!
//! [`Cloud`] is any set of servers in this process, each a [`Part`] with a name and something that runs it; with IAM among
//! them its [`People`] are whoever a test needs, and a [`Caller`] is one of them. [`walk`](mod@walk) calls every RPC that a
//! server's reflection tells of. No component is known here but by its API: `photon-testcloud` has the parts that ours are.
//!
//! What goes wrong here panics with what it was: a test has no other use for it.

mod caller;
mod cloud;
mod expect;
mod people;
mod server;
mod session;
pub mod walk;

pub use caller::{Caller, permission};
pub use cloud::{Cloud, Part, Place};
pub use expect::{DEADLINE, eventually, expect_error, new_id, refused, until};
pub use people::{PASSWORD, People};
pub use server::Server;
pub use session::{Bearing, Session};
