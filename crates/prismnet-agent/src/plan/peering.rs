//! Peerings: a pair of interfaces between the VRFs of two VPCs on every host with a port of either. Pure.
//!
//! ```text
//!   guest ─ bridge ─ VRF of A ─ prX ═ prY ─ VRF of B ─ bridge ─ guest, or tunnel to its host
//! ```
//! A pair of veth is where one VPC's connections end and the other's begin. Each end takes what is from the other side's range
//! and for its own. What is for a port of this host is tracked in the zone of the VPC that it comes into, where the port's
//! answers are known; what goes on to another host is not, as that host tracks it, and an answer that comes by another host's
//! pair than the question would be none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use photon_resource::PeeringId;
use sha2::{Digest, Sha256};

use super::desired::{Desired, Peering, Vpc};

/// Link-local addresses (RFC 3927) of which each pair has two, a /31 (RFC 3021).
const ADDRESSES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 128, 0), 17);
/// So many pairs have room there.
const PAIRS: u32 = 1 << 14;

/// One end of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// Its interface.
    pub name: String,
    /// The other end's.
    pub peer: String,
    /// The VPC that it is in.
    pub vpc: &'a Vpc,
    /// That VPC's range.
    pub own: Ipv4Net,
    /// The range of the VPC at the other end.
    pub other: Ipv4Net,
    /// Its address, and the other end's.
    pub address: Ipv4Addr,
    /// See `address`.
    pub gateway: Ipv4Addr,
}

/// Both ends of all peerings, the one of the side that asked first. Not of one whose VPCs are not both here.
pub fn ends(desired: &Desired) -> Vec<End<'_>> {
    let places = places(
        desired
            .peerings
            .iter()
            .map(|peering| peering.id())
            .collect(),
    );
    let pairs = desired.peerings.iter().filter_map(|peering| {
        let place = *places.get(&peering.id())?;
        pair(desired, peering, place)
    });
    pairs.flatten().collect()
}

fn pair<'a>(desired: &'a Desired, peering: &Peering, place: u32) -> Option<[End<'a>; 2]> {
    let first = u32::from(ADDRESSES.network()) + 2 * place;
    let addresses = [first, first + 1].map(Ipv4Addr::from);
    let vpc = |side: usize| {
        let mut vpcs = desired.vpcs.iter();
        vpcs.find(|vpc| vpc.id == peering.sides[side].vpc)
    };
    let end = |side: usize| {
        let other = 1 - side;
        Some(End {
            name: peering.sides[side].interface(),
            peer: peering.sides[other].interface(),
            vpc: vpc(side)?,
            own: peering.sides[side].net,
            other: peering.sides[other].net,
            address: addresses[side],
            gateway: addresses[other],
        })
    };
    Some([end(0)?, end(1)?])
}

/// A place for each pair, as conntrack zones are given: it depends on the id alone, unless two of a host want the same.
fn places(ids: BTreeSet<PeeringId>) -> BTreeMap<PeeringId, u32> {
    let mut taken = BTreeSet::new();
    let most = PAIRS as usize;
    let places = ids.into_iter().take(most).map(|id| {
        let digest = Sha256::digest(id.uuid().as_bytes());
        let mut place = u32::from(u16::from_be_bytes([digest[6], digest[7]])) % PAIRS;
        while !taken.insert(place) {
            place = (place + 1) % PAIRS;
        }
        (id, place)
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{id, peered};
    use super::*;

    #[test]
    fn each_pair_has_two_addresses_of_its_own() {
        let ids: BTreeSet<PeeringId> = (0..3000).map(id).collect();
        let places = places(ids.clone());
        let taken: BTreeSet<u32> = places.values().copied().collect();
        assert_eq!((places.len(), taken.len()), (3000, 3000));
        assert!(taken.iter().all(|place| *place < PAIRS));
        // What a peering has does not depend on what else is there, as a rule.
        let one = self::places(BTreeSet::from([id(7)]));
        let same = ids
            .iter()
            .filter(|it| self::places(BTreeSet::from([**it])).get(*it) == places.get(*it));
        assert!(same.count() > 2400);
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn ends_lead_to_each_other() {
        let desired = peered();
        let ends = ends(&desired);
        assert_eq!(ends.len(), 2);
        let [one, other] = [&ends[0], &ends[1]];
        assert_eq!((&one.name, &one.peer), (&other.peer, &other.name));
        assert_eq!((one.address, one.gateway), (other.gateway, other.address));
        assert_eq!((one.own, one.other), (other.other, other.own));
        assert!(ADDRESSES.contains(&one.address) && ADDRESSES.contains(&other.address));
        assert_ne!(one.vpc.id, other.vpc.id);
        let mut alone = desired.clone();
        alone.vpcs.pop();
        assert_eq!(self::ends(&alone), []);
    }
}
