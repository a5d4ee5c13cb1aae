//! How much one disk of a guest may ask of the host's.

use serde_json::{Map, Value};

/// How many times its rate a disk that has rested may be.
const BURST: u64 = 4;

/// The longest burst that can be set, in seconds.
pub const LONGEST_BURST: u64 = 60;

/// The largest that QEMU takes for a burst's rate times its seconds (`THROTTLE_VALUE_MAX` of its `qemu/throttle.h`).
const MOST: u64 = 1_000_000_000_000_000;

/// The largest rate that can be set: QEMU must take the longest burst with it.
pub const FASTEST: u64 = MOST / BURST / LONGEST_BURST;

/// What one disk may read and write together. 0: as much as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Bytes per second, at most [`FASTEST`].
    pub bytes_per_second: u64,
    /// Requests per second, at most [`FASTEST`].
    pub operations_per_second: u64,
    /// For how many seconds a disk that has rested may be four times as fast; 0: never. At most [`LONGEST_BURST`].
    pub burst_seconds: u64,
}

impl DiskLimits {
    /// None.
    pub const NONE: Self = Self {
        bytes_per_second: 0,
        operations_per_second: 0,
        burst_seconds: 0,
    };

    /// QEMU's `ThrottleLimits` (its QAPI schema, `block-core.json`); `None`: there are none.
    pub(super) fn throttle(self) -> Option<Value> {
        let mut limits = Map::new();
        for (what, rate) in [
            ("bps", self.bytes_per_second),
            ("iops", self.operations_per_second),
        ] {
            if rate == 0 {
                continue;
            }
            limits.insert(format!("{what}-total"), rate.into());
            if self.burst_seconds > 0 {
                let burst = rate.saturating_mul(BURST);
                limits.insert(format!("{what}-total-max"), burst.into());
                let length = self.burst_seconds;
                limits.insert(format!("{what}-total-max-length"), length.into());
            }
        }
        (!limits.is_empty()).then_some(Value::Object(limits))
    }
}
