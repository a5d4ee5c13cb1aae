//! The right to open streams, asked for again and again: together for all streams of a principal.
//!
//! A stream is one right (an action on a resource) of one token. Rights that are the same are one, however many streams
//! there are; rights to the same action are asked for in one question. A principal that has several kinds of streams, or
//! several tokens, has them asked for in turn. So what IAM is asked depends on how many watch, not on how much they watch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use photon_resource::{Caller, Described, Error, PrincipalId, ResourceName};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::Guard;

#[cfg(test)]
mod tests;

/// How soon the loss of a right ends an open stream of who has streams of one kind only.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// And at most, in rounds of [`ASKED_EVERY`], of who has many: as many questions are asked in a round as that takes.
const ROUNDS: usize = 5;
/// How long an open stream goes on while IAM can't be asked, so that its restart ends nobody's console.
const UNASKED_AT_MOST: Duration = Duration::from_secs(10);
/// How many rights are in one question, at most, and how many bytes they may have together: IAM takes 1000 in a message
/// of 4 MiB.
const RIGHTS: usize = 500;
const RIGHTS_BYTES: usize = 512 * 1024;

/// Watches over a long call's right to go on. Dropped with the call.
#[derive(Debug)]
pub struct Supervision {
    lost: oneshot::Receiver<Error>,
    _asking: Arc<Asking>,
}

impl Supervision {
    /// Returns when the right is lost (the token was revoked or ended, the role was taken away), with why.
    /// Dropping the future loses nothing.
    pub async fn lost(&mut self) -> Error {
        let told = (&mut self.lost).await;
        told.unwrap_or_else(|_| Error::internal("the supervision of a call has ended"))
    }
}

impl Guard {
    /// Begins to watch over the right to a stream: `caller` was permitted `action` on `resource`, which has
    /// `attributes`, just now.
    pub fn supervise(
        &self,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
    ) -> Supervision {
        let (told, lost) = oneshot::channel();
        let asking = self.asking_of(caller.claims.principal_id);
        asking.add(caller, action, resource, attributes, told);
        Supervision {
            lost,
            _asking: asking,
        }
    }

    /// What asks for this principal's streams; begun if it has none yet.
    fn asking_of(&self, principal: PrincipalId) -> Arc<Asking> {
        let all = self.open_streams();
        let mut known = all.lock();
        if let Some(asking) = known.get(&principal).and_then(Weak::upgrade) {
            return asking;
        }
        let asking = Arc::new_cyclic(|this: &Weak<Asking>| {
            let task = tokio::spawn(ask_until_none_is_left(self.clone(), this.clone()));
            Asking {
                groups: Mutex::default(),
                principal,
                all: Arc::clone(all),
                _task: AbortOnDropHandle::new(task),
            }
        });
        known.insert(principal, Arc::downgrade(&asking));
        asking
    }
}

/// Who has open streams, and what asks for each. A [`Guard`]'s clones share it.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams(Mutex<HashMap<PrincipalId, Weak<Asking>>>);

impl OpenStreams {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PrincipalId, Weak<Asking>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for all streams of one principal, as long as there is one.
#[derive(Debug)]
struct Asking {
    /// Those to be asked for next are first.
    groups: Mutex<Vec<Group>>,
    principal: PrincipalId,
    all: Arc<OpenStreams>,
    _task: AbortOnDropHandle<()>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut known = self.all.lock();
        // Another may have been begun for the same principal meanwhile.
        if let Some(asking) = known.get(&self.principal)
            && asking.strong_count() == 0
        {
            known.remove(&self.principal);
        }
    }
}

/// What can be asked for in one question, but for its size: the same token, from the same address, and the same action.
#[derive(Debug)]
struct Group {
    caller: Caller,
    action: String,
    /// When all were permitted last.
    permitted: Instant,
    rights: BTreeMap<Right, Vec<oneshot::Sender<Error>>>,
}

/// The full name of a resource, and what conditions can read of it.
type Right = (ResourceName, BTreeMap<String, String>);

impl Group {
    fn is(&self, caller: &Caller, action: &str) -> bool {
        self.caller.token == caller.token
            && self.caller.source == caller.source
            && self.action == action
    }

    /// Forgets streams that have ended; gives whether any is left.
    fn tidy(&mut self) -> bool {
        self.rights.retain(|_, streams| {
            streams.retain(|stream| !stream.is_closed());
            !streams.is_empty()
        });
        !self.rights.is_empty()
    }

    /// The questions about all of them.
    fn questions(&self) -> Vec<Vec<Right>> {
        let mut questions: Vec<Vec<Right>> = Vec::new();
        let mut bytes = 0;
        for right in self.rights.keys() {
            let (name, attributes) = right;
            let texts = attributes.iter().flat_map(|(key, value)| [key, value]);
            // And what the message adds to each text.
            let size = name.to_string().len() + texts.map(|text| text.len() + 8).sum::<usize>() + 8;
            match questions.last_mut() {
                Some(last) if last.len() < RIGHTS && bytes + size <= RIGHTS_BYTES => {
                    bytes += size;
                    last.push(right.clone());
                }
                _ => {
                    bytes = size;
                    questions.push(vec![right.clone()]);
                }
            }
        }
        questions
    }
}

/// A group as it is asked for.
struct Turn {
    caller: Caller,
    action: String,
    questions: Vec<Vec<Right>>,
}

impl Asking {
    fn add(
        &self,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
        stream: oneshot::Sender<Error>,
    ) {
        let right = (resource, attributes.into_iter().collect());
        let mut groups = self.groups();
        let group = match groups.iter().position(|group| group.is(&caller, &action)) {
            Some(at) => &mut groups[at],
            None => {
                groups.push(Group {
                    caller,
                    action,
                    permitted: Instant::now(),
                    rights: BTreeMap::new(),
                });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.rights.entry(right).or_default().push(stream);
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Vec<Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose turn it is; they are last from now on.
    fn turns(&self) -> Vec<Turn> {
        let mut groups = self.groups();
        groups.retain_mut(Group::tidy);
        let now = groups.len().div_ceil(ROUNDS);
        let turns = groups[..now].iter().map(|group| Turn {
            caller: group.caller.clone(),
            action: group.action.clone(),
            questions: group.questions(),
        });
        let turns = turns.collect();
        groups.rotate_left(now);
        turns
    }

    /// Carries out what was answered: streams whose right is lost are told.
    async fn answered(&self, guard: &Guard, turn: &Turn, answer: Result<Vec<Right>, Error>) {
        match answer {
            Ok(refused) => {
                for right in refused {
                    let streams = {
                        let mut groups = self.groups();
                        let mut mine = groups
                            .iter_mut()
                            .filter(|it| it.is(&turn.caller, &turn.action));
                        mine.next().and_then(|group| group.rights.remove(&right))
                    };
                    let lost = "the right that the stream began with is gone";
                    let (caller, action) = (&turn.caller, &turn.action);
                    // The streams of one right are one refusal.
                    guard.record(caller, action, &right.0, lost).await;
                    for stream in streams.into_iter().flatten() {
                        // The call may have ended by itself.
                        let _ = stream.send(Guard::refusal(caller, action, &right.0, lost));
                    }
                }
                if let Some(group) = self
                    .groups()
                    .iter_mut()
                    .find(|it| it.is(&turn.caller, &turn.action))
                {
                    group.permitted = Instant::now();
                }
            }
            // Whatever the token was used for.
            Err(Error::Unauthenticated(reason)) => {
                self.end(
                    |group| group.caller.token == turn.caller.token,
                    || Error::Unauthenticated(reason.clone()),
                );
            }
            Err(error) => {
                let unavailable = matches!(error, Error::Unavailable(_));
                let text = error.to_string();
                self.end(
                    |group| {
                        let patience = unavailable && group.permitted.elapsed() < UNASKED_AT_MOST;
                        group.is(&turn.caller, &turn.action) && !patience
                    },
                    || match unavailable {
                        true => Error::Unavailable(text.clone()),
                        false => Error::internal(text.clone()),
                    },
                );
            }
        }
    }

    /// Ends the streams of these groups.
    fn end(&self, ends: impl Fn(&Group) -> bool, error: impl Fn() -> Error) {
        let mut groups = self.groups();
        for group in groups.iter_mut().filter(|group| ends(group)) {
            for stream in std::mem::take(&mut group.rights).into_values().flatten() {
                // The call may have ended by itself.
                let _ = stream.send(error());
            }
        }
    }
}

async fn ask_until_none_is_left(guard: Guard, asking: Weak<Asking>) {
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        // It ends with the last stream.
        let Some(turns) = asking.upgrade().map(|asking| asking.turns()) else {
            return;
        };
        for turn in turns {
            let answer = ask(&guard, &turn).await;
            let Some(asking) = asking.upgrade() else {
                return;
            };
            asking.answered(&guard, &turn, answer).await;
        }
    }
}

/// What of the rights is refused now.
async fn ask(guard: &Guard, turn: &Turn) -> Result<Vec<Right>, Error> {
    let mut refused = Vec::new();
    for question in &turn.questions {
        let resources = question.iter().map(|(name, attributes)| Described {
            name: name.clone(),
            attributes: attributes.clone().into_iter().collect(),
        });
        let asked = guard.may_each(&turn.caller, &turn.action, resources.collect());
        let answers = question.iter().zip(asked.await?);
        refused.extend(
            answers
                .filter(|(_, allowed)| !allowed)
                .map(|(right, _)| right.clone()),
        );
    }
    Ok(refused)
}
