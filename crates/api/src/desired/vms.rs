//! VMs: each is told whole.

use prost::Message;

use super::{
    DesiredMessage, Keyed, Kind, amend_list, difference_lists, label, labelled, told_whole,
};
use crate::plasmavmc::v1 as pb;

impl DesiredMessage for pb::DesiredVms {
    label!(pb);

    fn amend(&mut self, message: Self) -> bool {
        amend_list(&mut self.vms, &message.removed_vm_ids, message.vms)
    }

    fn difference(before: &Self, after: &Self) -> Self {
        let (vms, removed_vm_ids) = difference_lists(&before.vms, &after.vms);
        Self {
            vms,
            removed_vm_ids,
            ..Self::default()
        }
    }

    fn pieces(mut self, limit: usize) -> Vec<Self> {
        let vms = std::mem::take(&mut self.vms);
        let mut piece = Self {
            removed_vm_ids: std::mem::take(&mut self.removed_vm_ids),
            ..Self::default()
        };
        // Each has a label too.
        let mut label = Self::default();
        label.label(Kind::Full { more: true }, &self.store_epoch, self.revision);
        let label = label.encoded_len();
        let mut size = label + piece.encoded_len();
        let mut pieces = Vec::new();
        for vm in vms {
            let more = framed_len(&vm);
            if size > label && size + more > limit {
                pieces.push(std::mem::take(&mut piece));
                size = label;
            }
            size += more;
            piece.vms.push(vm);
        }
        pieces.push(piece);
        labelled(pieces, &self)
    }

    fn is_empty(&self) -> bool {
        self.vms.is_empty() && self.removed_vm_ids.is_empty()
    }
}

/// What it takes in a message: itself, its tag, its length.
fn framed_len(vm: &pb::DesiredVm) -> usize {
    let len = vm.encoded_len();
    1 + prost::length_delimiter_len(len) + len
}

told_whole!(pb::DesiredVm);
