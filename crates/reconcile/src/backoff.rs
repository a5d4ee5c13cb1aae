//! Exponential backoff with jitter.

use std::time::Duration;

/// Delays that double from `first` to `most`, each shortened by up to a quarter at random so that hosts that
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts without a failure.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// Counts a failure and says how long to wait before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let doubled = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        jittered(doubled.min(self.most))
    }

    /// Forgets the failures.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// Between three quarters of `delay` and all of it.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.75 + 0.25 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most_and_starts_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for expected in [100, 200, 400, 800, 1600, 2000, 2000] {
            let delay = backoff.failed().as_millis();
            assert!(
                delay >= expected * 3 / 4 && delay <= expected,
                "{delay} ms, expected {expected} ms less a quarter at most"
            );
        }
        assert_eq!(backoff.failures(), 7);
        backoff.succeeded();
        assert!(backoff.failed().as_millis() <= 100);
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..200 {
            assert!(backoff.failed() <= Duration::from_secs(60));
        }
    }
}
