//! ChainFire: the append-only, tamper-evident log of who did what.
//!
//! The events of an organization form a chain in each store: the hash of an event covers all its fields and
//! the hash of the one before it. An event is appended in the same transaction as the change that it tells
//! of, so there is no change without its event and no event without its change.
//!
//! - [`Ledger`] appends, lists and verifies.
//! - [`Verifier`] is the proof as a pure function over events.
//!
//! What it can prove: without a head that somebody kept elsewhere, that no event was altered, removed or
//! reordered by someone who did not recompute the rest of the chain and its head; with a kept [`Head`], that
//! nothing up to it was, by anyone.
//!
//! # Keys
//!
//! `chain/{organization}/{sequence, 20 digits}` holds an event, `chain-head/{organization}` the sequence and
//! hash of the last one. The chain of the system itself is called `system`.

mod convert;
mod digest;
mod event;
mod ledger;
mod list;
mod verify;

pub use digest::{Digest, InvalidDigest};
pub use event::{Event, NewEvent, Outcome, SYSTEM_CHAIN};
pub use ledger::{BrokenChain, Head, Ledger};
pub use list::{EventPage, Filter};
pub use verify::{Found, Problem, ProblemKind, Report, Verifier, verify_events};
