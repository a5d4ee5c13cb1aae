//! The authorization walk: every RPC of a server, as its reflection tells of them, is called with every token that must
//! not get in, and with one that must.
//!
//! The contracts, which hold for every RPC of a kind, walk over the same cases: [`hidden`](fn@hidden),
//! [`repeated`](fn@repeated), [`pages`], [`narrowed`].
//!
//! A test gives a [`Case`] for each RPC. One that has none fails the walk, and so does a case whose RPC is not there,
//! so that the table and the API stay the same.

mod forge;
mod hidden;
mod lists;
mod message;
mod problem;
mod raw;
mod reflection;
mod repeated;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

pub use forge::{forgeries, rest_of_life};
pub use hidden::{Alias, Outsider, Secrets, Tried, hidden};
pub use lists::{Narrow, narrowed, pages};
pub use problem::{Problem, expect_none};
pub use raw::call;
pub use reflection::{Method, methods};
pub use repeated::{Repetitions, Witness, repeated};

use crate::session::Session;

/// How an RPC is to be tried.
pub struct Case {
    /// `package.Service/Method`.
    pub method: &'static str,
    messages: Vec<Bytes>,
    who: Who,
    goes_on: bool,
}

enum Who {
    /// Needs a right: whom it lets in, and whom it does not although their tokens are good.
    Guarded {
        allowed: Session,
        refused: Vec<Refused>,
    },
    /// Needs a token, but anybody's.
    AnyToken { why: &'static str },
    /// Needs no token.
    NoToken { why: &'static str },
}

/// Somebody with a good token who is not let in.
pub struct Refused {
    /// For the message: `another tenant`.
    pub who: &'static str,
    /// Its session.
    pub session: Session,
    /// How it may be told so.
    pub codes: &'static [Code],
}

impl Case {
    /// An RPC that lets `allowed` do what `request` says, and refuses the others.
    pub fn guarded(
        method: &'static str,
        request: &impl Message,
        allowed: &Session,
        refused: Vec<Refused>,
    ) -> Self {
        Self::new(
            method,
            request,
            Who::Guarded {
                allowed: allowed.clone(),
                refused,
            },
        )
    }

    /// An RPC that every good token may call.
    pub fn any_token(method: &'static str, request: &impl Message, why: &'static str) -> Self {
        Self::new(method, request, Who::AnyToken { why })
    }

    /// An RPC that needs no token.
    pub fn no_token(method: &'static str, request: &impl Message, why: &'static str) -> Self {
        Self::new(method, request, Who::NoToken { why })
    }

    fn new(method: &'static str, request: &impl Message, who: Who) -> Self {
        Self {
            method,
            messages: vec![request.encode_to_vec().into()],
            who,
            goes_on: false,
        }
    }

    /// What it makes is changed by the server itself as soon as it is there: what its event has the digest of may be gone.
    #[must_use]
    pub fn goes_on(mut self) -> Self {
        self.goes_on = true;
        self
    }

    /// A further message of a call to which the client streams.
    #[must_use]
    pub fn then(mut self, message: &impl Message) -> Self {
        self.messages.push(message.encode_to_vec().into());
        self
    }
}

/// A principal with its tokens, of which one is good.
pub struct Bearer {
    /// With a good token.
    pub session: Session,
    /// One that has ended.
    pub expired: String,
    /// One that was revoked.
    pub revoked: String,
}

/// Walks over every RPC of the server behind `channel`. Answers how many calls were made.
///
/// `bearers` are those whose bad tokens are tried: for each RPC those of the one whom it would let in, or else of the
/// first, who may do everything.
///
/// Panics, with all that is wrong at once, if an RPC has no case, a case no RPC, an exception (an RPC without a token or
/// for any token) is not in `exceptions`, or a call ends as it must not.
pub async fn walk(
    channel: &Channel,
    cases: &[Case],
    bearers: &[Bearer],
    exceptions: &[&str],
) -> usize {
    let (calls, problems) = problems(channel, cases, bearers, exceptions).await;
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    calls
}

/// As [`walk`], but answers how many calls were made and what is wrong.
pub async fn problems(
    channel: &Channel,
    cases: &[Case],
    bearers: &[Bearer],
    exceptions: &[&str],
) -> (usize, Vec<String>) {
    let found = methods(channel).await;
    let mut problems = compare(&found, cases, exceptions);
    let there: BTreeSet<&str> = found.iter().map(|method| method.name.as_str()).collect();
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|it| there.contains(it.method))
        .collect();
    // A token of an unknown key waits until keys may be fetched again, so that calls one by one would take a second
    // each. A stranger has few streams at once, and keeps each for a moment after it was refused.
    let refusals: Vec<_> = futures::stream::iter(&cases)
        .map(|case| refusals(channel, case, bearers))
        .buffered(4)
        .collect()
        .await;
    let mut calls = 0;
    for (count, wrong) in refusals {
        calls += count;
        problems.extend(wrong);
    }
    // After all refusals and in order, because these change things.
    for case in cases {
        calls += 1;
        problems.extend(admission(channel, case).await);
    }
    (calls, problems)
}

/// Whether each RPC has its case and each case its RPC, and the exceptions are those that are known.
fn compare(found: &[Method], cases: &[Case], exceptions: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    let there: BTreeSet<&str> = found.iter().map(|method| method.name.as_str()).collect();
    let tried: BTreeSet<&str> = cases.iter().map(|case| case.method).collect();
    for method in there.difference(&tried) {
        problems.push(format!("{method}: no case says who may call it"));
    }
    for method in tried.difference(&there) {
        problems.push(format!("{method}: there is a case, but no such RPC"));
    }
    let open: BTreeSet<&str> = cases
        .iter()
        .filter(|case| !matches!(case.who, Who::Guarded { .. }))
        .map(|case| case.method)
        .collect();
    let known: BTreeSet<&str> = exceptions.iter().copied().collect();
    for method in open.symmetric_difference(&known) {
        problems.push(format!(
            "{method}: the exceptions of the walk and the cases without a right are not the same"
        ));
    }
    problems
}

/// The calls that must be refused: how many there were, and what was wrong.
async fn refusals(channel: &Channel, case: &Case, bearers: &[Bearer]) -> (usize, Vec<String>) {
    let (allowed, refused) = match &case.who {
        Who::NoToken { .. } => return (0, Vec::new()),
        Who::AnyToken { .. } => (None, &[][..]),
        Who::Guarded { allowed, refused } => (Some(allowed), refused.as_slice()),
    };
    let bearer = bearers
        .iter()
        .find(|bearer| allowed.is_some_and(|it| it.principal_id == bearer.session.principal_id))
        .unwrap_or(&bearers[0]);
    const UNKNOWN: &[Code] = &[Code::Unauthenticated];
    let mut tries = vec![("no token", None, UNKNOWN)];
    let forgeries = forgeries(&bearer.session.token);
    tries.extend(
        forgeries
            .iter()
            .map(|(what, token)| (*what, Some(token.as_str()), UNKNOWN)),
    );
    tries.push(("an expired token", Some(bearer.expired.as_str()), UNKNOWN));
    tries.push(("a revoked token", Some(bearer.revoked.as_str()), UNKNOWN));
    tries.extend(
        refused
            .iter()
            .map(|it| (it.who, Some(it.session.token.as_str()), it.codes)),
    );

    let mut problems = Vec::new();
    for (what, token, codes) in &tries {
        match raw::call(channel, case.method, &case.messages, *token, None).await {
            Some(Err(status)) if codes.contains(&status.code()) => {}
            other => problems.push(format!(
                "{}, {what}: expected {codes:?}, got {}",
                case.method,
                shown(&other)
            )),
        }
    }
    (tries.len(), problems)
}

/// The call that must get in; whatever else it ends with is not this walk's matter.
async fn admission(channel: &Channel, case: &Case) -> Option<String> {
    let (token, what) = match &case.who {
        Who::Guarded { allowed, .. } => (Some(allowed.token.as_str()), "one who may"),
        Who::NoToken { why } => (None, *why),
        Who::AnyToken { .. } => return None,
    };
    let refusals = [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::NotFound,
        Code::InvalidArgument,
        Code::Unimplemented,
        Code::Unavailable,
        Code::Internal,
        Code::Unknown,
    ];
    let answer = raw::call(channel, case.method, &case.messages, token, None).await;
    match &answer {
        // An open RPC may still refuse what it is given: a wrong password.
        Some(Err(status)) if token.is_some() && refusals.contains(&status.code()) => {
            Some(format!("{}, {what}: got {}", case.method, shown(&answer)))
        }
        _ => None,
    }
}

impl Who {
    /// Why the RPC is an exception.
    fn why(&self) -> Option<&'static str> {
        match self {
            Who::Guarded { .. } => None,
            Who::AnyToken { why } | Who::NoToken { why } => Some(why),
        }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({})",
            self.method,
            self.who.why().unwrap_or("guarded")
        )
    }
}

fn shown(answer: &Option<Result<Bytes, tonic::Status>>) -> String {
    match answer {
        None => "no answer".to_owned(),
        Some(Ok(_)) => "OK: it was let in".to_owned(),
        Some(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// How long a call may take before it counts as one that waits for more.
const PATIENCE: Duration = Duration::from_secs(5);
