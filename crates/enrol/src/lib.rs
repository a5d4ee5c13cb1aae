//! What a machine does for itself to become a host of the cloud and stay one. `photon-enrol` runs in the netboot image
//! and on every host, so it is to be small: it links neither a store nor what answers calls.

pub mod host;
pub mod report;
