//! The one clock of records and answers.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in whole microseconds since 1970 (UTC), as records keep it: what a change answers is therefore what a
/// later read gives.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Now. Of a clock before 1970, which is a broken one, it is [`EPOCH`](Self::EPOCH).
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Now in whole milliseconds, for records that keep no more.
    pub fn now_in_millis() -> Self {
        Self::from_millis(Self::now().millis())
    }

    /// So many microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// So many milliseconds since 1970; what is beyond the year 584,000 is its end.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }
}

impl From<SystemTime> for Time {
    /// Cuts what is below a microsecond.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        // What no clock can show comes from a damaged record: it is the beginning of time then, when nothing lasts.
        UNIX_EPOCH
            .checked_add(Duration::from_micros(time.0))
            .unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({} µs)", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_what_was_answered() {
        let precise = UNIX_EPOCH + Duration::new(7, 123_456_789);
        let time = Time::from(precise);
        assert_eq!(time.micros(), 7_123_456);
        assert_eq!(Time::from(SystemTime::from(time)), time);
        assert_eq!(serde_json::to_string(&time).unwrap(), "7123456");
        assert_eq!(Time::from_millis(time.millis()).micros(), 7_123_000);
    }

    #[test]
    fn no_clock_and_no_record_panics() {
        assert_eq!(Time::from(UNIX_EPOCH - Duration::from_secs(1)), Time::EPOCH);
        let _ = SystemTime::from(Time::from_micros(u64::MAX));
    }
}
