//! What one guest may take: so many requests a second, so many connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests of one address a second, and at once after a rest. cloud-init makes some dozens when a guest starts.
const PER_SECOND: u32 = 100;
/// Connections of one address at a time.
const CONNECTIONS: usize = 16;

/// What the addresses of one VRF take. The filter lets no others in than those of ports, so there are no more of them.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<IpAddr, Share>>);

#[derive(Debug, Default)]
struct Share {
    connections: usize,
    /// When it may make as many requests at once as ever; `None`: it may.
    rested: Option<Instant>,
}

impl Shares {
    /// A place for a connection; `None`: the address has as many as it may.
    pub fn connect(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let mut shares = self.lock();
        let share = shares.entry(source).or_default();
        if share.connections >= CONNECTIONS {
            return None;
        }
        share.connections += 1;
        Some(Place {
            shares: self.clone(),
            source,
        })
    }

    /// Whether `source` may make a request now, which counts if it may.
    pub fn admits(&self, source: IpAddr, now: Instant) -> bool {
        const EACH: Duration = Duration::from_micros(1_000_000 / PER_SECOND as u64);
        let mut shares = self.lock();
        let share = shares.entry(source).or_default();
        let from = share.rested.map_or(now, |at| at.max(now));
        if from.duration_since(now) > EACH * (PER_SECOND - 1) {
            return false;
        }
        share.rested = Some(from + EACH);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, until this is dropped.
pub struct Place {
    shares: Arc<Shares>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shares = self.shares.lock();
        let Some(share) = shares.get_mut(&self.source) else {
            return;
        };
        share.connections -= 1;
        // A guest that has rested is forgotten with its last connection: what is kept is of who asks.
        let now = Instant::now();
        if share.connections == 0 && share.rested.is_none_or(|at| at <= now) {
            shares.remove(&self.source);
        }
        if shares.len() > MOST_REMEMBERED {
            shares.retain(|_, it| it.connections > 0 || it.rested.is_some_and(|at| at > now));
        }
    }
}

/// Addresses of which more is remembered than that they are connected.
const MOST_REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_another_has_its_own() {
        let shares = Arc::new(Shares::default());
        let [one, other] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let mut held: Vec<_> = (0..100).filter_map(|_| shares.connect(one)).collect();
        assert_eq!(held.len(), CONNECTIONS);
        assert!(shares.connect(other).is_some());
        held.pop();
        assert!(shares.connect(one).is_some());
        drop(held);
        assert!(shares.lock().is_empty());
    }

    #[test]
    fn a_burst_and_then_the_pace() {
        let shares = Shares::default();
        let source = IpAddr::from([10, 0, 0, 1]);
        let start = Instant::now();
        let admitted = |at| (0..1000).filter(|_| shares.admits(source, at)).count();
        assert_eq!(admitted(start), 100);
        assert_eq!(admitted(start), 0);
        assert_eq!(admitted(start + Duration::from_millis(500)), 50);
    }
}
