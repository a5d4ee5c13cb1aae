use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How much each key holds. A key that holds nothing takes no memory.
#[derive(Debug)]
pub(super) struct Holds<K> {
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
    pub fn keys(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

/// What was taken; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Hold<K: Eq + Hash> {
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
