//! Hands out IPv4 addresses fast, in front of the store, which alone decides.
//!
//! Without this, a thousand calls at once would all choose the same next address and repeat their
//! transactions 999 times. So each call first reserves an address in memory, where no other call gets it; its
//! commit then claims the address in the store, compared as absent. Memory may be behind (a call that was
//! dropped in the middle of its commit, another server process): a reserved address that the store knows as
//! taken is kept as taken and the next one tried, and before anybody is told that a subnet is full the store
//! is read anew.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flaredb::Db;
use photon_resource::{Error, SubnetId};
use tokio::sync::{Notify, OnceCell};

use crate::ipam::Pool;
use crate::model::Subnet;
use crate::store;

/// A full subnet is read from the store again at most this often, so that refusals stay cheap.
const REREAD: Duration = Duration::from_secs(1);

/// The free addresses of all subnets in use. Clones are the same.
#[derive(Clone)]
pub struct Addresses {
    db: Db,
    subnets: Arc<Mutex<HashMap<SubnetId, Arc<Shared>>>>,
}

/// One subnet's.
#[derive(Default)]
struct Shared {
    state: OnceCell<Mutex<State>>,
    /// Signalled when a reservation ends.
    ended: Notify,
}

struct State {
    pool: Pool,
    /// Taken by calls that have not committed yet.
    reserved: BTreeSet<Ipv4Addr>,
    read_at: Instant,
}

/// An address that no other call in this process gets. Dropping it gives the address back.
pub struct Reservation {
    shared: Arc<Shared>,
    address: Ipv4Addr,
    ended: bool,
}

impl Addresses {
    /// Nothing is read until a subnet is asked for.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            subnets: Arc::default(),
        }
    }

    /// Reserves the next free address. While other calls hold the last ones, waits to see whether they keep
    /// them. Errors: `ResourceExhausted`.
    pub async fn reserve(&self, subnet: &Subnet) -> Result<Reservation, Error> {
        let shared = self.shared(subnet.id);
        let state = self.state(&shared, subnet).await?;
        loop {
            let ended = shared.ended.notified();
            tokio::pin!(ended);
            // From here on a signal is not missed.
            ended.as_mut().enable();
            let last_read = {
                let mut state = lock(state);
                if let Some(address) = state.pool.take_next() {
                    state.reserved.insert(address);
                    return Ok(Reservation {
                        shared: shared.clone(),
                        address,
                        ended: false,
                    });
                }
                (state.reserved.is_empty()).then_some(state.read_at)
            };
            match last_read {
                None => ended.await,
                Some(read_at) if read_at.elapsed() >= REREAD => {
                    self.read_again(state, subnet).await?;
                }
                Some(_) => {
                    return Err(Error::ResourceExhausted(format!(
                        "subnet '{}' ({}) has no free address: all {} are taken; delete a port or use another subnet",
                        subnet.meta.name,
                        subnet.cidr,
                        lock(state).pool.capacity()
                    )));
                }
            }
        }
    }

    /// Notes that a port has an address which was asked for and so never reserved.
    pub fn taken(&self, subnet: SubnetId, address: Ipv4Addr) {
        self.with_known(subnet, |state| {
            state.pool.take(address);
        });
    }

    /// Notes that an address is free again. Call it after the commit that freed it.
    pub fn freed(&self, subnet: SubnetId, address: Ipv4Addr) {
        self.with_known(subnet, |state| {
            state.pool.give_back(address);
        });
    }

    /// Forgets a subnet that was deleted.
    pub fn forget(&self, subnet: SubnetId) {
        lock(&self.subnets).remove(&subnet);
    }

    fn with_known(&self, subnet: SubnetId, act: impl FnOnce(&mut State)) {
        let shared = lock(&self.subnets).get(&subnet).cloned();
        // What was never read has nothing to correct: the store has it.
        if let Some(state) = shared.as_ref().and_then(|shared| shared.state.get()) {
            act(&mut lock(state));
        }
    }

    fn shared(&self, subnet: SubnetId) -> Arc<Shared> {
        lock(&self.subnets).entry(subnet).or_default().clone()
    }

    async fn state<'a>(
        &self,
        shared: &'a Shared,
        subnet: &Subnet,
    ) -> Result<&'a Mutex<State>, Error> {
        shared
            .state
            .get_or_try_init(async || {
                Ok(Mutex::new(State {
                    pool: self.read(subnet).await?,
                    reserved: BTreeSet::new(),
                    read_at: Instant::now(),
                }))
            })
            .await
    }

    async fn read_again(&self, state: &Mutex<State>, subnet: &Subnet) -> Result<(), Error> {
        let pool = self.read(subnet).await?;
        let mut state = lock(state);
        state.pool = pool;
        for address in state.reserved.clone() {
            state.pool.take(address);
        }
        state.read_at = Instant::now();
        Ok(())
    }

    async fn read(&self, subnet: &Subnet) -> Result<Pool, Error> {
        let last = store::last_given(&self.db, subnet.id).await?;
        let mut pool = Pool::new(subnet.cidr, subnet.gateway, last);
        for address in store::addresses(&self.db, subnet.id).await? {
            if let IpAddr::V4(address) = address {
                pool.take(address);
            }
        }
        Ok(pool)
    }
}

impl Reservation {
    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The address has an owner now, this call's port or another: it stays taken.
    pub fn keep(mut self) {
        self.end(true);
    }

    fn end(&mut self, keep: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(state) = self.shared.state.get() {
            let mut state = lock(state);
            state.reserved.remove(&self.address);
            if !keep {
                state.pool.give_back(self.address);
            } else if !state.reserved.is_empty() {
                // Nothing came free, and others may still give theirs back.
                return;
            }
        }
        self.shared.ended.notify_waiters();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these, and what they guard is never half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
