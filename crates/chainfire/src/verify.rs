//! The proof as a pure function over what was found in a chain.

use std::fmt;

use crate::cut::tells_of_cut;
use crate::{Event, Head};

/// What is stored at an event's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Number of the place (from its key).
    pub sequence: u64,
    /// The event, or why it cannot be read.
    pub event: Result<Event, String>,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Number of the first event that should be there: 1, or the one after those that were cut off.
    pub first: u64,
    /// How many events were found in order, from the first.
    pub events: u64,
    /// The last of them.
    pub head: Head,
    /// The first thing that is wrong; `None`: the chain is intact.
    pub problem: Option<Problem>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn intact(&self) -> bool {
        self.problem.is_none()
    }
}

/// The first event that was altered, removed or reordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its number.
    pub sequence: u64,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is not there, though a later one is.
    Missing,
    /// It is not there, though the chain's head says that there are this many.
    CutOff(u64),
    /// It is not there, though it was when the known head was kept.
    CutOffBelowKnown(u64),
    /// What is stored there is no event.
    Unreadable(String),
    /// What is stored there is the event of this number: it was moved.
    Moved(u64),
    /// What is stored there is of another organization's chain.
    OtherChain(String),
    /// Its content is not what its hash was made of.
    Altered,
    /// It was replaced by another event with a valid hash: the one after it continues something else.
    Replaced,
    /// It does not continue the event before it.
    NotLinked,
    /// It is not the event that the known head was made of: the chain was rewritten up to here.
    Rewritten,
    /// It differs from what the chain's head was made of.
    HeadDiffers,
    /// It comes after the chain's head: it was not appended by a server.
    BeyondHead(u64),
    /// The chain's head is gone, so events may be missing from here on.
    HeadMissing,
    /// The chain's head cannot be read, so events may be missing from here on.
    HeadUnreadable(String),
    /// Events up to this one are said to have been cut off, and no event tells of that.
    CutUntold,
    /// Where the chain was cut off cannot be read.
    StartUnreadable(String),
    /// The known head is of this event, which was cut off with those up to the given number.
    KnownCut(u64),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.sequence;
        match &self.kind {
            ProblemKind::Missing => write!(
                f,
                "event {number} was removed: it is missing, later ones exist"
            ),
            ProblemKind::CutOff(head) => write!(
                f,
                "event {number} was removed: the chain's head says that there are {head} events"
            ),
            ProblemKind::CutOffBelowKnown(known) => write!(
                f,
                "event {number} was removed: the known head says that there were {known} events"
            ),
            ProblemKind::Unreadable(why) => write!(f, "event {number} was altered: {why}"),
            ProblemKind::Moved(other) => write!(
                f,
                "event {number} was reordered: in its place is the event of number {other}"
            ),
            ProblemKind::OtherChain(other) => write!(
                f,
                "event {number} was replaced: in its place is an event of the chain of '{other}'"
            ),
            ProblemKind::Altered => {
                write!(
                    f,
                    "event {number} was altered: its content does not match its hash"
                )
            }
            ProblemKind::Replaced => write!(
                f,
                "event {number} was altered and given a new hash: the event after it continues another"
            ),
            ProblemKind::NotLinked => {
                write!(
                    f,
                    "event {number} was altered: it does not continue the event before it"
                )
            }
            ProblemKind::Rewritten => write!(
                f,
                "event {number} is not the one of the known head: the chain was rewritten up to there"
            ),
            ProblemKind::HeadDiffers => write!(
                f,
                "event {number} was altered: its hash is not that of the chain's head"
            ),
            ProblemKind::BeyondHead(head) => write!(
                f,
                "event {number} was added behind the chain's head, which is at {head}"
            ),
            ProblemKind::HeadMissing => write!(
                f,
                "the chain's head was removed: events from {number} on may be missing"
            ),
            ProblemKind::HeadUnreadable(why) => write!(
                f,
                "the chain's head was altered ({why}): events from {number} on may be missing"
            ),
            ProblemKind::CutUntold => write!(
                f,
                "events up to {number} were removed: the chain says that they were cut off for their age, and has no \
                 event of that"
            ),
            ProblemKind::StartUnreadable(why) => {
                write!(f, "where the chain begins was altered: {why}")
            }
            ProblemKind::KnownCut(last) => write!(
                f,
                "event {number}, of the known head, was cut off with those up to {last}: nothing is proved by it any \
                 more, so give a younger head; one that is younger than what is to be kept says that too much was cut"
            ),
        }
    }
}

/// Checks a chain event by event, in constant memory.
#[derive(Debug)]
pub struct Verifier {
    chain: String,
    /// The last event that was cut off.
    start: Head,
    /// An event told of that cut.
    told: bool,
    /// The stored head; `Ok(None)`: there is none, `Err`: it cannot be read.
    head: Result<Option<Head>, String>,
    known: Option<Head>,
    /// The last three events that were found in order, the latest first.
    last: [Head; 3],
    /// The last event does not continue the one before it, though its own hash is right. Which of the two
    /// was replaced shows in what comes after: a genuine one is continued by its successor.
    unlinked: bool,
    problem: Option<Problem>,
}

impl Verifier {
    /// For the chain of this name. `start` is the last event that was cut off ([`Head::EMPTY`]: none was), `head` what is
    /// stored as its head: `Ok(None)` if there is none, `Err` if it cannot be read. `known` is a head that was kept earlier.
    pub fn new(
        chain: &str,
        start: Head,
        head: Result<Option<Head>, String>,
        known: Option<Head>,
    ) -> Self {
        let known = known.filter(|known| known.sequence > 0);
        let rewritten =
            known.is_some_and(|known| known.sequence == start.sequence && known.hash != start.hash);
        Verifier {
            chain: chain.to_owned(),
            start,
            told: start.sequence == 0,
            head,
            known,
            last: [start, Head::EMPTY, Head::EMPTY],
            unlinked: false,
            problem: rewritten.then_some(Problem {
                sequence: start.sequence,
                kind: ProblemKind::Rewritten,
            }),
        }
    }

    /// Takes what was found at the next place. `false`: something is wrong, no more is needed.
    pub fn check(&mut self, found: Found) -> bool {
        if self.problem.is_none()
            && let Err(problem) = self.take(found)
        {
            self.problem = Some(problem);
        }
        self.problem.is_none()
    }

    fn take(&mut self, found: Found) -> Result<(), Problem> {
        if self.unlinked {
            let last = self.last[0].hash;
            let continued = matches!(&found.event, Ok(event) if event.previous_hash == last);
            return Err(self.blame(continued));
        }
        let sequence = self.last[0].sequence + 1;
        let problem = |kind| Err(Problem { sequence, kind });
        if let Ok(Some(head)) = self.head
            && sequence > head.sequence
        {
            return problem(ProblemKind::BeyondHead(head.sequence));
        }
        if found.sequence > sequence {
            return problem(ProblemKind::Missing);
        }
        if found.sequence < sequence {
            let why = "its key is not of the form that events have".to_owned();
            return problem(ProblemKind::Unreadable(why));
        }
        let event = match found.event {
            Ok(event) => event,
            Err(why) => return problem(ProblemKind::Unreadable(why)),
        };
        if event.hash != event.compute_hash() {
            return problem(ProblemKind::Altered);
        }
        if event.org_id != self.chain {
            return problem(ProblemKind::OtherChain(event.org_id));
        }
        if event.sequence != sequence {
            return problem(ProblemKind::Moved(event.sequence));
        }
        if let Some(known) = self.known
            && known.sequence == sequence
            && known.hash != event.hash
        {
            return problem(ProblemKind::Rewritten);
        }
        self.unlinked = event.previous_hash != self.last[0].hash;
        self.told |= tells_of_cut(&event, self.start);
        self.last = [event.head(), self.last[0], self.last[1]];
        Ok(())
    }

    /// Which of two events was replaced when the last one does not continue the one before it. The last one
    /// is genuine if something that came later holds its hash, unless the one before is known to be.
    fn blame(&self, continued: bool) -> Problem {
        let [last, before, _] = self.last;
        let last_is_genuine = continued || self.known == Some(last);
        if last_is_genuine && before.sequence > self.start.sequence && self.known != Some(before) {
            Problem {
                sequence: before.sequence,
                kind: ProblemKind::Replaced,
            }
        } else {
            Problem {
                sequence: last.sequence,
                kind: ProblemKind::NotLinked,
            }
        }
    }

    /// The result, after the last event.
    pub fn finish(mut self) -> Report {
        if self.problem.is_none() {
            self.problem = self.judge_end();
        }
        // An event that is blamed, and what comes after it, is not in order.
        let in_order = match &self.problem {
            Some(problem) if problem.sequence > self.start.sequence => (self.last.iter())
                .find(|head| head.sequence < problem.sequence)
                .copied()
                .unwrap_or(self.start),
            _ => self.last[0],
        };
        Report {
            first: self.start.sequence + 1,
            events: in_order.sequence - self.start.sequence,
            head: in_order,
            problem: self.problem,
        }
    }

    fn judge_end(&self) -> Option<Problem> {
        let Head { sequence, hash } = self.last[0];
        if self.unlinked {
            let continued = matches!(&self.head, Ok(Some(head)) if head.hash == hash);
            return Some(self.blame(continued));
        }
        let problem = |sequence, kind| Some(Problem { sequence, kind });
        if let Some(known) = self.known
            && known.sequence > sequence
        {
            return problem(sequence + 1, ProblemKind::CutOffBelowKnown(known.sequence));
        }
        let ended = match &self.head {
            Err(why) => problem(sequence + 1, ProblemKind::HeadUnreadable(why.clone())),
            Ok(None) if sequence > 0 => problem(sequence + 1, ProblemKind::HeadMissing),
            Ok(None) => None,
            Ok(Some(head)) if head.sequence > sequence => {
                problem(sequence + 1, ProblemKind::CutOff(head.sequence))
            }
            Ok(Some(head)) if head.hash != hash => problem(sequence, ProblemKind::HeadDiffers),
            Ok(Some(_)) => None,
        };
        let start = self.start.sequence;
        ended
            .or_else(|| match self.told {
                true => None,
                false => problem(start, ProblemKind::CutUntold),
            })
            .or_else(|| match self.known {
                Some(known) if known.sequence < start => {
                    problem(known.sequence, ProblemKind::KnownCut(start))
                }
                _ => None,
            })
    }
}

/// The whole proof at once of a chain of which nothing was cut off: [`Verifier`] over all that was found, in order of the
/// places.
pub fn verify_events(
    chain: &str,
    found: impl IntoIterator<Item = Found>,
    head: Option<Head>,
    known: Option<Head>,
) -> Report {
    let mut verifier = Verifier::new(chain, Head::EMPTY, Ok(head), known);
    for found in found {
        if !verifier.check(found) {
            break;
        }
    }
    verifier.finish()
}
