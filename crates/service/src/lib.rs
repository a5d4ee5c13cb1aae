//! What every server does alike, beside what every program does (`photon-program`): the gRPC listener with health,
//! reflection and limits, authentication and authorization of calls, idempotent and audited changes, the store's
//! maintenance.
//!
//! A component's program is a few lines: it declares its `Component`, its own settings, and a `run` function
//! that opens the store, makes its gRPC services and gives them to [`serve`]; [`main`] does the rest.

mod admission;
mod answer;
mod boot;
mod call;
mod certificate;
pub mod claims;
mod events;
mod guard;
pub mod holds;
mod iam_client;
mod limit;
mod mutation;
mod retention;
mod server;
mod store;
mod supervise;
mod tls;
pub mod turns;

/// A fifth of what a server under load did was glibc's allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use answer::{DOMAIN, answer, code, status};
pub use boot::main;
pub use call::only_waits;
pub use certificate::{NodeCertificate, NotANode};
pub use guard::Guard;
pub use iam_client::IamClient;
pub use limit::{Limiter, summed_up};
pub use mutation::{Mutation, Mutations};
pub use server::{Services, serve};
pub use supervise::Supervision;
