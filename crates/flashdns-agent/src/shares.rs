//! Places that a VPC has so many of, and each of its addresses a part.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a VPC. Clones are the same places.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    most_of_address: usize,
    /// How many each address has; no address has none.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    /// `most` places, of which an address has at most `most_of_address`.
    pub fn new(most: usize, most_of_address: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            most_of_address,
            taken: Mutex::default(),
        }))
    }

    /// A place, until that is dropped; `None`: the VPC or the address has as many as it may.
    pub fn admit(&self, source: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        let of_address = taken.get(&source).copied().unwrap_or_default();
        if taken.values().sum::<usize>() >= self.0.most || of_address >= self.0.most_of_address {
            return None;
        }
        taken.insert(source, of_address + 1);
        Some(Place {
            shares: self.clone(),
            source,
        })
    }

    /// Whether nobody has any.
    #[cfg(test)]
    pub fn is_free(&self) -> bool {
        self.taken().is_empty()
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place {
    shares: Shares,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpc_and_an_address_have_so_many_and_no_memory_stays_of_those_that_went() {
        let shares = Shares::new(20, 5);
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let of_one: Vec<_> = (0..10).filter_map(|_| shares.admit(address(1))).collect();
        assert_eq!(of_one.len(), 5);
        let all: Vec<_> = (2..=255).filter_map(|n| shares.admit(address(n))).collect();
        assert_eq!(of_one.len() + all.len(), 20);
        drop(of_one);
        assert!(shares.clone().admit(address(1)).is_some());
        drop(all);
        assert!(shares.is_free());
    }
}
