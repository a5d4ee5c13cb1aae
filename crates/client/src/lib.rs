//! One client of PhotonCloud's API: for `photon`, for `photon-e2e`, and for whatever follows.
//!
//! ```text
//!  session      connections, signing in, calls, lists as streams, following until a state
//!   ├─ call       what each RPC says of itself, from the API's descriptors (build.rs)
//!   ├─ endpoints  where the servers are: as somebody says, as IAM tells, else beside the one that is known
//!   ├─ directory  asking IAM where the others are
//!   ├─ policy     how long a call may take and how often it is tried
//!   ├─ emptying   everything in a project, removed in an order that works
//!   ├─ arguments  a flag and a variable for each endpoint (feature `clap`)
//!   └─ error      a refusal taken apart: code, text, fields, quotas, when to try again
//! ```
//!
//! It knows a cloud by its API alone: nothing here depends on how a server is made, so that a program elsewhere can
//! use it.

#[cfg(feature = "clap")]
mod arguments;
pub mod call;
mod directory;
mod emptying;
mod endpoints;
mod error;
mod policy;
mod services;
mod session;

#[cfg(feature = "clap")]
pub use arguments::{EndpointArgs, parse_url};
pub use emptying::{Step, Stuck};
pub use endpoints::{Endpoints, title};
pub use error::{Error, Refusal, Violation};
pub use photon_api::components::{COMPONENTS, Component, component};
pub use policy::Policy;
pub use session::{Authorized, Bearer, Channels, Credential, Followed, News, Session, SignIn};
