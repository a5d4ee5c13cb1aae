//! The authorization walk: every RPC of a server, as its reflection tells of them, is called with every token that must
//! not get in, and with one that must.
//!
//! A test gives a [`Case`] for each RPC. One that has none fails the walk, and so does a case whose RPC is not there,
//! so that the table and the API stay the same.

mod forge;
mod raw;
mod reflection;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

pub use forge::{forgeries, rest_of_life};
pub use reflection::{Method, methods};

use crate::session::Session;

/// How an RPC is to be tried.
pub struct Case {
    /// `package.Service/Method`.
    pub method: &'static str,
    request: Bytes,
    who: Who,
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
            request: request.encode_to_vec().into(),
            who,
        }
    }
}

/// Tokens that nobody may get in with, wherever they are shown.
pub struct BadTokens {
    /// A token of one who may do everything, which has ended.
    pub expired: String,
    /// A token of one who may do everything, which was revoked.
    pub revoked: String,
    /// A good token of one who may do everything, to forge from.
    pub genuine: String,
}

/// Walks over every RPC of the server behind `channel`. Answers how many calls were made.
///
/// Panics, with all that is wrong at once, if an RPC has no case, a case no RPC, an exception (an RPC without a token or
/// for any token) is not in `exceptions`, or a call ends as it must not.
pub async fn walk(
    channel: &Channel,
    cases: Vec<Case>,
    bad: &BadTokens,
    exceptions: &[&str],
) -> usize {
    let found = methods(channel).await;
    let mut walk = Walk {
        channel,
        problems: Vec::new(),
        calls: 0,
    };
    walk.compare(&found, &cases, exceptions);
    let found: BTreeMap<&str, &Method> = found
        .iter()
        .map(|method| (method.name.as_str(), method))
        .collect();
    for case in &cases {
        if found.contains_key(case.method) {
            walk.refusals(case, bad).await;
        }
    }
    // After all refusals, because these change things.
    for case in &cases {
        if found.contains_key(case.method) {
            walk.admission(case).await;
        }
    }
    assert!(walk.problems.is_empty(), "\n{}\n", walk.problems.join("\n"));
    walk.calls
}

struct Walk<'a> {
    channel: &'a Channel,
    problems: Vec<String>,
    calls: usize,
}

impl Walk<'_> {
    fn compare(&mut self, found: &[Method], cases: &[Case], exceptions: &[&str]) {
        let there: BTreeSet<&str> = found.iter().map(|method| method.name.as_str()).collect();
        let tried: BTreeSet<&str> = cases.iter().map(|case| case.method).collect();
        for method in there.difference(&tried) {
            self.problems
                .push(format!("{method}: no case says who may call it"));
        }
        for method in tried.difference(&there) {
            self.problems
                .push(format!("{method}: there is a case, but no such RPC"));
        }
        let open: BTreeSet<&str> = cases
            .iter()
            .filter(|case| !matches!(case.who, Who::Guarded { .. }))
            .map(|case| case.method)
            .collect();
        let known: BTreeSet<&str> = exceptions.iter().copied().collect();
        for method in open.symmetric_difference(&known) {
            self.problems.push(format!(
                "{method}: the exceptions of the walk and the cases without a right are not the same"
            ));
        }
    }

    /// The calls that must be refused.
    async fn refusals(&mut self, case: &Case, bad: &BadTokens) {
        if let Who::NoToken { .. } = case.who {
            return;
        }
        let unauthenticated = &[Code::Unauthenticated];
        let mut tokens = vec![("no token".to_owned(), None)];
        for (what, token) in forgeries(&bad.genuine) {
            tokens.push((what.to_owned(), Some(token)));
        }
        tokens.push(("an expired token".to_owned(), Some(bad.expired.clone())));
        tokens.push(("a revoked token".to_owned(), Some(bad.revoked.clone())));
        for (what, token) in tokens {
            self.expect(case, &what, token.as_deref(), unauthenticated)
                .await;
        }
        if let Who::Guarded { refused, .. } = &case.who {
            for it in refused {
                self.expect(case, it.who, Some(&it.session.token), it.codes)
                    .await;
            }
        }
    }

    async fn expect(&mut self, case: &Case, what: &str, token: Option<&str>, codes: &[Code]) {
        self.calls += 1;
        let answer = raw::call(self.channel, case.method, case.request.clone(), token).await;
        match answer {
            Some(Err(status)) if codes.contains(&status.code()) => {}
            other => self.problems.push(format!(
                "{}, {what}: expected {codes:?}, got {}",
                case.method,
                shown(&other)
            )),
        }
    }

    /// The call that must get in; whatever else it ends with is not this walk's matter.
    async fn admission(&mut self, case: &Case) {
        let (token, what) = match &case.who {
            Who::Guarded { allowed, .. } => (Some(allowed.token.as_str()), "one who may"),
            Who::NoToken { why } => (None, *why),
            Who::AnyToken { .. } => return,
        };
        self.calls += 1;
        let answer = raw::call(self.channel, case.method, case.request.clone(), token).await;
        if let Some(Err(status)) = &answer {
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
            let no_token = matches!(case.who, Who::NoToken { .. });
            // An open RPC may still refuse what it is given: a wrong password.
            if !no_token && refusals.contains(&status.code()) {
                self.problems
                    .push(format!("{}, {what}: got {}", case.method, shown(&answer)));
            }
        }
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

fn shown(answer: &Option<Result<(), tonic::Status>>) -> String {
    match answer {
        None => "no answer".to_owned(),
        Some(Ok(())) => "OK: it was let in".to_owned(),
        Some(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// How long a call may take before it counts as one that waits for more.
const PATIENCE: Duration = Duration::from_secs(5);
