//! What makes a host run the VMs that it should.
//!
//! ```text
//!   photon-agent: what should be (Desired) ──┐
//!                                            ▼
//!   systemd1, rtnetlink, QMP, timer ── signal ──► reconciler: observe ──► plan ──► apply
//!                                                    │                          │
//!   photon-agent ◄────────────────────── Reports ────┘      units, disks, seeds, users
//!   server ◄─ServeConsoles── consoles ◄──► guests: one QMP and one console connection per running VM
//! ```
//! The agent owns no process: VMs are systemd's. It may be killed anywhere and finds out all it needs by
//! looking; the control plane may be away, and the host runs what was last heard.

mod consoles;
mod convert;
mod desired;
mod guests;
pub mod hypervisor;
mod images;
mod layout;
mod link;
mod metadata;
pub mod plan;
mod prepare;
mod program;
mod reconciler;
mod signals;
mod tunnels;
mod unit;
mod user;

pub use program::{COMPONENT, Section, run, run_command};
