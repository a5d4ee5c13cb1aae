//! FlareDB: the metadata store.
//!
//! A store holds keys, ordered as text, each with a value and the revisions at which it was created and
//! last modified. The revision is of the whole store and grows by one with each commit that changes
//! something, so it orders everything that ever happened.
//!
//! - [`Db`] is the handle that everything else uses; [`Db::begin`] starts an optimistic [`Transaction`].
//! - [`Record`] is a stored, versioned struct with its migrations.
//! - [`Watch`] tells every change after a revision, none lost, none repeated.
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

mod db;
mod engine;
mod error;
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
    MAX_LEASE_TTL, MAX_VALUE_BYTES, Op, Revision, Scan, Watch,
};
pub use error::Error;
pub use record::{Record, decode, encode, encode_for};
pub use schema::SCHEMA_VERSION;
pub use transaction::Transaction;
