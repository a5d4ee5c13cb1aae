//! ChainFire: the append-only, tamper-evident log of who did what.
//!
//! The events of an organization form a chain in each store: the hash of an event covers all its fields and
//! the hash of the one before it. An event is appended in the same transaction as the change that it tells
//! of, so there is no change without its event and no event without its change.
//!
//! - [`Ledger`] appends, lists and verifies, and cuts off what is old ([`Keep`]).
//! - [`Verifier`] is the proof as a pure function over events.
//!
//! What it can prove: without a head that somebody kept elsewhere, that no event was altered, removed or
//! reordered by someone who did not recompute the rest of the chain and its head; with a kept [`Head`], that
//! nothing up to it was, by anyone.
//!
//! # Keys
//!
//! `chain/{organization}/{sequence, 20 digits}` holds an event, `chain-head/{organization}` the sequence and
//! hash of the last one, `chain-start/{organization}` those of the last one that was cut off; what has a number up to
//! that is no part of the chain any more. The chain of the system itself is called `system`.

mod convert;
mod cut;
mod digest;
mod event;
mod ledger;
mod list;
mod verify;

pub use cut::{CUT, Cut, CutError, Keep, NEVER_YOUNGER};
pub use digest::{Digest, InvalidDigest};
pub use event::{Event, NewEvent, Outcome, SYSTEM_CHAIN};
pub use flaredb::Error as StoreError;
pub use ledger::{BrokenChain, Head, Ledger};
pub use list::{EventPage, Filter};
pub use verify::{Found, Problem, ProblemKind, Report, Verifier, verify_events};
