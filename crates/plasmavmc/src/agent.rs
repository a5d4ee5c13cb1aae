//! What makes a host run the VMs that it should.
//!
//! ```text
//!   server ──WatchDesired──► link ──► cache (disk) ──► desired ─┐
//!                                                               ▼
//!   systemd1, rtnetlink, QMP, timer ──────── signal ──► reconciler: observe ──► plan ──► apply
//!                                                               │                          │
//!   server ◄──ReportStatus── link ◄────────── reports ──────────┘      units, disks, seeds, users
//!   server ◄─ServeConsoles── link ◄──► guests: one QMP and one console connection per running VM
//! ```
//! The agent owns no process: VMs are systemd's. It may be killed anywhere and finds out all it needs by
//! looking; the control plane may be away, and the host runs what was last heard.

pub mod cache;
pub mod console;
pub mod convert;
pub mod desired;
pub mod guests;
pub mod images;
pub mod layout;
pub mod link;
pub mod power_down;
pub mod prepare;
pub mod reconciler;
pub mod seed;
pub mod signals;
pub mod unit;
pub mod user;

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
