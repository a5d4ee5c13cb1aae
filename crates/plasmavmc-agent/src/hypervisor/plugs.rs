//! What a running machine has plugged in, and where there is room for more.

use std::collections::BTreeMap;

/// The network interfaces of a running process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plugs {
    /// By the TAP that the process has open.
    pub held: BTreeMap<String, Held>,
    /// Places into which a device can be plugged now, in order.
    pub free: Vec<String>,
    /// It was started with places; one that was not takes and gives up nothing while it runs.
    pub has_places: bool,
}

/// A TAP that a process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The guest has a device on it, which can be taken out.
    Plugged,
    /// The guest has a device on it, which stays until the process ends.
    Fixed,
    /// No device is on it (any more, or yet).
    Bare,
}
