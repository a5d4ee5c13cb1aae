//! The agent of a host: brings the host's networks to what the control plane says they should be.
//!
//! ```text
//!   photon-agent: what should be (Parsed) ──┐
//!                                           ▼ signal
//!   interface changes (rtnetlink) ── signal ──► reconcile: observe → plan → apply ──► Report ──► photon-agent
//! ```
//!
//! The agent owns nothing that runs: it may be killed at any time, and what it made stays. Without the control
//! plane it works from its cache; without a cache it touches nothing.

mod convert;
mod desired;
pub mod plan;
mod program;
mod reconcile;
mod report;
mod settings;

pub use program::{COMPONENT, gateway, run, run_command};

#[cfg(test)]
mod tests;
