//! How long a call may take, and how often it is tried.

use std::time::Duration;

/// What is done about an answer that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long one try may take. Streams have no limit.
    pub deadline: Duration,
    /// How often a call that may be repeated is tried in all, when the server is away for the moment.
    pub tries: u32,
    /// Time before the second try; it doubles with each further one.
    pub pause: Duration,
}

impl Policy {
    /// Each call is made once, for whoever counts what fails.
    pub const ONCE: Self = Self {
        tries: 1,
        ..Self::PATIENT
    };

    /// For whoever wants the answer: bridges a connection that broke, not a server that is being upgraded.
    pub const PATIENT: Self = Self {
        // Verifying a long chain of events reads all of it.
        deadline: Duration::from_secs(300),
        tries: 3,
        pause: Duration::from_millis(150),
    };

    /// Time before the try of this number, counted from 1; the server's wish wins while it is no longer than a
    /// person would wait.
    pub(crate) fn pause_before(&self, number: u32, wish: Option<Duration>) -> Duration {
        const LONGEST: Duration = Duration::from_secs(5);
        let mine = self
            .pause
            .saturating_mul(1 << (number.saturating_sub(2)).min(8));
        wish.unwrap_or(mine).max(mine).min(LONGEST)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::PATIENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_wish_counts_within_reason() {
        let policy = Policy::PATIENT;
        assert_eq!(policy.pause_before(2, None), Duration::from_millis(150));
        assert_eq!(policy.pause_before(3, None), Duration::from_millis(300));
        let wish = Some(Duration::from_secs(2));
        assert_eq!(policy.pause_before(2, wish), Duration::from_secs(2));
        let long = Some(Duration::from_secs(900));
        assert_eq!(policy.pause_before(2, long), Duration::from_secs(5));
    }
}
