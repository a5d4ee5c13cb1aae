//! How much of something each holds, so that nobody holds more than a share: places for connections, bytes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// How much each key holds. A key that holds nothing takes no memory.
#[derive(Debug)]
pub struct Holds<K> {
    held: Mutex<HashMap<K, usize>>,
}

impl<K> Default for Holds<K> {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
        }
    }
}

impl<K: Clone + Eq + Hash> Holds<K> {
    /// Takes `count` for each key, unless one of them would hold more than its limit; then nothing is taken.
    ///
    /// Errors: the first key that can't hold so much.
    pub fn take<'a>(
        self: &Arc<Self>,
        shares: &'a [(K, usize)],
        count: usize,
    ) -> Result<Hold<K>, &'a K> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |(key, most): &&(K, usize)| {
            let now = held.get(key).copied().unwrap_or_default();
            now.saturating_add(count) > *most
        };
        if let Some((key, _)) = shares.iter().find(full) {
            return Err(key);
        }
        for (key, _) in shares {
            *held.entry(key.clone()).or_default() += count;
        }
        drop(held);
        Ok(Hold {
            holds: Arc::clone(self),
            keys: shares.iter().map(|(key, _)| key.clone()).collect(),
            count,
        })
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

/// Who an address counts as: a host may have a whole /64 of IPv6 to itself (RFC 4291, 2.5.4), but for those that every
/// link and every host has.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() && !address.is_unicast_link_local() => {
            let prefix = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        address => address,
    }
}

/// What was taken; it is given back when this is dropped.
#[derive(Debug)]
pub struct Hold<K: Eq + Hash> {
    holds: Arc<Holds<K>>,
    keys: Vec<K>,
    count: usize,
}

impl<K: Eq + Hash> Drop for Hold<K> {
    fn drop(&mut self) {
        let lock = self.holds.held.lock();
        let mut held = lock.unwrap_or_else(PoisonError::into_inner);
        for key in self.keys.drain(..) {
            if let Entry::Occupied(mut entry) = held.entry(key) {
                *entry.get_mut() = entry.get().saturating_sub(self.count);
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_share_and_gives_it_back() {
        let holds = Arc::new(Holds::default());
        let share = [("a", 2)];
        let held = holds.take(&share, 2).unwrap();
        assert_eq!(holds.take(&share, 1).unwrap_err(), &"a");
        let other = [("b", 2), ("a", 2)];
        assert_eq!(holds.take(&other, 1).unwrap_err(), &"a");
        assert_eq!(holds.keys(), 1, "nothing was taken of b");
        drop(held);
        drop(holds.take(&other, 2).unwrap());
        assert_eq!(holds.keys(), 0);
    }

    #[test]
    fn a_host_is_one_source_by_whatever_address() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("fe80::1"), of("fe80::2"), "two machines of one link");
    }
}
