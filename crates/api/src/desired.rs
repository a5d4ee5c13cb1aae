//! What the parts of a stream of desired state mean: the sender's and the receiver's side of `DesiredPart`, in one
//! place, so that what is taken apart here is what is put together there.
//!
//! ```text
//!   sender:   pieces(whole), then pieces(difference(told, now)) with each change
//!   receiver: amend(&mut default, piece)…, then amend(&mut known, change)…
//! ```
//! For any two states `a` and `b` whose lists are in the order of their ids, `amend(a, difference(a, b))` is `b`, and
//! all `pieces` of `a` amended together are `a`. A receiver keeps its lists in that order.

mod names;
mod network;
mod vms;

/// How long a message of a stream may be about, in bytes: far below the 4 MiB that clients take, and enough for the
/// largest single thing (a VM with 64 KiB of user data and as much of keys).
pub const MESSAGE_BYTES: usize = 256 * 1024;

/// A message of a stream of desired state.
pub trait DesiredMessage: Clone + Default + PartialEq + Send + Sync + prost::Message {
    /// What the message holds; `None`: a part that this program does not know.
    fn kind(&self) -> Option<Kind>;
    /// The identity of the store, and its revision.
    fn position(&self) -> (&str, u64);
    /// Makes it a message that holds `kind`, as of this position.
    fn label(&mut self, kind: Kind, epoch: &str, revision: u64);
    /// Takes in a message: what it gives replaces what has its id, what it removes goes. Says whether anything is
    /// another now. Label and position are not looked at.
    fn amend(&mut self, message: Self) -> bool;
    /// What leads from one state to another.
    fn difference(before: &Self, after: &Self) -> Self;
    /// The same in messages of about `limit` bytes, the label and position of each that of this one.
    fn pieces(self, limit: usize) -> Vec<Self>;
    /// Whether it gives and removes nothing.
    fn is_empty(&self) -> bool;
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything.
    Whole,
    /// A piece of everything.
    Full {
        /// It is not the last.
        more: bool,
    },
    /// A change, or a piece of one.
    Change {
        /// It is not the last.
        more: bool,
    },
}

/// A thing in a list, known by its id.
trait Keyed: Clone + Default {
    fn id(&self) -> &str;
    /// Nothing but what says which it is.
    fn of(id: &str) -> Self;
    /// Takes in what is said of it. Says whether it is another now.
    fn amend(&mut self, given: Self) -> bool;
    /// What leads from one to the other; `None`: nothing.
    fn difference(before: &Self, after: &Self) -> Option<Self>;
}

fn find<K: Keyed>(list: &[K], id: &str) -> Result<usize, usize> {
    // Most often it is the last: a list is built in its order.
    match list.last() {
        Some(last) if last.id() < id => Err(list.len()),
        _ => list.binary_search_by(|known| known.id().cmp(id)),
    }
}

fn amend_list<K: Keyed>(list: &mut Vec<K>, removed: &[String], given: Vec<K>) -> bool {
    let mut changed = false;
    for id in removed {
        if let Ok(at) = find(list, id) {
            list.remove(at);
            changed = true;
        }
    }
    for item in given {
        let at = match find(list, item.id()) {
            Ok(at) => at,
            Err(at) => {
                list.insert(at, K::of(item.id()));
                changed = true;
                at
            }
        };
        changed |= list[at].amend(item);
    }
    changed
}

/// What of `after` is new or another, and the ids that are not in it any more.
fn difference_lists<K: Keyed>(before: &[K], after: &[K]) -> (Vec<K>, Vec<String>) {
    let given = after
        .iter()
        .filter_map(|item| match find(before, item.id()) {
            Ok(at) => K::difference(&before[at], item),
            Err(_) => Some(item.clone()),
        });
    let removed = before.iter().map(Keyed::id);
    let removed = removed.filter(|id| find(after, id).is_err());
    (given.collect(), removed.map(str::to_owned).collect())
}

/// Labels pieces: all but the last say that there are more.
fn labelled<D: DesiredMessage>(mut pieces: Vec<D>, whole: &D) -> Vec<D> {
    let (epoch, revision) = whole.position();
    let last = pieces.len().saturating_sub(1);
    for (index, piece) in pieces.iter_mut().enumerate() {
        let more = index < last;
        let kind = match whole.kind() {
            Some(Kind::Change { .. }) => Kind::Change { more },
            _ => Kind::Full { more },
        };
        piece.label(kind, epoch, revision);
    }
    pieces
}

/// The fields of a message's label, alike in every such message.
macro_rules! label {
    ($package:ident) => {
        fn kind(&self) -> Option<Kind> {
            let more = self.more;
            Some(match $package::DesiredPart::try_from(self.part).ok()? {
                $package::DesiredPart::Unspecified => Kind::Whole,
                $package::DesiredPart::Full => Kind::Full { more },
                $package::DesiredPart::Change => Kind::Change { more },
            })
        }

        fn position(&self) -> (&str, u64) {
            (&self.store_epoch, self.revision)
        }

        fn label(&mut self, kind: Kind, epoch: &str, revision: u64) {
            let (part, more) = match kind {
                Kind::Whole => ($package::DesiredPart::Unspecified, false),
                Kind::Full { more } => ($package::DesiredPart::Full, more),
                Kind::Change { more } => ($package::DesiredPart::Change, more),
            };
            self.set_part(part);
            self.more = more;
            epoch.clone_into(&mut self.store_epoch);
            self.revision = revision;
        }
    };
}
use label;

/// A thing that is told whole: what is given replaces it.
macro_rules! told_whole {
    ($message:ty) => {
        impl Keyed for $message {
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
                let changed = *self != given;
                *self = given;
                changed
            }

            fn difference(before: &Self, after: &Self) -> Option<Self> {
                (before != after).then(|| after.clone())
            }
        }
    };
}
use told_whole;

#[cfg(test)]
mod tests;
