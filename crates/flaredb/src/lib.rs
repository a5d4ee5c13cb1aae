//! FlareDB: the metadata store.
//!
//! A store holds keys, ordered as text, each with a value and the revisions at which it was created and
//! last modified. The revision is of the whole store and grows with each commit that changes something, so it orders
//! everything that happened in this store; in another, or after a restore, it means nothing.
//!
//! - [`Db`] is the handle that everything else uses; [`Db::begin`] starts an optimistic [`Transaction`].
//! - [`Record`] is a stored, versioned struct with its migrations.
//! - [`Watch`] tells every change after a revision, none lost, none repeated, and how far it has come. [`Followed`] is
//!   for those who wait until it has come somewhere.
//! - [`Engine`] is what a store must be able to do: `memory` and `sqlite` do it in this process (they
//!   share one writer thread); a networked engine such as etcd implements the same trait.
//!
//! An acknowledged commit is durable (`sqlite`): it has been written and synced before the answer.
//!
//! # Keys
//!
//! Segments are joined by `/` and contain none: `vpc/{id}` is the record, `vpc-name/{org}/{project}/{name}`
//! an index to its id, `vpc-in/{org}/{project}/{id}` a listing index. Let a prefix end in `/`, or it also
//! matches longer first segments.

#[cfg(feature = "crowded")]
pub mod crowded;
mod db;
mod engine;
mod error;
mod followed;
mod local;
pub mod maintenance;
mod memory;
mod record;
mod schema;
mod sqlite;
mod transaction;

pub use db::{Db, Options, Page};
pub use engine::{
    Change, Committed, Compare, Derive, Derived, Engine, KeyValue, LeaseId, MAX_KEY_BYTES,
    MAX_LEASE_TTL, MAX_OPS, MAX_VALUE_BYTES, MIN_LEASE_TTL, Op, Revision, Scan, Watch, WatchItem,
};
pub use error::Error;
pub use followed::Followed;
pub use record::{Record, decode, encode, encode_for};
pub use schema::SCHEMA_VERSION;
pub use transaction::{Gathered, Transaction};
