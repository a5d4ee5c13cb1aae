//! Which addresses of a subnet are free, and which one comes next. Pure: the store stays the truth, and
//! `app::addresses` stands between.
//!
//! A cursor moves through the range and never back, so that an address that was given back comes again only
//! after the range was cycled: by then, neighbours' ARP caches have forgotten its former owner.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Addresses per chunk. Chunks exist only where something is taken, so that a /8 with ten ports costs a
/// kilobyte and not two megabytes.
const CHUNK: u64 = 4096;
const WORDS: usize = (CHUNK / 64) as usize;

/// The addresses of one subnet.
#[derive(Clone, Debug)]
pub struct Pool {
    cidr: Ipv4Net,
    /// Network, broadcast and gateway: never given, never freed.
    reserved: [Ipv4Addr; 3],
    chunks: BTreeMap<u64, Chunk>,
    /// Taken ones, without the reserved.
    taken: u64,
    /// Offset at which the next search begins.
    cursor: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    words: [u64; WORDS],
    used: u64,
}

impl Chunk {
    const EMPTY: Self = Self {
        words: [0; WORDS],
        used: 0,
    };

    fn bit(at: u64) -> (usize, u64) {
        ((at / 64) as usize, 1 << (at % 64))
    }

    /// `false` if it was set already.
    fn set(&mut self, at: u64) -> bool {
        let (word, bit) = Self::bit(at);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.used += u64::from(new);
        new
    }

    /// `false` if it was not set.
    fn clear(&mut self, at: u64) -> bool {
        let (word, bit) = Self::bit(at);
        let was = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        self.used -= u64::from(was);
        was
    }

    /// The first unset bit in `from..to`.
    fn first_free(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let (word, _) = Self::bit(at);
            // What lies before `at` in its word counts as taken.
            let free = !self.words[word] & (u64::MAX << (at % 64));
            if free != 0 {
                let found = (word as u64) * 64 + u64::from(free.trailing_zeros());
                return (found < to).then_some(found);
            }
            at = (word as u64 + 1) * 64;
        }
        None
    }
}

impl Pool {
    /// All of `cidr` is free but the network's and broadcast address and the gateway. The search begins
    /// after `last_given`, or at the beginning.
    pub fn new(cidr: Ipv4Net, gateway: Ipv4Addr, last_given: Option<Ipv4Addr>) -> Self {
        let mut pool = Self {
            cidr,
            reserved: [cidr.network(), cidr.broadcast(), gateway],
            chunks: BTreeMap::new(),
            taken: 0,
            cursor: 0,
        };
        for reserved in pool.reserved {
            let offset = pool.offset(reserved);
            pool.chunk(offset / CHUNK).set(offset % CHUNK);
        }
        if let Some(last) = last_given.filter(|last| cidr.contains(last)) {
            pool.cursor = (pool.offset(last) + 1) % pool.size();
        }
        pool
    }

    /// How many addresses ports can have.
    pub fn capacity(&self) -> u64 {
        self.size() - self.reserved.len() as u64
    }

    /// How many are taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes one address. `false` if it is taken, reserved or of another subnet.
    pub fn take(&mut self, address: Ipv4Addr) -> bool {
        if !self.cidr.contains(&address) {
            return false;
        }
        let offset = self.offset(address);
        let new = self.chunk(offset / CHUNK).set(offset % CHUNK);
        self.taken += u64::from(new);
        new
    }

    /// Takes the next free address; `None`: there is none.
    pub fn take_next(&mut self) -> Option<Ipv4Addr> {
        if self.taken == self.capacity() {
            return None;
        }
        let found = self
            .first_free(self.cursor, self.size())
            .or_else(|| self.first_free(0, self.cursor))?;
        self.cursor = (found + 1) % self.size();
        let address = self.address(found);
        self.take(address);
        Some(address)
    }

    /// Frees an address. `false` if it was not taken, or is reserved.
    pub fn give_back(&mut self, address: Ipv4Addr) -> bool {
        if !self.cidr.contains(&address) || self.reserved.contains(&address) {
            return false;
        }
        let offset = self.offset(address);
        let index = offset / CHUNK;
        let Some(chunk) = self.chunks.get_mut(&index) else {
            return false;
        };
        let was = chunk.clear(offset % CHUNK);
        if chunk.used == 0 {
            self.chunks.remove(&index);
        }
        self.taken -= u64::from(was);
        was
    }

    /// The first free offset in `from..to`.
    fn first_free(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let index = at / CHUNK;
            let (start, end) = (index * CHUNK, ((index + 1) * CHUNK).min(to));
            match self.chunks.get(&index) {
                None => return Some(at),
                Some(chunk) if chunk.used == CHUNK => {}
                Some(chunk) => {
                    if let Some(found) = chunk.first_free(at - start, end - start) {
                        return Some(start + found);
                    }
                }
            }
            at = end;
        }
        None
    }

    fn chunk(&mut self, index: u64) -> &mut Chunk {
        self.chunks.entry(index).or_insert(Chunk::EMPTY)
    }

    fn size(&self) -> u64 {
        1 << (32 - self.cidr.prefix_len())
    }

    fn offset(&self, address: Ipv4Addr) -> u64 {
        u64::from(u32::from(address) - u32::from(self.cidr.network()))
    }

    fn address(&self, offset: u64) -> Ipv4Addr {
        // An offset is less than the subnet's size, so the sum is an address of the subnet.
        Ipv4Addr::from(u32::from(self.cidr.network()) + offset as u32)
    }
}

#[cfg(test)]
mod tests;
