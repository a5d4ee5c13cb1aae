//! Which refusals of unauthenticated calls are worth an event, so that nobody can fill the disk with them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many events one address can cause in a row, and how many per [`REFILL`] after that.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(10);
/// How many addresses are remembered; beyond that, all new ones share one allowance.
const ADDRESSES: usize = 4096;

#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

/// Limits events per source address.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Sources>);

#[derive(Debug, Default)]
struct Sources {
    by_address: HashMap<String, Allowance>,
    /// When addresses that were quiet were last forgotten: not for each call, or a flood would cost a walk each.
    swept: Option<Instant>,
}

impl Refusals {
    /// Whether a refusal at `now` may be recorded: `Some` with how many before it were not.
    pub fn admit(&self, source: &str, now: Instant) -> Option<u64> {
        let mut sources = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let full = sources.by_address.len() >= ADDRESSES;
        if full && sources.swept.is_none_or(|swept| now - swept >= REFILL) {
            sources.swept = Some(now);
            sources
                .by_address
                .retain(|_, it| now.saturating_duration_since(it.refilled) < REFILL * BURST);
        }
        let room = sources.by_address.len() < ADDRESSES;
        let key = if room || sources.by_address.contains_key(source) {
            source
        } else {
            "others"
        };
        let allowance = sources
            .by_address
            .entry(key.to_owned())
            .or_insert(Allowance {
                left: BURST,
                refilled: now,
                suppressed: 0,
            });
        let refills =
            now.saturating_duration_since(allowance.refilled).as_secs() / REFILL.as_secs();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(u32::MAX);
            allowance.left = allowance.left.saturating_add(refills).min(BURST);
            allowance.refilled = now;
        }
        if allowance.left == 0 {
            allowance.suppressed += 1;
            return None;
        }
        allowance.left -= 1;
        Some(std::mem::take(&mut allowance.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_bounded_number_of_events_and_the_count_of_the_rest() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let recorded = (0..1000)
            .filter(|_| refusals.admit("192.0.2.1", start).is_some())
            .count();
        assert_eq!(recorded, BURST as usize);
        assert_eq!(
            refusals.admit("192.0.2.2", start),
            Some(0),
            "another address is not held up"
        );
        assert_eq!(refusals.admit("192.0.2.1", start + REFILL), Some(990));
        assert_eq!(refusals.admit("192.0.2.1", start + REFILL), None);
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_share_the_last_allowance() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let recorded = (0..100_000)
            .filter(|n| refusals.admit(&format!("2001:db8::{n:x}"), start).is_some())
            .count();
        assert!(recorded <= ADDRESSES + BURST as usize + 1, "{recorded}");
        assert!(refusals.0.lock().unwrap().by_address.len() <= ADDRESSES + 1);
    }
}
