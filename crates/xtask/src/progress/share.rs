//! How much of a step is done, and how long the rest will take if it goes on as so far: on a busy machine too, because
//! what is done is counted, and not timed beforehand.

use std::time::{Duration, Instant};

use super::human;

/// Until so much is done, what is left is anybody's guess.
const ENOUGH: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct Share {
    pub done: usize,
    of: usize,
    things: &'static str,
    begun: Instant,
}

impl Share {
    pub fn begin(of: usize, things: &'static str) -> Self {
        Share {
            done: 0,
            of,
            things,
            begun: Instant::now(),
        }
    }

    /// `43 % (512 of 1190 objects), about 2 min 10 s left`
    pub fn long(&self) -> String {
        let Share {
            done, of, things, ..
        } = self;
        let left = self.left(self.begun.elapsed());
        let left = left.map_or(String::new(), |left| {
            format!(", about {} left", human(left))
        });
        format!("{} % ({done} of {of} {things}){left}", self.percent())
    }

    /// `43 %, 130 s left`
    pub fn short(&self) -> String {
        let left = self.left(self.begun.elapsed());
        let left = left.map_or(String::new(), |left| format!(", {} s left", left.as_secs()));
        format!("{} %{left}", self.percent())
    }

    /// Never all of it: `of` is what is known beforehand, and the step's end says that it is done.
    fn percent(&self) -> usize {
        (100 * self.done / self.of.max(1)).min(99)
    }

    fn left(&self, elapsed: Duration) -> Option<Duration> {
        if self.done == 0 || elapsed < ENOUGH {
            return None;
        }
        let rest = self.of.saturating_sub(self.done) as f64 / self.done as f64;
        Some(elapsed.mul_f64(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(done: usize) -> Share {
        Share {
            done,
            ..Share::begin(1000, "objects")
        }
    }

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        let minute = Duration::from_secs(60);
        assert_eq!(done(250).left(minute), Some(3 * minute));
        assert_eq!(done(500).left(10 * minute), Some(10 * minute));
        assert_eq!(done(0).left(minute), None);
        assert_eq!(done(1).left(Duration::from_secs(1)), None);
    }

    #[test]
    fn a_count_that_was_wrong_is_no_more_than_nearly_done() {
        assert_eq!(done(430).short(), "43 %");
        assert_eq!(done(2000).percent(), 99);
        assert_eq!(
            done(2000).left(Duration::from_secs(9)),
            Some(Duration::ZERO)
        );
        assert_eq!(Share::begin(0, "objects").percent(), 0);
    }
}
