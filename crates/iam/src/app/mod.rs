//! The rules of the domain: a module per resource. Whoever calls these functions has authorized the call; what
//! depends on more than role and scope (ceilings, credentials, what must not exist any more) is decided here.

pub mod api_key;
pub mod authorization;
pub mod binding;
pub mod bootstrap;
pub mod ceiling;
pub mod issue;
pub mod organization;
pub mod principal;
pub mod project;
pub mod role;
pub mod s3_key;
pub mod sign_in;
pub mod signing_key;
pub mod token;

use std::sync::Arc;
use std::time::SystemTime;

use chainfire::Ledger;
use flaredb::{Db, Transaction};
use photon_resource::{Caller, Error, OrgId, ResourceName, Scope};
use photon_service::{Mutation, Mutations};

use crate::credential::{Passwords, Slowdown};
use crate::live::Live;

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
    pub(crate) tokens: crate::TokenSettings,
    /// Of which cluster the certificates of hosts must be; `None`: of any that the trusted authorities sign for.
    pub(crate) cluster: Option<String>,
}

/// What a change did to a resource, as the event log digests it. Never with a secret in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effect {
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
}

impl Effect {
    pub fn created(after: &impl prost::Message) -> Self {
        Self {
            before: None,
            after: Some(after.encode_to_vec()),
        }
    }

    pub fn changed(before: &impl prost::Message, after: &impl prost::Message) -> Self {
        Self {
            before: Some(before.encode_to_vec()),
            after: Some(after.encode_to_vec()),
        }
    }

    pub fn deleted(before: &impl prost::Message) -> Self {
        Self {
            before: Some(before.encode_to_vec()),
            after: None,
        }
    }
}

/// What a change wrote and answers.
pub(crate) struct Done<R> {
    pub resource: ResourceName,
    pub effect: Effect,
    pub response: R,
    /// What repeated calls read, if that is something else: an answer with a secret is not stored.
    pub replayed: Option<R>,
}

impl<R> Done<R> {
    pub fn new(resource: ResourceName, effect: Effect, response: R) -> Self {
        Self {
            resource,
            effect,
            response,
            replayed: None,
        }
    }
}

/// How often a refusal is looked into before it is believed.
const DOUBTS: u32 = 100;

/// Makes one change: works it out anew in each transaction until one of them commits, with its event and its answer,
/// and waits until it is in effect. (A macro, because no trait can yet say that what an async closure that borrows
/// returns is `Send`.)
macro_rules! change {
    ($core:expr, $mutation:expr, |$tx:ident| $work:block) => {{
        let mut mutation = $mutation;
        let mut doubts = $crate::app::DOUBTS;
        loop {
            let mut transaction = $core.db.begin();
            if let Some(earlier) = mutation.replay(&mut transaction).await? {
                break Ok(earlier);
            }
            let $tx = &mut transaction;
            let worked: Result<$crate::app::Done<_>, photon_resource::Error> =
                async { $work }.await;
            let finished = $core.finish(&mut mutation, transaction, worked, &mut doubts);
            if let Some(response) = finished.await? {
                break Ok(response);
            }
        }
    }};
}
pub(crate) use change;

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

    /// Commits what was worked out. `None`: others got there first, and it has to be worked out again.
    pub(crate) async fn finish<R: prost::Message + Default>(
        &self,
        mutation: &mut Mutation,
        tx: Transaction,
        worked: Result<Done<R>, Error>,
        doubts: &mut u32,
    ) -> Result<Option<R>, Error> {
        let done = match worked {
            Ok(done) => done,
            // Refused, but only because another call's commit came between two reads: perhaps that of the very
            // same request_id.
            Err(_) if *doubts > 0 && !tx.holds().await? => {
                *doubts -= 1;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let Effect { before, after } = &done.effect;
        let (name, before, after) = (&done.resource, before.as_deref(), after.as_deref());
        let committed = match done.replayed {
            None => {
                mutation
                    .commit(tx, name, before, after, "", done.response, None)
                    .await?
            }
            Some(replayed) => {
                mutation
                    .commit(tx, name, before, after, "", done.response, Some(&replayed))
                    .await?
            }
        };
        if committed.is_some() {
            self.live.settled().await?;
        }
        Ok(committed)
    }
}

/// Now, in the milliseconds that records keep: so that the answer to a change and a later read agree.
pub(crate) fn now() -> SystemTime {
    crate::store::from_ms(crate::store::to_ms(SystemTime::now()))
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
