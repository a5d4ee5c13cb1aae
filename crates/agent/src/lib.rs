//! What every agent of a host does alike; an agent itself is its domain and nothing else.
//!
//! ```text
//!   server ──WatchDesired──► follow ──► cache (disk) ──► D: Desired ──┐
//!                                                                     ▼ signal
//!   what changes on the host ── signal ──► Driver: observe ──► plan ──► apply
//!                                                                     │
//!   server ◄──ReportStatus── report ◄── R ◄───────────────────────────┘      systemd, /metrics ◄── publish
//! ```
//!
//! An agent says what its desired state is ([`Desired`]) and reconciles it; [`Agent`] follows, keeps, reports and
//! drives. It owns nothing that runs: it may be killed at any time. Without the control plane it works from what it
//! heard last; without that it touches nothing.

mod cache;
mod command;
mod desired;
mod json;
mod program;
mod publish;
mod report;
mod session;

pub use cache::Cache;
pub use command::{ApplyArgs, Command, PlanArgs, StatusArgs, carry_out};
pub use desired::{Desired, Known, Opened};
pub use json::{from_json, to_json};
pub use program::{Agent, main};
pub use publish::Ready;
pub use session::Session;
