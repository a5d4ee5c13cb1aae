//! The rules of the domain: a module per resource. Whoever calls these functions has authorized the call; what
//! depends on more than role and scope (ceilings, credentials, what must not exist any more) is decided here.
//!
//! A change gets its [`Mutation`] begun, and from whoever calls what makes its answer: messages are not known here.

pub mod api_key;
pub mod authorization;
pub mod binding;
pub mod bootstrap;
mod bounds;
pub mod ceiling;
mod custodian;
pub mod issue;
pub mod organization;
pub mod principal;
pub mod project;
pub mod refresh;
pub mod role;
pub mod s3_key;
pub mod session;
pub mod sign_in;
pub mod signing_key;
mod sweep;
pub mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chainfire::Ledger;
use flaredb::{Db, Transaction};
use photon_catalog::{Apply, commit, commit_secret, work};
use photon_resource::{Caller, Error, OrgId, Scope, Time};
use photon_service::{Limiter, Mutation, Mutations};

use crate::credential::{Passwords, Slowdown};
use crate::holders::Holders;
use crate::live::Live;

/// How many failures to sign in get an event of their own from one address in a row: as many as passwords may be wrong before
/// it has to wait. And after how long one more.
const FAILURES: u32 = 20;
const FAILURE_AGAIN: Duration = Duration::from_secs(10);

/// See [`Core::failures`].
pub fn failures() -> Limiter<(&'static str, Option<String>)> {
    Limiter::new(FAILURES, FAILURE_AGAIN)
}

/// What every part of IAM needs.
pub struct Core {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) mutations: Mutations,
    pub(crate) live: Arc<Live>,
    pub(crate) passwords: Passwords,
    /// Who guesses passwords.
    pub(crate) password_attempts: Slowdown,
    /// Who shows wrong API keys: apart, so that a program with an old key locks no person out.
    pub(crate) key_attempts: Slowdown,
    /// Which failures to sign in get an event of their own: by what was shown, and from which address.
    pub(crate) failures: Limiter<(&'static str, Option<String>)>,
    pub(crate) tokens: crate::TokenSettings,
    /// How long sessions last.
    pub(crate) lasting: session::Lasting,
    /// Who is asked before a project or an organization is deleted.
    pub(crate) holders: Holders,
    /// Of which cluster the certificates of hosts must be; `None`: of any that the trusted authorities sign for.
    pub(crate) cluster: Option<String>,
}

impl Core {
    /// What an earlier call with this `request_id` was answered, for a call whose resource that one may have deleted.
    pub(crate) async fn repeated<Req, Resp>(
        &self,
        caller: &Caller,
        action: &str,
        request_id: &str,
        request: &Req,
    ) -> Result<Option<Resp>, Error>
    where
        Req: prost::Message,
        Resp: prost::Message + Default,
    {
        let mutation = self.mutations.start(caller, action, request_id, request)?;
        mutation.replay(&mut self.db.begin()).await
    }

    /// Applies a change of `state` for a call until it commits, and waits until it is in effect.
    pub(crate) async fn change<S: Send, T: Send, A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        state: S,
        apply: Apply<S, T>,
        answer: impl Fn(&T) -> A,
    ) -> Result<A, Error> {
        let (answer, _) = commit(&self.db, mutation, &mut work(state, apply), answer).await?;
        self.live.settled().await?;
        Ok(answer)
    }

    /// As [`change`](Self::change), for an answer with a secret: `answer` gives it, and what repeated calls read.
    pub(crate) async fn change_secret<S: Send, T: Send, A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        state: S,
        apply: Apply<S, T>,
        answer: impl Fn(&T) -> (A, A),
    ) -> Result<A, Error> {
        let (answer, _) =
            commit_secret(&self.db, mutation, &mut work(state, apply), answer).await?;
        self.live.settled().await?;
        Ok(answer)
    }
}

/// Now, in the milliseconds that records keep: so that the answer to a change and a later read agree.
pub(crate) fn now() -> SystemTime {
    Time::now_in_millis().into()
}

/// The organization of a request: an empty one is the token's, which for an operator's is the system (`None`).
pub fn org_of(caller: &Caller, org_id: &str) -> Result<Option<OrgId>, Error> {
    match org_id {
        "" => Ok(caller.claims.org_id.clone()),
        given => Ok(Some(given.parse()?)),
    }
}

/// [`org_of`] where it can't be the system.
pub fn tenant_of(caller: &Caller, org_id: &str) -> Result<OrgId, Error> {
    org_of(caller, org_id)?.ok_or_else(|| {
        Error::invalid(
            "org_id",
            "",
            "the id of an organization, because the token is for the whole system",
        )
    })
}

/// `ABORTED` unless the caller expects the revision that it is at, or any.
pub(crate) fn expect_revision(
    kind: &'static str,
    id: impl std::fmt::Display,
    expected: u64,
    actual: u64,
) -> Result<(), Error> {
    if expected == 0 || expected == actual {
        return Ok(());
    }
    Err(Error::Conflict {
        kind,
        id: id.to_string(),
        expected,
        actual,
    })
}

/// Refuses to put something into an organization that is not there.
pub(crate) async fn require_org(tx: &mut Transaction, org: &OrgId) -> Result<(), Error> {
    tx.touch(&crate::store::organization::members_guard(org))
        .await?;
    match crate::store::organization::organization_get(tx, org).await? {
        Some(_) => Ok(()),
        None => Err(Error::not_found("organization", org)),
    }
}

/// Refuses to give a role at, or a key for, what is not there.
pub(crate) async fn require_scope(tx: &mut Transaction, scope: &Scope) -> Result<(), Error> {
    if let Some(org) = scope.org() {
        require_org(tx, org).await?;
        if let Some(project) = scope.project() {
            crate::store::project::project_get(tx, org, project)
                .await?
                .ok_or_else(|| Error::not_found("project", project))?;
        }
    }
    Ok(())
}
