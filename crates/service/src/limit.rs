//! How often somebody may do something.
//!
//! `governor`'s limiter by key is the well-known one. It remembers every key that it ever saw until somebody sweeps it,
//! and a flood of made-up addresses is just what this is for: here memory is bounded whatever comes, those who come
//! when it is full share one allowance, and a refusal is counted for the next that is let through to tell of.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many are remembered; beyond that, all new ones share one allowance.
const REMEMBERED: usize = 4096;

/// An allowance for each key, in bounded memory: the generic cell rate algorithm (ITU-T I.371, annex A).
#[derive(Debug)]
pub struct Limiter<K> {
    burst: u32,
    refill: Duration,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    /// Under `None`: of all that there was no memory for.
    cells: HashMap<Option<K>, Cell>,
    /// When those with a full allowance were last forgotten: not for each call, or a flood would cost a walk each.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Cell {
    /// When the allowance will be full again.
    full: Instant,
    refused: u64,
}

/// The reason of a refusal that has an event, and how many before it have none: what [`Limiter::admit`] gave.
pub fn summed_up(reason: &str, suppressed: u64) -> String {
    match suppressed {
        0 => reason.to_owned(),
        count => format!("{reason} ({count} more refusals before this one were not recorded)"),
    }
}

impl<K: Eq + Hash> Limiter<K> {
    /// `burst` in a row, and one more per `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self {
            burst,
            refill,
            state: Mutex::new(State {
                cells: HashMap::new(),
                swept: None,
            }),
        }
    }

    /// Whether `key` may, at `now`: `Some` with how often it might not since it last might.
    pub fn admit(&self, key: K, now: Instant) -> Option<u64> {
        self.with(key, now, |cell, allowance| {
            let full = cell.full.max(now) + self.refill;
            if full > now + allowance {
                cell.refused += 1;
                return None;
            }
            cell.full = full;
            Some(std::mem::take(&mut cell.refused))
        })
    }

    /// After how long `key` may, if it asks at `now` and is ready to wait for `patience`; its turn is taken.
    ///
    /// Errors: it would have to wait longer; after how long it would not.
    pub fn turn(&self, key: K, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        self.with(key, now, |cell, allowance| {
            let full = cell.full.max(now) + self.refill;
            let wait = full.saturating_duration_since(now + allowance);
            if wait > patience {
                cell.refused += 1;
                return Err(wait - patience);
            }
            cell.full = full;
            Ok(wait)
        })
    }

    /// Takes `cost` more of what `key` has, for what it did already, even if that is more than it has; nobody can owe
    /// more than a full allowance.
    pub fn charge(&self, key: K, now: Instant, cost: u32) {
        if cost == 0 {
            return;
        }
        self.with(key, now, |cell, allowance| {
            let cost = cost.min(self.burst.saturating_mul(2));
            cell.full = (cell.full.max(now) + self.refill * cost).min(now + 2 * allowance);
        });
    }

    fn with<T>(&self, key: K, now: Instant, change: impl FnOnce(&mut Cell, Duration) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { cells, swept } = &mut *state;
        let due = swept.is_none_or(|swept| now.saturating_duration_since(swept) >= self.refill);
        if cells.len() >= REMEMBERED && due {
            *swept = Some(now);
            cells.retain(|_, cell| cell.full > now);
        }
        let mut key = Some(key);
        if cells.len() >= REMEMBERED && !cells.contains_key(&key) {
            key = None;
        }
        let cell = cells.entry(key).or_insert(Cell {
            full: now,
            refused: 0,
        });
        change(cell, self.refill * self.burst)
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
            .filter(|n| limiter.admit(format!("2001:db8::{n:x}"), start).is_some())
            .count();
        assert!(admitted <= REMEMBERED + burst as usize, "{admitted}");
        assert!(limiter.state.lock().unwrap().cells.len() <= REMEMBERED + 1);
    }

    #[test]
    fn the_patient_wait_for_their_turn_and_the_impatient_hear_when_to_come() {
        let limiter = Limiter::new(2, Duration::from_secs(1));
        let start = Instant::now();
        let turn = |seconds| limiter.turn("acme", start, Duration::from_secs(seconds));
        assert_eq!(turn(0), Ok(Duration::ZERO));
        assert_eq!(turn(0), Ok(Duration::ZERO));
        assert_eq!(turn(0), Err(Duration::from_secs(1)));
        assert_eq!(turn(1), Ok(Duration::from_secs(1)));
        assert_eq!(turn(1), Err(Duration::from_secs(1)));
    }

    #[test]
    fn what_cost_more_is_paid_for_later_and_a_debt_is_bounded() {
        let limiter = Limiter::new(10, Duration::from_secs(1));
        let start = Instant::now();
        limiter.charge("acme", start, 9);
        assert_eq!(limiter.admit("acme", start), Some(0));
        assert_eq!(limiter.admit("acme", start), None);
        limiter.charge("acme", start, u32::MAX / 2);
        let patience = Duration::from_secs(30);
        let wait = limiter.turn("acme", start, patience).unwrap();
        assert_eq!(
            wait,
            Duration::from_secs(11),
            "a full allowance is owed, no more"
        );
    }
}
