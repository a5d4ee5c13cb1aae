//! How fast each address may ask, in a bounded room: a table of buckets, in which two addresses may fall into one and then
//! share it. Which do is another secret for each table, so that no guest can choose its neighbour.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Buckets of a table: 16 KiB.
const BUCKETS: usize = 1024;

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many each second.
    pub per_second: u32,
    /// And so many at once after a rest.
    pub burst: u32,
}

/// The pace of all addresses of a VPC.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    secret: RandomState,
    /// When each bucket would be full again.
    full_at: Vec<Option<Instant>>,
}

impl Pace {
    /// Nobody has asked anything.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            secret: RandomState::new(),
            full_at: vec![None; BUCKETS],
        }
    }

    /// Whether `source` may ask one thing now, which counts if it may.
    pub fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        let each = Duration::from_secs(1) / self.rate.per_second.max(1);
        let room = each.saturating_mul(self.rate.burst.saturating_sub(1));
        let bucket = self.secret.hash_one(source) as usize % BUCKETS;
        let Some(full_at) = self.full_at.get_mut(bucket) else {
            return false;
        };
        let from = full_at.unwrap_or(now).max(now);
        if from.duration_since(now) > room {
            return false;
        }
        *full_at = Some(from + each);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_pace() {
        let mut pace = Pace::new(Rate {
            per_second: 10,
            burst: 20,
        });
        let source: IpAddr = "10.0.0.2".parse().unwrap();
        let start = Instant::now();
        let admitted =
            |pace: &mut Pace, at: Instant| (0..100).filter(|_| pace.admits(source, at)).count();
        assert_eq!(admitted(&mut pace, start), 20);
        assert_eq!(admitted(&mut pace, start), 0);
        assert_eq!(admitted(&mut pace, start + Duration::from_millis(500)), 5);
        assert_eq!(admitted(&mut pace, start + Duration::from_secs(60)), 20);
    }

    #[test]
    fn another_address_has_a_pace_of_its_own() {
        let mut pace = Pace::new(Rate {
            per_second: 1,
            burst: 1,
        });
        let now = Instant::now();
        let addresses = (0..100_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let admitted = addresses.filter(|address| pace.admits(*address, now));
        // Some fall together.
        assert!(admitted.count() > 80);
    }
}
