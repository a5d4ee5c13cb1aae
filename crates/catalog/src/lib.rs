//! What a resource of any component is, written once: kept under an id, named in a scope, listed by page, reached
//! or looking absent, changed once per `request_id` in one transaction with its event, followed as a stream.
//!
//! A component says what its resources are ([`Stored`]), what may be done with them ([`Change`]) and how they look on
//! the wire; the order of things (authenticate, authorize, replay, convert, change, commit, answer) is here and can't
//! be got wrong there.
//!
//! | module | holds |
//! | --- | --- |
//! | [`stored`] | the record, its name, its place in lists; how keys are made |
//! | [`list`] | pages of a list |
//! | [`users`] | who uses a resource, so that it is not deleted under them |
//! | [`change`] | one change, from its transaction to its answer |
//! | [`access`] | whether a call may reach what it names; what is hidden reads as what is absent |
//! | [`desk`] | the handlers of a service: one line for each call |
//! | [`node`] | a host speaks for itself alone |
//! | [`tenants`] | what there is of a tenant, and an end to making more |
//! | [`feed`] | a table as a stream: for watches and other servers |
//! | [`follower`] | one reader of a table's changes for all feeds of it |
//! | [`wire`] | the parts of messages that all components have |
//!
//! No rule of any domain is here. A component whose case is special goes below: it overrides a method of [`Stored`], or
//! calls the piece that it needs.

pub mod access;
pub mod change;
pub mod desk;
pub mod feed;
pub mod follower;
pub mod list;
pub mod node;
pub mod quota;
pub mod stored;
pub mod tenants;
pub mod users;
pub mod wire;

mod record;

pub use access::{Access, Named};
pub use change::{
    Actor, Apply, Change, Effect, commit, commit_own, commit_secret, commit_unrecorded, work,
};
pub use desk::{Answer, Desk};
pub use feed::{Feed, News};
pub use follower::Follower;
pub use list::{Listing, Query, list};
pub use record::{MetaRecord, Reference};
pub use stored::{Common, Stored, find, get, insert, load, load_many, put, remove, replace};
pub use tenants::Tenants;
pub use users::Users;
pub use wire::Tenant;
