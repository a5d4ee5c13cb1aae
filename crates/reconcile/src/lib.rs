//! Level-based reconciliation: observe what is, compute a pure plan toward what should be, apply it.
//!
//! A [`Reconciler`] takes no input and keeps no memory of what it did: it is run again whenever something
//! may have changed (a [`Signal`]) and on a slow timer, and a run that finds everything as it should be
//! does nothing. A failure is not retried inside a pass; the next pass is the retry.
//!
//! ```text
//!   Signal (coalesced) ──┐
//!   timer (jittered) ────┼──► observe ──► plan (pure) ──► apply ──► Status
//!   backoff after error ─┘                   │ empty: "nothing to do"
//! ```
//!
//! Where what should be is somebody else's to say, it is [followed](follow()): in pieces and changes of any size, from
//! another program that may be away.

mod backoff;
mod driver;
pub mod follow;
mod reconciler;
mod signal;
mod status;

pub use backoff::Backoff;
pub use driver::{Driver, Timing};
pub use follow::follow;
pub use reconciler::{Pass, Plan, Reconciler, run_once};
pub use signal::Signal;
pub use status::{Outcome, Status};
