//! Hands out IPv4 addresses fast, in front of the store, which alone decides.
//!
//! Without this, a thousand calls at once would all choose the same next address and repeat their
//! transactions 999 times. So each call first reserves an address in memory, where no other call gets it; its
//! commit then claims the address in the store, compared as absent. Memory may be behind (a call that was
//! dropped in the middle of its commit, another server process): a reserved address that the store knows as
//! taken is kept as taken and the next one tried, and before anybody is told that a subnet is full the store
//! is read anew.
//!
//! An address that a port let go of is given to nobody for a minute who has not asked for it: its neighbours know it by the
//! old port's MAC, and answers to names and connections of others may still go there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flaredb::{Db, LeaseId};
use photon_resource::{Error, SubnetId, Time};
use tokio::sync::{Notify, OnceCell};
use tokio::time;

use crate::ipam::Pool;
use crate::model::Subnet;
use crate::store;

/// A full subnet is read from the store again at most this often, so that refusals stay cheap.
const REREAD: Duration = Duration::from_secs(1);

/// How long an address rests between two ports: as long as answers to its names are remembered.
const REST: Duration = Duration::from_secs(60);
/// So many deletions share a lease of the store as there are in this time.
const LEASE_SHARED_FOR: Duration = Duration::from_secs(60);

/// The free addresses of all subnets in use. Clones are the same.
#[derive(Clone)]
pub struct Addresses {
    db: Db,
    subnets: Arc<Mutex<HashMap<SubnetId, Arc<Shared>>>>,
    lease: Arc<tokio::sync::Mutex<Option<(time::Instant, LeaseId)>>>,
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
    /// Taken by nobody, and not given until then. At most the addresses of a minute's deletions.
    resting: BTreeMap<Ipv4Addr, time::Instant>,
    read_at: Instant,
}

impl State {
    fn new(pool: Pool, resting: BTreeMap<Ipv4Addr, time::Instant>) -> Self {
        Self {
            pool,
            reserved: BTreeSet::new(),
            resting,
            read_at: Instant::now(),
        }
    }

    /// The next address that is free and has rested.
    fn next(&mut self) -> Option<Ipv4Addr> {
        let now = time::Instant::now();
        for address in self.resting.extract_if(.., |_, until| *until <= now) {
            self.pool.give_back(address.0);
        }
        self.pool.take_next()
    }

    fn full(&self, subnet: &Subnet) -> Error {
        let (name, cidr) = (&subnet.meta.name, subnet.cidr);
        let (all, resting) = (self.pool.capacity(), self.resting.len());
        Error::ResourceExhausted(match resting {
            0 => format!(
                "subnet '{name}' ({cidr}) has no free address: all {all} are taken; delete a port or use another subnet"
            ),
            _ => format!(
                "subnet '{name}' ({cidr}) has no free address: of {all}, {resting} were let go less than {} s ago and \
                 are given to who asks for them only, the others are taken; ask for one of them, or come again",
                REST.as_secs()
            ),
        })
    }
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
            lease: Arc::default(),
        }
    }

    /// What the store keeps of addresses that are let go now stands on this.
    pub async fn lease(&self) -> Result<LeaseId, Error> {
        let mut lease = self.lease.lock().await;
        if let Some((granted, id)) = *lease
            && granted.elapsed() < LEASE_SHARED_FOR
        {
            return Ok(id);
        }
        let granted = time::Instant::now();
        // Longer by a minute, in which what was begun with it is committed.
        let id = self.db.lease_grant(REST + 2 * LEASE_SHARED_FOR).await?;
        *lease = Some((granted, id));
        Ok(id)
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
                if let Some(address) = state.next() {
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
                Some(_) => return Err(lock(state).full(subnet)),
            }
        }
    }

    /// Notes that a port has an address which was asked for and so never reserved.
    pub fn taken(&self, subnet: SubnetId, address: Ipv4Addr) {
        self.with_known(subnet, |state| {
            state.resting.remove(&address);
            state.pool.take(address);
        });
    }

    /// Notes that an address is free again, for who asks for it; for others after a minute. Call it after the commit that
    /// freed it.
    pub fn freed(&self, subnet: SubnetId, address: Ipv4Addr) {
        self.with_known(subnet, |state| {
            state.pool.take(address);
            state.resting.insert(address, time::Instant::now() + REST);
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
                let (pool, resting) = self.read(subnet).await?;
                Ok(Mutex::new(State::new(pool, resting)))
            })
            .await
    }

    async fn read_again(&self, state: &Mutex<State>, subnet: &Subnet) -> Result<(), Error> {
        let (pool, resting) = self.read(subnet).await?;
        let mut state = lock(state);
        state.pool = pool;
        state.resting = resting;
        for address in state.reserved.clone() {
            state.resting.remove(&address);
            state.pool.take(address);
        }
        state.read_at = Instant::now();
        Ok(())
    }

    /// What the store knows: what is not free, and until when that which nobody has is not.
    async fn read(
        &self,
        subnet: &Subnet,
    ) -> Result<(Pool, BTreeMap<Ipv4Addr, time::Instant>), Error> {
        // Before what is taken: what is let go between the two is free at once, and nothing is both.
        let released = store::released(&self.db, subnet.id).await?;
        let last = store::last_given(&self.db, subnet.id).await?;
        let mut pool = Pool::new(subnet.cidr, subnet.gateway, last);
        for address in store::addresses(&self.db, subnet.id).await? {
            if let IpAddr::V4(address) = address {
                pool.take(address);
            }
        }
        let (now, today) = (time::Instant::now(), Time::now());
        let mut resting = BTreeMap::new();
        for (address, at) in released {
            let since = Duration::from_micros(today.micros().saturating_sub(at.micros()));
            // Another port has it, by its own wish, or it has rested.
            if since < REST && pool.take(address) {
                resting.insert(address, now + (REST - since));
            }
        }
        Ok((pool, resting))
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
