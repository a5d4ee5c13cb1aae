//! Names: views of VPCs, down to a single name. A VM that comes or goes is a hundred bytes for each host of its VPC.

use prost::Message;

use super::{
    DesiredMessage, Keyed, Kind, amend_list, difference_lists, label, labelled, told_whole,
};
use crate::flashdns::v1 as pb;

impl DesiredMessage for pb::DesiredNames {
    label!(pb);

    fn amend(&mut self, message: Self) -> bool {
        let mut changed = amend_list(&mut self.views, &message.removed_view_ids, message.views);
        if let Some(given) = message.suffix {
            changed |= self.suffix.as_ref() != Some(&given);
            self.suffix = Some(given);
        }
        changed
    }

    fn difference(before: &Self, after: &Self) -> Self {
        let (views, removed_view_ids) = difference_lists(&before.views, &after.views);
        let suffix = after.suffix.clone();
        Self {
            views,
            removed_view_ids,
            suffix: suffix.filter(|_| before.suffix != after.suffix),
            ..Self::default()
        }
    }

    fn pieces(mut self, limit: usize) -> Vec<Self> {
        let views = std::mem::take(&mut self.views);
        let mut pieces = Pieces {
            limit,
            done: Vec::new(),
            size: 0,
            current: Self::default(),
        };
        pieces.add(Self {
            removed_view_ids: std::mem::take(&mut self.removed_view_ids),
            suffix: self.suffix.clone(),
            ..Self::default()
        });
        for view in views {
            pieces.add_view(view);
        }
        pieces.done.push(pieces.current);
        labelled(pieces.done, &self)
    }

    fn is_empty(&self) -> bool {
        self.views.is_empty() && self.removed_view_ids.is_empty() && self.suffix.is_none()
    }
}

/// Messages that are being filled.
struct Pieces {
    limit: usize,
    done: Vec<pb::DesiredNames>,
    /// At most that of `current`, in bytes: what frames the things in it is counted with each.
    size: usize,
    current: pb::DesiredNames,
}

impl Pieces {
    /// Adds the view, then each thing of it with as much around it as says where it belongs, and what is replaced with it.
    fn add_view(&mut self, mut view: pb::DesiredView) {
        let names = std::mem::take(&mut view.names);
        let zones = std::mem::take(&mut view.zones);
        let frame = pb::DesiredView {
            id: view.id.clone(),
            gateways: view.gateways.clone(),
            networks: view.networks.clone(),
            ..Default::default()
        };
        self.add(of_view(view));
        for name in names {
            self.add(of_view(pb::DesiredView {
                names: vec![name],
                ..frame.clone()
            }));
        }
        for mut zone in zones {
            let sets = std::mem::take(&mut zone.record_sets).into_iter();
            let inner = pb::DesiredZone {
                removed_record_set_ids: Vec::new(),
                ..zone.clone()
            };
            let sets = sets.map(|set| pb::DesiredZone {
                record_sets: vec![set],
                ..inner.clone()
            });
            for zone in std::iter::once(zone).chain(sets) {
                self.add(of_view(pb::DesiredView {
                    zones: vec![zone],
                    ..frame.clone()
                }));
            }
        }
    }

    fn add(&mut self, atom: pb::DesiredNames) {
        let more = atom.encoded_len();
        if self.size > 0 && self.size + more > self.limit {
            self.done.push(std::mem::take(&mut self.current));
            self.size = 0;
        }
        self.size += more;
        append(&mut self.current, atom);
    }
}

fn of_view(view: pb::DesiredView) -> pb::DesiredNames {
    pb::DesiredNames {
        views: vec![view],
        ..Default::default()
    }
}

/// Adds to the end of a message what comes next in the same order: not what it means, but what is said.
fn append(into: &mut pb::DesiredNames, atom: pb::DesiredNames) {
    into.removed_view_ids.extend(atom.removed_view_ids);
    into.suffix = into.suffix.take().or(atom.suffix);
    for view in atom.views {
        let Some(last) = into.views.last_mut().filter(|last| last.id == view.id) else {
            into.views.push(view);
            continue;
        };
        last.names.extend(view.names);
        for zone in view.zones {
            match last.zones.last_mut() {
                Some(known) if known.id == zone.id => known.record_sets.extend(zone.record_sets),
                _ => last.zones.push(zone),
            }
        }
    }
}

impl Keyed for pb::DesiredView {
    fn id(&self) -> &str {
        &self.id
    }

    fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    fn amend(&mut self, given: Self) -> bool {
        let mut changed = self.gateways != given.gateways || self.networks != given.networks;
        self.gateways = given.gateways;
        self.networks = given.networks;
        changed |= amend_list(&mut self.names, &given.removed_name_ids, given.names);
        changed |= amend_list(&mut self.zones, &given.removed_zone_ids, given.zones);
        changed
    }

    fn difference(before: &Self, after: &Self) -> Option<Self> {
        if before == after {
            return None;
        }
        let (names, removed_name_ids) = difference_lists(&before.names, &after.names);
        let (zones, removed_zone_ids) = difference_lists(&before.zones, &after.zones);
        Some(Self {
            id: after.id.clone(),
            gateways: after.gateways.clone(),
            networks: after.networks.clone(),
            names,
            removed_name_ids,
            zones,
            removed_zone_ids,
        })
    }
}

impl Keyed for pb::DesiredZone {
    fn id(&self) -> &str {
        &self.id
    }

    fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    fn amend(&mut self, given: Self) -> bool {
        let mut changed = self.name != given.name;
        self.name = given.name;
        let removed = &given.removed_record_set_ids;
        changed |= amend_list(&mut self.record_sets, removed, given.record_sets);
        changed
    }

    fn difference(before: &Self, after: &Self) -> Option<Self> {
        if before == after {
            return None;
        }
        let (record_sets, removed_record_set_ids) =
            difference_lists(&before.record_sets, &after.record_sets);
        Some(Self {
            id: after.id.clone(),
            name: after.name.clone(),
            record_sets,
            removed_record_set_ids,
        })
    }
}

told_whole!(pb::DesiredName);
told_whole!(pb::DesiredRecordSet);
