//! How often one address may do something.
//!
//! `governor`'s limiter by key is the well-known one. It remembers every key that it ever saw until somebody sweeps it,
//! and a flood of made-up addresses is just what this is for: here memory is bounded whatever comes, those who come
//! when it is full share one bucket, and a refusal is counted for the next that is let through to tell of.

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
    refused: u64,
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

    /// Whether `source` may, at `now`: `Some` with how often it might not since it last might.
    pub fn admit(&self, source: &str, now: Instant) -> Option<u64> {
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
            refused: 0,
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
            bucket.refused += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_limited_and_others_are_not() {
        let limiter = Limiter::new(3, Duration::from_secs(1));
        let start = Instant::now();
        let admits = |source, milliseconds| {
            let at = start + Duration::from_millis(milliseconds);
            limiter.admit(source, at).is_some()
        };
        let admitted = (0..10).filter(|_| admits("192.0.2.1", 0)).count();
        assert_eq!(admitted, 3);
        assert!(admits("192.0.2.2", 0));
        assert!(!admits("192.0.2.1", 900));
        assert!(admits("192.0.2.1", 1100));
        assert!(!admits("192.0.2.1", 1200));
        assert!(admits("192.0.2.1", 2050));
    }

    #[test]
    fn a_flood_leaves_a_bounded_number_and_the_count_of_the_rest() {
        let (burst, refill) = (10, Duration::from_secs(10));
        let limiter = Limiter::new(burst, refill);
        let start = Instant::now();
        let admitted = (0..1000)
            .filter(|_| limiter.admit("192.0.2.1", start).is_some())
            .count();
        assert_eq!(admitted, burst as usize);
        assert_eq!(
            limiter.admit("192.0.2.2", start),
            Some(0),
            "another address is not held up"
        );
        assert_eq!(limiter.admit("192.0.2.1", start + refill), Some(990));
        assert_eq!(limiter.admit("192.0.2.1", start + refill), None);
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_share_the_last_allowance() {
        let burst = 10;
        let limiter = Limiter::new(burst, Duration::from_secs(10));
        let start = Instant::now();
        let admitted = (0..100_000)
            .filter(|n| limiter.admit(&format!("2001:db8::{n:x}"), start).is_some())
            .count();
        assert!(admitted <= ADDRESSES + burst as usize, "{admitted}");
        assert!(limiter.sources.lock().unwrap().buckets.len() <= ADDRESSES + 1);
    }
}
