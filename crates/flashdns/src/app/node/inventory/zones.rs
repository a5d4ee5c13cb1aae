//! Zones and their record sets, in the views of their VPCs.

use photon_resource::{RecordSetId, VpcId, ZoneId};

use super::{DesiredZone, Inventory, insert, remove};
use crate::model::{RecordSet, Zone};

impl Inventory {
    pub(super) fn apply_zone(&mut self, id: ZoneId, zone: Option<Zone>) {
        if self.zones.get(&id) == zone.as_ref() {
            return;
        }
        self.revision += 1;
        if let Some(before) = self.zones.remove(&id) {
            for vpc in before.vpc_ids {
                self.touch(vpc);
                remove(&mut self.zones_of_vpc, &vpc, id);
            }
        }
        if let Some(zone) = zone {
            for vpc in &zone.vpc_ids {
                self.touch(*vpc);
                insert(&mut self.zones_of_vpc, *vpc, id);
            }
            self.zones.insert(id, zone);
        }
    }

    pub(super) fn apply_record_set(&mut self, id: RecordSetId, set: Option<RecordSet>) {
        if self.record_sets.get(&id) == set.as_ref() {
            return;
        }
        self.revision += 1;
        if let Some(before) = self.record_sets.remove(&id) {
            remove(&mut self.sets_of_zone, &before.zone_id, id);
            self.touch_zone(before.zone_id);
        }
        if let Some(set) = set {
            insert(&mut self.sets_of_zone, set.zone_id, id);
            self.touch_zone(set.zone_id);
            self.record_sets.insert(id, set);
        }
    }

    fn touch_zone(&mut self, zone: ZoneId) {
        let vpcs = self.zones.get(&zone).map(|zone| zone.vpc_ids.clone());
        for vpc in vpcs.into_iter().flatten() {
            self.touch(vpc);
        }
    }

    pub(super) fn zones_in(&self, vpc: VpcId) -> Vec<DesiredZone<'_>> {
        let zones = self.zones_of_vpc.get(&vpc).into_iter().flatten();
        let zone = |id| {
            let sets = self.sets_of_zone.get(id).into_iter().flatten();
            Some(DesiredZone {
                zone: self.zones.get(id)?,
                record_sets: sets.filter_map(|id| self.record_sets.get(id)).collect(),
            })
        };
        zones.filter_map(zone).collect()
    }
}
