//! The developer's and newcomer's commands, and the rack that they and the tests stand on.
//!
//! ```text
//!  demo · up · test ──► photoncloud (install, start)
//!                          │
//!                          ▼
//!                       rack: hosts in a network namespace ◄── images: built once, kept in the cache
//! ```

pub mod abuse;
pub mod bench;
pub mod cache;
pub mod check;
pub mod demo;
pub mod documents;
pub mod grpcurl;
pub mod host_agent;
pub mod images;
pub mod native;
pub mod photoncloud;
pub mod prepare;
pub mod prerequisites;
pub mod progress;
pub mod rack;
pub mod up;
