//! One client of PhotonCloud's API: for `photon`, for `photon-e2e`, and for whatever follows.
//!
//! ```text
//!  session      signing in, calls, lists as streams, following until a state
//!   ├─ channels   connections to the servers
//!   ├─ call       what each RPC says of itself, from the API's descriptors (build.rs)
//!   ├─ endpoints  where the servers are: as somebody says, as IAM tells, else beside the one that is known
//!   ├─ directory  asking IAM where the others are
//!   ├─ tokens     the token of a session, and how it is renewed
//!   ├─ token_file what somebody signed in with, kept for several programs at once
//!   ├─ private_file  what its owner alone can read
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
mod channels;
mod directory;
mod emptying;
mod endpoints;
mod error;
mod policy;
mod private_file;
mod services;
mod session;
mod token_file;
mod tokens;

#[cfg(feature = "clap")]
pub use arguments::{EndpointArgs, parse_url};
pub use channels::Channels;
pub use emptying::{Step, Stuck};
pub use endpoints::{Endpoints, title};
pub use error::{Error, Refusal, Violation};
pub use photon_api::components::{COMPONENTS, Component, component};
pub use policy::Policy;
pub use private_file::write_private;
pub use session::{Authorized, Credential, Followed, News, Session, SignIn};
pub use token_file::{Kept, LockedTokenFile, TokenFile};
pub use tokens::Bearer;
