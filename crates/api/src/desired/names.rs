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
        let mut current = Self {
            removed_view_ids: std::mem::take(&mut self.removed_view_ids),
            suffix: self.suffix.clone(),
            ..Self::default()
        };
        let mut size = current.encoded_len();
        let mut done = Vec::new();
        // What is told with each part of a view: all that is replaced by it, but its names.
        for mut view in views {
            let names = std::mem::take(&mut view.names);
            let frame = pb::DesiredView {
                removed_name_ids: Vec::new(),
                ..view.clone()
            };
            let mut part = view;
            let mut more = part.encoded_len();
            for name in names {
                let bytes = name.encoded_len();
                if size + more + bytes > limit && (size > 0 || !part.names.is_empty()) {
                    current
                        .views
                        .push(std::mem::replace(&mut part, frame.clone()));
                    done.push(std::mem::take(&mut current));
                    (size, more) = (0, part.encoded_len());
                }
                more += bytes;
                part.names.push(name);
            }
            if size + more > limit && size > 0 {
                done.push(std::mem::take(&mut current));
                size = 0;
            }
            size += more;
            current.views.push(part);
        }
        done.push(current);
        labelled(done, &self)
    }

    fn is_empty(&self) -> bool {
        self.views.is_empty() && self.removed_view_ids.is_empty() && self.suffix.is_none()
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
        changed
    }

    fn difference(before: &Self, after: &Self) -> Option<Self> {
        if before == after {
            return None;
        }
        let (names, removed_name_ids) = difference_lists(&before.names, &after.names);
        Some(Self {
            id: after.id.clone(),
            gateways: after.gateways.clone(),
            networks: after.networks.clone(),
            names,
            removed_name_ids,
        })
    }
}

told_whole!(pb::DesiredName);
