//! Follows what somebody else keeps: an agent what its host should have, a server the resources of another.
//!
//! ```text
//!   open ──► Full, Full, Full(last) ──► known(state) ──► Change ──► known(state) ──► Change ──► …
//!    ▲        or Whole                                                   │
//!    └──── delay ◄──── ended ◄── the stream ends, fails, or breaks its promises
//! ```
//!
//! The state may be of any size, since it comes in pieces; what comes later is what changed. Each message says as of
//! which revision of which store it is. A change of another store, or of an earlier revision than is known, breaks the
//! stream: it is opened again, from nothing. What was known stays known until everything has come anew.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::Backoff;

/// As of when something is: a revision, of the store with this identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Revisions of different stores say nothing of each other. Empty: the sender did not say.
    pub epoch: String,
    /// Grows with each change.
    pub revision: u64,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    Whole,
    /// A piece of everything.
    Full {
        /// It is not the last.
        more: bool,
    },
    /// What changed, or a piece of that. One without content says that nothing did up to its revision.
    Change {
        /// It is not the last.
        more: bool,
    },
}

/// What is followed, as far as it is known. The default is nothing at all.
pub trait Followed: Default + Send + Sync + 'static {
    /// What it is told in.
    type Message: Send + 'static;

    /// What a message holds, as of when; `None`: nothing that this program understands.
    fn part(message: &Self::Message) -> Option<(Part, Position)>;

    /// Takes a message in: what it gives replaces what is known of the same, what it removes goes, the rest stays.
    /// Says whether anything is another now.
    fn merge(&mut self, message: Self::Message) -> bool;
}

/// Where what is followed comes from, and who is told of it.
#[async_trait]
pub trait Feed: Send {
    /// What is followed.
    type State: Followed;
    /// Why a stream can't be opened or has failed.
    type Error: fmt::Display + Send + Sync;

    /// Begins a stream: with everything, or, if the sender can, with what changed since `known`.
    async fn open(
        &mut self,
        known: Option<&Position>,
    ) -> Result<BoxStream<'static, Result<MessageOf<Self>, Self::Error>>, Self::Error>;

    /// It is this now. Called when everything has come and after each change; changes that have come together are told
    /// together.
    async fn known(&mut self, state: &Self::State, at: &Position);

    /// Nothing changed up to here.
    async fn progress(&mut self, at: &Position) {
        let _ = at;
    }

    /// The stream has ended, and is opened again after the delay. What was told stays true as far as is known.
    async fn ended(&mut self, why: &Ended<Self::Error>, retry_in: Duration);
}

/// A feed's messages.
pub type MessageOf<F> = <<F as Feed>::State as Followed>::Message;

/// Why a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<E> {
    /// The other side closed it in good order.
    Closed,
    /// It could not be opened, or failed.
    Failed(E),
    /// What came does not follow from what came before.
    Broken(Broken),
}

impl<E: fmt::Display> fmt::Display for Ended<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side ended the stream"),
            Self::Failed(error) => error.fmt(f),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}

/// How a stream broke its promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A message of a kind that this program does not know.
    Unknown,
    /// A change, and what it changes has not come.
    WithoutState,
    /// A change of another store than what is known.
    OtherStore,
    /// A change that is older than what is known.
    Back {
        /// As of which revision it is.
        to: u64,
        /// What is known.
        from: u64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("a message of an unknown kind came"),
            Self::WithoutState => f.write_str("a change came before the state that it changes"),
            Self::OtherStore => f.write_str("a change of another store came"),
            Self::Back { to, from } => {
                write!(f, "a change of revision {to} came after revision {from}")
            }
        }
    }
}

/// Puts together what is known from what comes. Pure.
#[derive(Debug)]
pub struct Assembly<S: Followed> {
    state: S,
    /// `None`: everything has to come (again).
    at: Option<Position>,
    /// The pieces of everything that have come.
    full: Option<S>,
    /// The pieces of a change that have come.
    change: Vec<S::Message>,
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// More of the same has to come.
    Piece,
    /// The state is another one.
    News,
    /// The state is as it was, as of a later revision.
    Progress,
}

impl Taken {
    /// What came of two messages, one after the other.
    fn and(self, next: Self) -> Self {
        match self {
            Self::News => self,
            _ => next,
        }
    }
}

impl<S: Followed> Default for Assembly<S> {
    fn default() -> Self {
        Self {
            state: S::default(),
            at: None,
            full: None,
            change: Vec::new(),
        }
    }
}

impl<S: Followed> Assembly<S> {
    /// What is known and as of when; `None` until everything has come.
    pub fn known(&self) -> Option<(&S, &Position)> {
        Some((&self.state, self.at.as_ref()?))
    }

    /// What is known, of whatever time.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// A new stream begins: what the last one left unfinished is of no use.
    pub fn begin(&mut self) {
        self.full = None;
        self.change.clear();
    }

    /// Takes a message in.
    ///
    /// Errors: it can't follow what came before. From then on everything has to come again.
    pub fn take(&mut self, message: S::Message) -> Result<Taken, Broken> {
        let taken = self.take_in(message);
        if taken.is_err() {
            self.at = None;
            self.begin();
        }
        taken
    }

    fn take_in(&mut self, message: S::Message) -> Result<Taken, Broken> {
        let (part, position) = S::part(&message).ok_or(Broken::Unknown)?;
        match part {
            Part::Whole | Part::Full { .. } => {
                self.change.clear();
                let mut full = match part {
                    Part::Whole => S::default(),
                    _ => self.full.take().unwrap_or_default(),
                };
                full.merge(message);
                if part == (Part::Full { more: true }) {
                    self.full = Some(full);
                    return Ok(Taken::Piece);
                }
                (self.state, self.at) = (full, Some(position));
                Ok(Taken::News)
            }
            Part::Change { more } => {
                let known = self.at.as_ref().filter(|_| self.full.is_none());
                let known = known.ok_or(Broken::WithoutState)?;
                if known.epoch != position.epoch {
                    return Err(Broken::OtherStore);
                }
                if position.revision < known.revision {
                    return Err(Broken::Back {
                        to: position.revision,
                        from: known.revision,
                    });
                }
                self.change.push(message);
                if more {
                    return Ok(Taken::Piece);
                }
                let mut news = false;
                for piece in std::mem::take(&mut self.change) {
                    news |= self.state.merge(piece);
                }
                self.at = Some(position);
                Ok(if news { Taken::News } else { Taken::Progress })
            }
        }
    }
}

/// Messages that are taken in before the news is told, if so many have come already.
const TOGETHER: usize = 1000;

/// Follows for as long as it is polled.
pub async fn follow<F: Feed>(mut feed: F, mut backoff: Backoff) {
    let mut assembly = Assembly::default();
    loop {
        assembly.begin();
        let why = follow_once(&mut feed, &mut assembly, &mut backoff).await;
        let delay = backoff.failed();
        feed.ended(&why, delay).await;
        tokio::time::sleep(delay).await;
    }
}

async fn follow_once<F: Feed>(
    feed: &mut F,
    assembly: &mut Assembly<F::State>,
    backoff: &mut Backoff,
) -> Ended<F::Error> {
    let known = assembly.known().map(|(_, at)| at.clone());
    let mut stream = match feed.open(known.as_ref()).await {
        Ok(stream) => stream,
        Err(error) => return Ended::Failed(error),
    };
    loop {
        let mut next = stream.next().await;
        // What is to be told of, and as of when.
        let mut told: Option<(Taken, Position)> = None;
        let mut together = 0;
        let ended = loop {
            let taken = match next {
                Some(Ok(message)) => assembly.take(message),
                Some(Err(error)) => break Some(Ended::Failed(error)),
                None => break Some(Ended::Closed),
            };
            match taken {
                Ok(Taken::Piece) => {}
                Ok(news) => {
                    let news = told.map_or(news, |(before, _)| before.and(news));
                    told = assembly.known().map(|(_, at)| (news, at.clone()));
                }
                Err(broken) => break Some(Ended::Broken(broken)),
            }
            backoff.succeeded();
            together += 1;
            if together == TOGETHER {
                break None;
            }
            match stream.next().now_or_never() {
                Some(more) => next = more,
                None => break None,
            }
        };
        match told {
            Some((Taken::News, at)) => feed.known(assembly.state(), &at).await,
            Some((_, at)) => feed.progress(&at).await,
            None => {}
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

#[cfg(test)]
mod tests;
