//! Which addresses of an external network are given out. They are chosen at random: who takes one learns nothing of how many
//! others are taken, two that search at the same time seldom meet, and an address that came back is seldom the next to go.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use flaredb::Transaction;
use photon_resource::Error;
use uuid::Uuid;

use crate::model::ExternalNetwork;
use crate::store;

/// As many are drawn before all are looked through. With half of them taken, eight addresses are all but always found by then.
const DRAWS: u32 = 40;
/// As many that were free a moment ago are tried then. With the draws they are within what one transaction may read.
const TRIES: usize = 40;

/// Addresses that nobody has, `count` of them. Errors: `ResourceExhausted`.
pub(super) async fn free_addresses(
    tx: &mut Transaction,
    network: &ExternalNetwork,
    count: usize,
) -> Result<Vec<Ipv4Addr>, Error> {
    let mut chosen = BTreeSet::new();
    for _ in 0..DRAWS {
        if chosen.len() == count {
            break;
        }
        if let Some(address) = network.address_at(random()) {
            take_if_free(tx, network, address, &mut chosen).await?;
        }
    }
    if chosen.len() < count {
        let taken = store::external_addresses_now(tx.db(), network.id).await?;
        let free = network.addresses().filter(|it| !taken.contains(it));
        for address in free.take(TRIES) {
            if chosen.len() == count {
                break;
            }
            take_if_free(tx, network, address, &mut chosen).await?;
        }
    }
    if chosen.len() < count {
        return Err(Error::ResourceExhausted(format!(
            "external network '{}' has no free address left of {}: give one back, or ask the cloud's operator for more",
            network.name,
            network.capacity()
        )));
    }
    Ok(chosen.into_iter().collect())
}

/// Whether nobody has the address is compared when the transaction commits.
async fn take_if_free(
    tx: &mut Transaction,
    network: &ExternalNetwork,
    address: Ipv4Addr,
    chosen: &mut BTreeSet<Ipv4Addr>,
) -> Result<(), Error> {
    if !store::external_address_is_taken(tx, network.id, address).await? {
        chosen.insert(address);
    }
    Ok(())
}

fn random() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    // Six bits of a version 4 UUID are always the same; the halves together have none of those in one place.
    high ^ low
}
