//! Slowing of those who guess: after a few failures each further attempt has to wait, twice as long each time.
//!
//! Failures are counted per principal (whoever tries, from wherever) and per address (whomever it tries). The
//! counters are a table of fixed size, found by a keyed hash: memory is bounded, no flood of made-up names can
//! push another's counter out, and names that do not exist are slowed exactly like those that do.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Two names that share a slot are slowed together; among this many that is rare and harms little.
const SLOTS: usize = 1 << 14;
/// Failures that cost nothing, and the longest wait: a person who mistypes is hardly held up, and somebody who
/// keeps a principal's counter high can't lock it out for longer than this at a time.
const PRINCIPAL: Limit = Limit {
    free: 5,
    longest: Duration::from_secs(60),
};
/// Several people can share an address.
const ADDRESS: Limit = Limit {
    free: 20,
    longest: Duration::from_secs(300),
};
/// Attempts at one principal or from one address that can be under way while there was no failure yet.
const AT_ONCE: u32 = 64;
/// One failure is forgiven after each of these.
const FORGIVEN_AFTER: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
struct Limit {
    free: u32,
    longest: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    failures: u32,
    /// Attempts whose outcome is not known yet. They count as failures once there was one, so that many at the same
    /// time gain nothing.
    pending: u32,
    until: Instant,
    counted: Instant,
}

impl Slot {
    fn forgive(&mut self, now: Instant) {
        let forgiven =
            now.saturating_duration_since(self.counted).as_secs() / FORGIVEN_AFTER.as_secs();
        if forgiven > 0 {
            let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
            self.failures = self.failures.saturating_sub(forgiven);
            self.counted = now;
        }
    }

    /// How long the next attempt has to wait.
    fn wait(&self, limit: Limit, now: Instant) -> Duration {
        let wait = self.until.saturating_duration_since(now);
        let allowed = match self.failures {
            0 => AT_ONCE,
            failures => limit.free.saturating_sub(failures).max(1),
        };
        let crowded = self.pending >= allowed;
        if crowded {
            wait.max(Duration::from_secs(1))
        } else {
            wait
        }
    }

    fn fail(&mut self, limit: Limit, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.counted = now;
        if let Some(beyond) = self.failures.checked_sub(limit.free) {
            let wait = Duration::from_secs(1 << beyond.min(20)).min(limit.longest);
            self.until = now + wait;
        }
    }
}

/// The counters.
#[derive(Debug)]
pub struct Slowdown {
    hasher: RandomState,
    slots: Mutex<Vec<Slot>>,
}

/// An attempt that was let through. Its outcome must be told; one that is dropped counts as a failure.
#[derive(Debug)]
pub struct Attempt<'a> {
    slowdown: &'a Slowdown,
    keys: [Option<(usize, Limit)>; 2],
    done: bool,
}

impl Default for Slowdown {
    fn default() -> Self {
        let now = Instant::now();
        let empty = Slot {
            failures: 0,
            pending: 0,
            until: now,
            counted: now,
        };
        Self {
            hasher: RandomState::new(),
            slots: Mutex::new(vec![empty; SLOTS]),
        }
    }
}

impl Slowdown {
    /// Lets an attempt at `principal` from `source` through, or says how long to wait. `source` is an address, or
    /// empty where the address says nothing.
    pub fn admit(
        &self,
        principal: &str,
        source: &str,
        now: Instant,
    ) -> Result<Attempt<'_>, Duration> {
        let address = address(source).map(|address| (self.slot(&("address", address)), ADDRESS));
        let keys = [
            Some((self.slot(&("principal", principal)), PRINCIPAL)),
            address,
        ];
        let mut slots = self.lock();
        let mut wait = Duration::ZERO;
        for (key, limit) in keys.into_iter().flatten() {
            slots[key].forgive(now);
            wait = wait.max(slots[key].wait(limit, now));
        }
        if wait > Duration::ZERO {
            return Err(wait);
        }
        for (key, _) in keys.into_iter().flatten() {
            slots[key].pending = slots[key].pending.saturating_add(1);
        }
        Ok(Attempt {
            slowdown: self,
            keys,
            done: false,
        })
    }

    fn slot(&self, key: &impl std::hash::Hash) -> usize {
        // Truncation is meant: any part of the hash will do.
        self.hasher.hash_one(key) as usize % SLOTS
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What counts as one address: all of an IPv6 /64 is usually one machine's. `None`: that is no address.
pub fn address(source: &str) -> Option<String> {
    match source.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => Some(address.to_string()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Some(format!("{a:x}:{b:x}:{c:x}:{d:x}"))
        }
    }
}

impl Attempt<'_> {
    /// Whether there were failures at its address lately.
    pub fn address_failed(&self) -> bool {
        let slots = self.slowdown.lock();
        self.keys[1].is_some_and(|(address, _)| slots[address].failures > 0)
    }

    /// The credential was right: the principal's failures are forgotten. The address's are not, or a guesser could
    /// reset them with an account of its own; they are forgiven by and by.
    pub fn succeeded(mut self) {
        self.settle(|at, slot, _| {
            if at == 0 {
                slot.failures = 0;
                slot.until = slot.counted;
            }
        });
    }

    /// The credential was wrong.
    pub fn failed(mut self, now: Instant) {
        self.settle(|_, slot, limit| slot.fail(limit, now));
    }

    /// It was never found out: it does not count.
    pub fn withdrawn(mut self) {
        self.settle(|_, _, _| {});
    }

    fn settle(&mut self, outcome: impl Fn(usize, &mut Slot, Limit)) {
        self.done = true;
        let mut slots = self.slowdown.lock();
        for (at, key) in self.keys.into_iter().enumerate() {
            if let Some((key, limit)) = key {
                slots[key].pending = slots[key].pending.saturating_sub(1);
                outcome(at, &mut slots[key], limit);
            }
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.done {
            let now = Instant::now();
            self.settle(|_, slot, limit| slot.fail(limit, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "192.0.2.1";

    fn fail(slowdown: &Slowdown, principal: &str, source: &str, now: Instant) {
        slowdown.admit(principal, source, now).unwrap().failed(now);
    }

    #[test]
    fn waits_double_after_the_free_failures_and_end() {
        let slowdown = Slowdown::default();
        let mut now = Instant::now();
        for _ in 0..5 {
            fail(&slowdown, "alice", HOME, now);
        }
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = slowdown.admit("alice", "198.51.100.7", now).unwrap_err();
            waits.push(wait.as_secs());
            now += wait;
            fail(&slowdown, "alice", "198.51.100.7", now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        slowdown.admit("bob", HOME, now).unwrap().withdrawn();
    }

    #[test]
    fn success_forgets_the_principals_failures_but_not_the_addresss() {
        let slowdown = Slowdown::default();
        let now = Instant::now();
        for round in 0..20 {
            fail(&slowdown, &format!("victim-{round}"), HOME, now);
            if round < 19 {
                slowdown.admit("mallory", HOME, now).unwrap().succeeded();
            }
        }
        assert!(slowdown.admit("mallory", HOME, now).is_err());
        for _ in 0..4 {
            fail(&slowdown, "alice", "192.0.2.9", now);
        }
        slowdown
            .admit("alice", "192.0.2.9", now)
            .unwrap()
            .succeeded();
        for _ in 0..4 {
            fail(&slowdown, "alice", "192.0.2.9", now);
        }
        slowdown
            .admit("alice", "192.0.2.9", now)
            .unwrap()
            .succeeded();
    }

    #[test]
    fn guessing_many_at_once_gains_nothing() {
        let slowdown = Slowdown::default();
        let now = Instant::now();
        fail(&slowdown, "alice", HOME, now);
        let admitted: Vec<_> = (0..100)
            .filter_map(|_| slowdown.admit("alice", HOME, now).ok())
            .collect();
        assert_eq!(admitted.len(), 4);
        drop(admitted);
        assert!(
            slowdown.admit("alice", HOME, Instant::now()).is_err(),
            "dropped attempts failed"
        );
    }

    #[test]
    fn people_who_sign_in_at_the_same_time_are_not_held_up() {
        let slowdown = Slowdown::default();
        let now = Instant::now();
        let admitted: Vec<_> = (0..AT_ONCE)
            .map(|_| slowdown.admit("robot", HOME, now).unwrap())
            .collect();
        admitted.into_iter().for_each(Attempt::succeeded);
        slowdown.admit("robot", HOME, now).unwrap().succeeded();
    }

    #[test]
    fn failures_are_forgiven_by_and_by() {
        let slowdown = Slowdown::default();
        let now = Instant::now();
        for _ in 0..5 {
            fail(&slowdown, "alice", HOME, now);
        }
        let later = now + 3 * FORGIVEN_AFTER;
        for _ in 0..3 {
            fail(&slowdown, "alice", HOME, later);
        }
        assert!(slowdown.admit("alice", HOME, later).is_err());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_eq!(address("unknown"), None);
    }
}
