//! The stream of what a host is told, as messages: in pieces and changes to a host that accepts them, whole each time to
//! one that does not.

use std::collections::VecDeque;

use photon_api::desired::{DesiredMessage, Kind, MESSAGE_BYTES};
use photon_api::plasmavmc::v1::DesiredVms;
use photon_resource::Error;
use photon_service::Supervision;

use crate::app::{DesiredWatch, News, Wanted};
use crate::convert;

/// Tells one host.
pub struct Telling {
    watch: DesiredWatch,
    supervision: Supervision,
    form: Form,
    waiting: VecDeque<DesiredVms>,
}

/// What messages are made with.
pub struct Form {
    /// Largest packet of guests, in bytes.
    pub guest_mtu: u32,
    /// What revisions are of.
    pub store_epoch: String,
    /// To a host that accepts no changes: everything that it was told.
    pub whole: Option<DesiredVms>,
}

impl Telling {
    /// Tells what `watch` does, as long as `supervision` does not object.
    pub fn new(watch: DesiredWatch, supervision: Supervision, form: Form) -> Self {
        Self {
            watch,
            supervision,
            form,
            waiting: VecDeque::new(),
        }
    }

    /// The next message.
    ///
    /// Errors: the host's right to it was lost, or the store failed.
    pub async fn next(&mut self) -> Result<DesiredVms, Error> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            let news = tokio::select! {
                news = self.watch.next() => news?,
                error = self.supervision.lost() => return Err(error),
            };
            self.waiting.extend(self.form.messages(news));
        }
    }
}

impl Form {
    fn messages(&mut self, news: News) -> Vec<DesiredVms> {
        let vms = news.vms.iter().map(|wanted| match wanted {
            Wanted::Placed(vm, images) => convert::desired_to_wire(vm, images, self.guest_mtu),
            Wanted::Left(left) => convert::left_to_wire(left),
        });
        let mut message = DesiredVms {
            vms: vms.collect(),
            removed_vm_ids: news.removed.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        message.vms.sort_by(|one, other| one.id.cmp(&other.id));
        let (epoch, revision) = (&self.store_epoch, news.revision);
        if let Some(whole) = &mut self.whole {
            if news.whole {
                *whole = message;
            } else {
                whole.amend(message);
            }
            whole.label(Kind::Whole, epoch, revision);
            return vec![whole.clone()];
        }
        let kind = if news.whole {
            Kind::Full { more: false }
        } else {
            Kind::Change { more: false }
        };
        message.label(kind, epoch, revision);
        message.pieces(MESSAGE_BYTES)
    }
}

#[cfg(test)]
mod tests;
