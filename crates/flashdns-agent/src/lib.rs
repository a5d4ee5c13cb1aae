//! The agent of a host that answers its guests' questions for names, at the gateways of their subnets.
//!
//! ```text
//!   photon-agent: what should be (Parsed) ──┐
//!                                           ▼ signal
//!   interfaces (rtnetlink) ── signal ──► reconcile: observe → plan → apply ──► a View and sockets for each VPC
//!                                                                                │
//!   guest ── question ──► socket of a VRF ──► answer (of that VPC's View) ──► guest
//!                                                  └── foreign ──► upstream (Unbound on loopback) ──► guest
//! ```
//! Which VPC asks is a property of the socket, which no guest can choose: a view is reached by its VRF alone. Without the
//! control plane it answers from its cache; without a cache it answers nobody.

mod answer;
mod pace;
mod parsed;
mod plan;
mod program;
mod reconcile;
mod serve;
mod settings;
mod shares;
mod upstream;

pub use program::{COMPONENT, run};
