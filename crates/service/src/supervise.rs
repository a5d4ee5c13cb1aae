//! The right to open streams, asked for again and again: together for all streams of a principal.
//!
//! A stream is one right (an action on a resource) of one token. Rights that are the same are one, however many streams
//! there are; rights to the same action are asked for in one question. A principal that has several kinds of streams, or
//! several tokens, has them asked for in turn. So what IAM is asked depends on how many watch, not on how much they watch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

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
    /// Returns when the right is lost (the token was revoked or the role taken away; the token ended and is of no session, or
    /// its session ended), with why. Dropping the future loses nothing.
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
        self.supervise_as(caller, action, resource, attributes, false)
    }

    /// As [`supervise`](Self::supervise), of a call that was judged when it began, such as an upload of hours: that a token
    /// without a session ends is no loss, and from then on nothing is asked. Such a call needs a bound of its own.
    pub fn supervise_judged(
        &self,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
    ) -> Supervision {
        self.supervise_as(caller, action, resource, attributes, true)
    }

    fn supervise_as(
        &self,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
        judged_once: bool,
    ) -> Supervision {
        let (told, lost) = oneshot::channel();
        let asking = self.asking_of(caller.claims.principal_id);
        let stream = Stream { told, judged_once };
        asking.add(caller, action, resource, attributes, stream);
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
                unasked: Mutex::default(),
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
    /// Those that need no right any more, as long as they last.
    unasked: Mutex<Vec<Stream>>,
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

/// An open stream, which is told when its right is lost.
#[derive(Debug)]
struct Stream {
    told: oneshot::Sender<Error>,
    /// It was judged when it began, and needs no token to its end.
    judged_once: bool,
}

/// What can be asked for in one question, but for its size: the same token, from the same address, and the same action.
#[derive(Debug)]
struct Group {
    caller: Caller,
    action: String,
    /// When all were permitted last.
    permitted: Instant,
    /// They were permitted after their token had ended: by its session.
    by_session: bool,
    rights: BTreeMap<Right, Vec<Stream>>,
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
            streams.retain(|stream| !stream.told.is_closed());
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
    /// Its token had ended when it came.
    had_ended: bool,
    questions: Vec<Vec<Right>>,
}

impl Asking {
    fn add(
        &self,
        caller: Caller,
        action: String,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
        stream: Stream,
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
                    by_session: false,
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

    fn unasked(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        self.unasked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose turn it is; they are last from now on.
    fn turns(&self) -> Vec<Turn> {
        let mut groups = self.groups();
        groups.retain_mut(Group::tidy);
        self.unasked().retain(|stream| !stream.told.is_closed());
        let now = groups.len().div_ceil(ROUNDS);
        let turns = groups[..now].iter().map(|group| Turn {
            caller: group.caller.clone(),
            action: group.action.clone(),
            had_ended: group.caller.claims.expires_at <= SystemTime::now(),
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
                        let _ = stream
                            .told
                            .send(Guard::refusal(caller, action, &right.0, lost));
                    }
                }
                if let Some(group) = self
                    .groups()
                    .iter_mut()
                    .find(|it| it.is(&turn.caller, &turn.action))
                {
                    group.permitted = Instant::now();
                    // Only a session permits anything after that.
                    group.by_session |= turn.had_ended;
                }
            }
            // Whatever the token was used for.
            Err(Error::Unauthenticated(reason)) => {
                let is_its = |group: &Group| group.caller.token == turn.caller.token;
                if turn.had_ended {
                    self.ask_no_more(is_its);
                }
                if self.end(is_its, || Error::Unauthenticated(reason.clone()))
                    && let Some((name, _)) = turn.questions.iter().flatten().next()
                {
                    guard
                        .record(&turn.caller, &turn.action, name, &reason)
                        .await;
                }
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

    /// Asks no more for those of these groups that were judged when they began, unless a session has permitted them since.
    fn ask_no_more(&self, whose: impl Fn(&Group) -> bool) {
        let mut groups = self.groups();
        if groups.iter().any(|group| whose(group) && group.by_session) {
            return;
        }
        let mut unasked = self.unasked();
        for group in groups.iter_mut().filter(|group| whose(group)) {
            for streams in group.rights.values_mut() {
                unasked.extend(streams.extract_if(.., |stream| stream.judged_once));
            }
        }
    }

    /// Ends the streams of these groups; gives whether there were any.
    fn end(&self, ends: impl Fn(&Group) -> bool, error: impl Fn() -> Error) -> bool {
        let mut groups = self.groups();
        let mut any = false;
        for group in groups.iter_mut().filter(|group| ends(group)) {
            for stream in std::mem::take(&mut group.rights).into_values().flatten() {
                any = true;
                // The call may have ended by itself.
                let _ = stream.told.send(error());
            }
        }
        any
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
        let asked = guard.may_go_on(&turn.caller, &turn.action, resources.collect());
        let answers = question.iter().zip(asked.await?);
        refused.extend(
            answers
                .filter(|(_, allowed)| !allowed)
                .map(|(right, _)| right.clone()),
        );
    }
    Ok(refused)
}
