//! Sessions: listing and ending them, and what becomes of those that lapse. How they begin and go on is in
//! [`super::refresh`].

use std::time::{Duration, SystemTime};

use flaredb::Transaction;
use photon_catalog::{Actor, Effect, commit_own, work};
use photon_resource::{
    ApiKeyId, Caller, Error, Page, PageRequest, PrincipalId, ResourceName, SessionId,
};
use photon_service::Mutation;
use tokio_util::sync::CancellationToken;

use super::Core;
use super::bootstrap::SERVER;
use crate::model::{Principal, Session};
use crate::store::{principal, session as store};

/// The action of whatever ends one.
pub(super) const END: &str = "iam:sessions:end";
/// How many of those that lapsed one pass ends at most; the others are the next one's.
const PASS: usize = 1000;
/// How many are looked at in one go.
const LOOK: usize = 100;

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// Without use.
    pub idle: Duration,
    /// However they are used.
    pub longest: Duration,
}

impl Lasting {
    /// When a session ends if it is not used any more.
    pub fn ends(&self, session: &Session) -> SystemTime {
        session.ends_at.min(session.last_used_at + self.idle)
    }

    /// Why it has ended, if it has.
    pub(super) fn lapsed(&self, session: &Session, now: SystemTime) -> Option<String> {
        let hours = |time: Duration| format!("{:.1} h", time.as_secs_f64() / 3600.0);
        if session.ends_at <= now {
            return Some("it has reached its end".to_owned());
        }
        let idle = self.ends(session) <= now;
        idle.then(|| format!("it was not used for {}", hours(self.idle)))
    }

    /// How often those that lapsed are looked for.
    fn looked_for(&self) -> Duration {
        let often = self.idle.min(self.longest) / 2;
        often.clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// The full name of a session.
pub fn name(session: &Session) -> ResourceName {
    ResourceName::new(session.place(), "sessions", session.id)
}

/// All of a principal's sessions.
pub fn all(owner: &Principal) -> ResourceName {
    ResourceName::any(owner.home(), "sessions")
}

/// Whether it is the caller's own, and of what its token is about: one for a project sees those for the project.
pub fn is_own(caller: &Caller, session: &Session) -> bool {
    session.principal_id == caller.claims.principal_id && is_within(caller, session)
}

fn is_within(caller: &Caller, session: &Session) -> bool {
    let claims = &caller.claims;
    claims.project_id.is_none()
        || (&claims.org_id, &claims.project_id) == (&session.org_id, &session.project_id)
}

/// The session. It may lie beyond the wall: see `Server::reveal`.
pub async fn find(core: &Core, id: &str) -> Result<Session, Error> {
    let found = store::session_find(&core.db, id.parse()?).await?;
    found.ok_or_else(|| Error::not_found("session", id))
}

/// Which session the caller's token is of.
///
/// Errors: `InvalidArgument` if it is of none.
pub fn of_token(core: &Core, caller: &Caller) -> Result<SessionId, Error> {
    let session = core.live.verified(&caller.token)?.session;
    session.ok_or_else(|| {
        Error::invalid(
            "id",
            "",
            "the id of a session, because the token is of none",
        )
    })
}

/// A page of a principal's, which has fewer if the caller's token is for a project: those for that project. Those that have
/// lapsed are gone, though they may still be stored.
pub async fn list(
    core: &Core,
    caller: &Caller,
    owner: &Principal,
    page: &PageRequest,
) -> Result<Page<Session>, Error> {
    let mut page = store::session_page(&core.db, owner.id, page).await?;
    let (now, epoch) = (SystemTime::now(), store::epoch_find(&core.db).await?);
    page.items.retain(|session| {
        is_within(caller, session)
            && session.created_at > epoch
            && session.generation == owner.token_generation
            && core.lasting.lapsed(session, now).is_none()
    });
    Ok(page)
}

/// Ends one.
pub async fn end<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: SessionId,
) -> Result<A, Error> {
    core.change(
        mutation,
        id,
        |id, tx| {
            Box::pin(async move {
                let before = store::session_get(tx, *id)
                    .await?
                    .ok_or_else(|| Error::not_found("session", *id))?;
                store::session_delete(tx, &before);
                Ok(Effect::at(name(&before), store::key(*id), ()))
            })
        },
        |()| A::default(),
    )
    .await
}

/// Ends a principal's: those that the caller's token is about.
pub async fn end_all<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    owner: &Principal,
) -> Result<A, Error> {
    let caller = mutation.caller().clone();
    core.change(
        mutation,
        (caller, owner),
        |(caller, owner), tx| {
            Box::pin(async move {
                let which = |session: &Session| is_within(caller, session);
                Ok(match end_those(tx, owner.id, which).await? {
                    0 => Effect::nothing(()),
                    _ => Effect::of(all(owner), ()),
                })
            })
        },
        |()| A::default(),
    )
    .await
}

/// Ends some of a principal's, as a part of what else becomes of the principal. Answers how many.
async fn end_those(
    tx: &mut Transaction,
    owner: PrincipalId,
    which: impl Fn(&Session) -> bool,
) -> Result<usize, Error> {
    tx.touch(&principal::credentials_guard(owner)).await?;
    let mut count = 0;
    for session in store::session_all_of(tx, owner).await? {
        if which(&session) {
            store::session_delete(tx, &session);
            count += 1;
        }
    }
    Ok(count)
}

/// Ends all of a principal's, because nothing that it has is good any more.
pub(super) async fn end_with_owner(tx: &mut Transaction, owner: PrincipalId) -> Result<(), Error> {
    end_those(tx, owner, |_| true).await.map(drop)
}

/// Ends those of a principal that were begun with an API key.
pub(super) async fn end_with_key(
    tx: &mut Transaction,
    owner: PrincipalId,
    key: ApiKeyId,
) -> Result<(), Error> {
    let of_key = |session: &Session| session.api_key == Some(key);
    end_those(tx, owner, of_key).await.map(drop)
}

/// Ends one that nobody asked to end.
pub(super) async fn end_by_itself(
    core: &Core,
    actor: &Actor,
    id: SessionId,
    why: &str,
) -> Result<(), Error> {
    let mut change = work((id, why), |(id, why), tx| {
        Box::pin(async move {
            let Some(before) = store::session_get(tx, *id).await? else {
                return Ok(Effect::nothing(()));
            };
            store::session_delete(tx, &before);
            Ok(Effect::at(name(&before), store::key(*id), ()).because(*why))
        })
    });
    commit_own(&core.db, &core.ledger, actor, END, &mut change).await
}

/// Ends those that have lapsed, again and again until `shutdown`.
pub async fn sweep(core: std::sync::Arc<Core>, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(core.lasting.looked_for());
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = timer.tick() => {}
        }
        match end_lapsed(&core).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "ended sessions that were not used, or too old"),
            Err(error) => tracing::error!(%error, "the ends of sessions can't be looked at"),
        }
    }
}

/// Ends those that have lapsed, [`PASS`] at most. Answers how many.
async fn end_lapsed(core: &Core) -> Result<usize, Error> {
    let actor = Actor::server(SERVER);
    let (mut count, mut after) = (0, None);
    loop {
        let (some, next) = store::session_some(&core.db, after.as_deref(), LOOK).await?;
        for session in some {
            let Some(why) = core.lasting.lapsed(&session, SystemTime::now()) else {
                continue;
            };
            if count == PASS {
                return Ok(count);
            }
            end_by_itself(core, &actor, session.id, &why).await?;
            count += 1;
        }
        if next.is_none() {
            return Ok(count);
        }
        after = next;
    }
}
