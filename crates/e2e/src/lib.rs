//! The scenario that shows that a cloud works, over its API alone: two tenants with the same network, their
//! guests, whom these reach, and that nothing is left of them afterwards.
//!
//! The program `photon-e2e` runs it: against a cloud of NixOS hosts, against the test rack, against any other.
//! The rack's own tests take its steps one by one, from here.
//!
//! ```text
//!  tenant_path · hold · nodes            what is run
//!      run                               within limits, and leaving nothing
//!      scenario · journal · audit · removal        the steps
//!      tenant · network · vm · console · guest · session     what a step is made of
//! ```

pub mod audit;
pub mod console;
pub mod guest;
pub mod hold;
pub mod journal;
pub mod network;
pub mod nodes;
pub mod progress;
pub mod removal;
pub mod run;
pub mod scenario;
pub mod session;
pub mod tenant;
pub mod tenant_path;
pub mod vm;

pub use photon_client::{Channels, Endpoints};
pub use session::{OPERATOR, Session};
pub use tenant::{Account, onboard, random_hex};
