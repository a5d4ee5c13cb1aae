//! The peerings of all VPCs, as hosts are told them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use photon_resource::{PeeringId, VpcId};

use super::inventory::{remove, set};
use crate::model::{Peering, PeeringState};

/// A peering on a host: both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredPeering<'a> {
    pub asker: &'a Peering,
    pub asked: &'a Peering,
}

/// One side of each peering of all VPCs.
#[derive(Debug, Default)]
pub(super) struct Peerings {
    all: HashMap<PeeringId, Peering>,
    of_vpc: HashMap<VpcId, BTreeSet<PeeringId>>,
}

impl Peerings {
    /// The VPCs that this concerns.
    pub fn set(&mut self, id: PeeringId, peering: Option<Peering>) -> Vec<VpcId> {
        let known = [self.all.get(&id), peering.as_ref()].into_iter().flatten();
        let vpcs = known.flat_map(|it| [it.vpc_id, it.peer.vpc_id]).collect();
        // Neither VPC of it ever changes.
        match (&peering, self.all.get(&id)) {
            (Some(now), _) => drop(self.of_vpc.entry(now.vpc_id).or_default().insert(id)),
            (None, Some(before)) => remove(&mut self.of_vpc, &before.vpc_id, id),
            (None, None) => {}
        }
        set(&mut self.all, id, peering);
        vpcs
    }

    /// Those of a VPC that are active on both sides.
    pub fn of(&self, vpc: VpcId) -> impl Iterator<Item = DesiredPeering<'_>> {
        let ids = self.of_vpc.get(&vpc).into_iter().flatten();
        ids.filter_map(|id| {
            let active = |id: &PeeringId| {
                let side = self.all.get(id)?;
                (side.state == PeeringState::Active).then_some(side)
            };
            let one = active(id)?;
            let other = active(&one.other?.id)?;
            let (asker, asked) = match one.asked_by_peer {
                true => (other, one),
                false => (one, other),
            };
            Some(DesiredPeering { asker, asked })
        })
    }

    /// Those of any of some VPCs, in the order of the ids of the sides that asked.
    pub fn of_any(&self, vpcs: impl Iterator<Item = VpcId>) -> Vec<DesiredPeering<'_>> {
        let all = vpcs.flat_map(|vpc| self.of(vpc));
        let by_id: BTreeMap<PeeringId, _> = all.map(|it| (it.asker.id, it)).collect();
        by_id.into_values().collect()
    }
}

impl DesiredPeering<'_> {
    /// Both VPCs.
    pub fn vpcs(&self) -> [VpcId; 2] {
        [self.asker.vpc_id, self.asked.vpc_id]
    }
}
