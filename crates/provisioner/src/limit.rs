//! How often one address may do something.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many addresses are remembered; beyond that, all new ones share one allowance.
const ADDRESSES: usize = 4096;

/// A bucket of tokens per address, in bounded memory.
#[derive(Debug)]
pub struct Limiter {
    burst: u32,
    refill: Duration,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    buckets: HashMap<String, Bucket>,
    /// When full buckets were last forgotten: not for each call, or a flood would cost a walk each.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
}

impl Limiter {
    /// `burst` in a row, and one more per `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self {
            burst,
            refill,
            sources: Mutex::default(),
        }
    }

    /// For reports: a machine reports every 10 s, but many may do so through one address.
    pub fn reports() -> Self {
        Self::new(30, Duration::from_millis(500))
    }

    /// For events of refusals.
    pub fn refusals() -> Self {
        Self::new(10, Duration::from_secs(10))
    }

    /// Whether `source` may, at `now`.
    pub fn admit(&self, source: &str, now: Instant) -> bool {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Sources { buckets, swept } = &mut *sources;
        let due = swept.is_none_or(|swept| now.saturating_duration_since(swept) >= self.refill);
        if buckets.len() >= ADDRESSES && due {
            *swept = Some(now);
            let full = self.refill * self.burst;
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.refilled) < full);
        }
        let key = if buckets.len() < ADDRESSES || buckets.contains_key(source) {
            source
        } else {
            "others"
        };
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket {
            left: self.burst,
            refilled: now,
        });
        let passed = now.saturating_duration_since(bucket.refilled);
        let refills = passed.as_nanos() / self.refill.as_nanos().max(1);
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(u32::MAX);
            bucket.left = bucket.left.saturating_add(refills).min(self.burst);
            // What has passed of the next refill counts on.
            bucket.refilled = match self.refill.checked_mul(refills) {
                Some(counted) if bucket.left < self.burst => bucket.refilled + counted,
                _ => now,
            };
        }
        if bucket.left == 0 {
            return false;
        }
        bucket.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_limited_and_others_are_not() {
        let limiter = Limiter::new(3, Duration::from_secs(1));
        let start = Instant::now();
        let admitted = (0..10)
            .filter(|_| limiter.admit("192.0.2.1", start))
            .count();
        assert_eq!(admitted, 3);
        assert!(limiter.admit("192.0.2.2", start));
        assert!(!limiter.admit("192.0.2.1", start + Duration::from_millis(900)));
        assert!(limiter.admit("192.0.2.1", start + Duration::from_millis(1100)));
        assert!(!limiter.admit("192.0.2.1", start + Duration::from_millis(1200)));
        assert!(limiter.admit("192.0.2.1", start + Duration::from_millis(2050)));
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_memory() {
        let limiter = Limiter::new(3, Duration::from_secs(1));
        let start = Instant::now();
        let admitted = (0..50_000)
            .filter(|n| limiter.admit(&format!("2001:db8::{n:x}"), start))
            .count();
        assert!(admitted <= ADDRESSES + 3, "{admitted}");
        assert!(limiter.sources.lock().unwrap().buckets.len() <= ADDRESSES + 1);
    }
}
