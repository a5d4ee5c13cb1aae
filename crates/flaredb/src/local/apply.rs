use std::collections::BTreeMap;

use super::{State, View};
use crate::db::{check_whole, check_writes};
use crate::{Committed, Compare, Derive, Error, LeaseId, Op};

/// A commit as it was asked for.
#[derive(Debug)]
pub(crate) struct Commit {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
    pub derived: Vec<Derive>,
}

/// Why [`apply`] did not answer.
pub(crate) enum Failed {
    /// This commit was refused; nothing was written for it.
    Refused(Error),
    /// The storage failed, and with it the whole transaction.
    Storage(Error),
}

/// Compares and writes within `view`; raises the state's revision if something changed.
pub(crate) fn apply(
    view: &mut dyn View,
    state: &mut State,
    has_lease: impl Fn(LeaseId) -> bool,
    commit: &Commit,
) -> Result<Committed, Failed> {
    // Everything that can refuse the commit comes before the first write: others share the transaction.
    if let Some(key) = first_conflict(view, &commit.compares)? {
        return Ok(Committed::Conflict { key });
    }
    let mut compares = commit.compares.len();
    let mut derived_ops = Vec::new();
    for derive in &commit.derived {
        let mut values = Vec::with_capacity(derive.reads.len());
        for key in &derive.reads {
            values.push(view.get(key).map_err(Failed::Storage)?);
        }
        let derived = (derive.make)(&values).map_err(Failed::Refused)?;
        check_writes(&derived.compares, &derived.ops).map_err(Failed::Refused)?;
        if let Some(key) = first_conflict(view, &derived.compares)? {
            return Ok(Committed::Conflict { key });
        }
        compares += derive.reads.len() + derived.compares.len();
        derived_ops.push(derived.ops);
    }
    let ops = || commit.ops.iter().chain(derived_ops.iter().flatten());
    check_whole(compares, ops()).map_err(Failed::Refused)?;
    // In order of key, as they are told.
    let writes: BTreeMap<&str, &Op> = ops().map(|op| (op.key(), op)).collect();
    for op in writes.values() {
        if let Op::Put {
            lease: Some(lease), ..
        } = op
            && !has_lease(*lease)
        {
            return Err(Failed::Refused(Error::LeaseNotFound(*lease)));
        }
    }
    write(view, state, writes.into_values()).map_err(Failed::Storage)?;
    Ok(Committed::Done(state.revision))
}

fn first_conflict(view: &mut dyn View, compares: &[Compare]) -> Result<Option<String>, Failed> {
    for compare in compares {
        let modified = view.modified(compare.key()).map_err(Failed::Storage)?;
        let holds = match compare {
            Compare::Absent(_) => modified.is_none(),
            Compare::Present(_) => modified.is_some(),
            Compare::Modified(_, revision) => modified == Some(*revision),
        };
        if !holds {
            return Ok(Some(compare.key().to_owned()));
        }
    }
    Ok(None)
}

/// Makes the writes, which are of different keys, as the next revision; none if nothing changes.
pub(crate) fn write<'a>(
    view: &mut dyn View,
    state: &mut State,
    writes: impl Iterator<Item = &'a Op>,
) -> Result<(), Error> {
    let revision = state.revision + 1;
    let mut changed = false;
    let mut bytes = 0;
    for op in writes {
        match op {
            Op::Put { key, value, lease } => {
                view.put(key, value, *lease, revision)?;
                view.log(revision, key, Some(value))?;
                changed = true;
                bytes += (key.len() + value.len()) as u64;
            }
            Op::Delete { key } => {
                if view.delete(key)? {
                    view.log(revision, key, None)?;
                    changed = true;
                    bytes += key.len() as u64;
                }
            }
        }
    }
    if changed {
        state.revision = revision;
        state.logged.push((revision, bytes));
    }
    Ok(())
}
