//! The agent of a host: brings the host's networks to what the control plane says they should be.
//!
//! ```text
//!   NodeService/WatchDesired ──► watch ──► cache (state directory) ──► Desired
//!                                                                        │ signal
//!   interface changes (rtnetlink) ── signal ──► reconcile: observe → plan → apply ──► report ──► ReportStatus
//! ```
//!
//! The agent owns nothing that runs: it may be killed at any time, and what it made stays. Without the control
//! plane it works from its cache; without a cache it touches nothing.

mod cache;
mod convert;
mod program;
mod reconcile;
mod report;
mod watch;

pub use program::{COMPONENT, Command, run, run_command};

#[cfg(test)]
mod tests;
