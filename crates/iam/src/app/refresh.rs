//! How a session begins with a sign-in, and goes on with one refresh token after the other.
//!
//! ```text
//!  sign-in ─► R0 ─use─► R1 ─use─► R2 …        the one that is good now
//!               again within a minute: R1     the one before, whose answer may have been lost
//!               R0 later, or older ones: two have it, and the session ends
//! ```

use std::time::{Duration, Instant, SystemTime};

use chainfire::Outcome;
use photon_catalog::{Actor, Effect, commit_own, work};
use photon_resource::{Error, Scope, SessionId};

use super::bootstrap::SERVER;
use super::issue::{self, Issued, Prepared, Proven, Stranger, Wanted};
use super::{Core, now, session, sign_in};
use crate::credential::RefreshSecret;
use crate::model::{Predecessor, Principal, Session, validate_client};
use crate::store::{api_key, principal, session as store};

const BEGIN: &str = "iam:sessions:create";
const REFRESH: &str = "iam:sessions:refresh";
/// How long a refresh token that was used gets the same answer again: longer than a client tries whose answer was lost, and
/// shorter than a token lasts, so that two who share one are found out when the second of them needs a token.
const AGAIN: Duration = Duration::from_secs(60);
/// How often a refresh is judged anew because somebody else changed the session meanwhile.
const ATTEMPTS: u32 = 8;

const ENDED: &str = "the session has ended, or the refresh token is not its: sign in again";
const REUSED: &str =
    "a refresh token was used a second time, so that two have it: the session has ended";

/// A session to be begun with a sign-in.
pub struct NewSession {
    /// What the client calls itself.
    pub client: String,
}

impl NewSession {
    /// Errors: `InvalidArgument`.
    pub fn new(client: String) -> Result<Self, Error> {
        validate_client(&client)?;
        Ok(Self { client })
    }
}

/// A session, and what it goes on with.
pub struct Going {
    pub session: Session,
    /// Shown this once.
    pub refresh_token: String,
}

/// A token of a session that begins with it.
pub(super) async fn begin(
    core: &Core,
    from: &Stranger,
    wanted: &Wanted,
    mut proven: Proven,
    new: &NewSession,
) -> Result<Issued, Error> {
    let id = SessionId::generate();
    let secret = RefreshSecret::generate(id).ok_or_else(no_randomness)?;
    let created_at = now();
    let longest = created_at + core.lasting.longest;
    let ends_at = proven.until.map_or(longest, |until| until.min(longest));
    proven.until = Some(ends_at);
    proven.session = Some(id);
    let prepared = issue::prepare(core, from, wanted, &proven).await?;
    let owner = &proven.principal;
    let scope = &prepared.issued.scope;
    let session = Session {
        id,
        principal_id: owner.id,
        home: owner.org_id.clone(),
        org_id: scope.org().cloned(),
        project_id: scope.project().cloned(),
        api_key: proven.api_key,
        generation: owner.token_generation,
        token_seconds: u32::try_from(wanted.ttl.as_secs()).unwrap_or(u32::MAX),
        family_sha256: secret.family_sha256(),
        secret_sha256: secret.single_sha256(),
        before: None,
        created_at,
        last_used_at: created_at,
        ends_at,
        source: from.source.clone(),
        client: new.client.clone(),
    };
    let mut change = work(&session, |new, tx| {
        Box::pin(async move {
            tx.touch(&principal::credentials_guard(new.principal_id))
                .await?;
            let owner = principal::principal_get(tx, new.principal_id).await?;
            let alive = |it: &Principal| !it.disabled && it.token_generation == new.generation;
            if !owner.as_ref().is_some_and(alive) {
                return Err(issue::wrong());
            }
            if let Some(key) = new.api_key
                && api_key::api_key_get(tx, key).await?.is_none()
            {
                return Err(issue::wrong());
            }
            // A sign-in is never refused for the sake of sessions that nobody remembers.
            let mut others = store::session_all_of(tx, new.principal_id).await?;
            others.sort_by_key(|session| session.last_used_at);
            let surplus = (others.len() + 1).saturating_sub(store::MOST);
            for old in others.iter().take(surplus) {
                store::session_delete(tx, old);
            }
            store::session_create(tx, new)?;
            let effect = Effect::at(session::name(new), store::key(new.id), ());
            let effect = effect.by(new.principal_id);
            Ok(match surplus {
                0 => effect,
                _ => effect.because(format!(
                    "there were {}: the one that was not used for longest has ended",
                    others.len()
                )),
            })
        })
    });
    let actor = actor(from, &owner.name);
    commit_own(&core.db, &core.ledger, &actor, BEGIN, &mut change).await?;
    core.live.settled().await?;
    let issued = prepared.recorded(core).await?;
    Ok(Issued {
        going: Some(Going {
            session,
            refresh_token: secret.reveal(),
        }),
        ..issued
    })
}

/// Exchanges a refresh token for a token and the next refresh token.
///
/// Errors: `InvalidArgument`, `Unauthenticated`, `PermissionDenied` (no role there any more), `ResourceExhausted`.
pub async fn refresh(core: &Core, from: &Stranger, given: &str) -> Result<Issued, Error> {
    let secret: RefreshSecret = given.parse()?;
    // As for API keys: the secret can't be guessed, and whoever has an old one keeps nobody else out.
    let counted = format!("session/{}", secret.session());
    let admitted = core.key_attempts.admit(&counted, "", Instant::now());
    let attempt = admitted.map_err(sign_in::slowed)?;
    match refreshed(core, from, &secret).await {
        Ok(Ok(issued)) => {
            attempt.succeeded();
            Ok(issued)
        }
        Ok(Err(why)) => {
            attempt.failed(Instant::now());
            Err(Error::Unauthenticated(why.to_owned()))
        }
        Err(error) => {
            attempt.withdrawn();
            Err(error)
        }
    }
}

/// What a refresh token is to a session.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Good.
    Current,
    /// Used a moment ago: its successor follows from the salt again.
    Again([u8; 32]),
    /// Used before, and too long ago for an answer that was lost.
    Reused,
    /// None of the session's.
    Foreign,
}

fn judge(session: &Session, given: &RefreshSecret, now: SystemTime) -> Verdict {
    // Digests, whose comparison tells nothing of what they are of.
    if given.family_sha256() != session.family_sha256 {
        return Verdict::Foreign;
    }
    let single = given.single_sha256();
    if single == session.secret_sha256 {
        return Verdict::Current;
    }
    match &session.before {
        Some(before) if single == before.secret_sha256 && now < before.used_at + AGAIN => {
            Verdict::Again(before.salt)
        }
        _ => Verdict::Reused,
    }
}

/// The token, or why there is none.
async fn refreshed(
    core: &Core,
    from: &Stranger,
    given: &RefreshSecret,
) -> Result<Result<Issued, &'static str>, Error> {
    for _ in 0..ATTEMPTS {
        let Some(session) = store::session_find(&core.db, given.session()).await? else {
            return Ok(Err(ENDED));
        };
        let owner = principal::principal_find(&core.db, session.principal_id).await?;
        match judge(&session, given, SystemTime::now()) {
            Verdict::Current | Verdict::Again(_) => {}
            Verdict::Foreign => {
                record_foreign(core, from, &session).await;
                return Ok(Err(ENDED));
            }
            Verdict::Reused => {
                let actor = actor(from, SERVER);
                session::end_by_itself(core, &actor, session.id, REUSED).await?;
                core.live.settled().await?;
                tracing::warn!(session = %session.id, source = from.source, "{REUSED}");
                return Ok(Err(REUSED));
            }
        }
        let Some((proven, wanted)) = proven(core, &session, owner).await? else {
            return Ok(Err(ENDED));
        };
        let prepared = issue::prepare(core, from, &wanted, &proven).await?;
        if let Some(going) = rotate(core, from, &proven.principal, given).await? {
            let Prepared { issued, .. } = prepared;
            return Ok(Ok(Issued {
                going: Some(going),
                ..issued
            }));
        }
    }
    Err(Error::Unavailable(
        "others refresh the session at the same time: try again".into(),
    ))
}

/// What a session proves, and for what; `None`: it has ended, though it may still be stored.
async fn proven(
    core: &Core,
    session: &Session,
    owner: Option<Principal>,
) -> Result<Option<(Proven, Wanted)>, Error> {
    let time = SystemTime::now();
    let alive = |it: &Principal| !it.disabled && it.token_generation == session.generation;
    let Some(principal) = owner.filter(alive) else {
        return Ok(None);
    };
    let begun_since = session.created_at > store::epoch_find(&core.db).await?;
    if !begun_since || core.lasting.lapsed(session, time).is_some() {
        return Ok(None);
    }
    let mut until = session.ends_at;
    let mut confined = None;
    if let Some(id) = session.api_key {
        let Some(key) = api_key::api_key_find(&core.db, id).await? else {
            return Ok(None);
        };
        until = key.expires_at.map_or(until, |end| end.min(until));
        if until <= time {
            return Ok(None);
        }
        confined = key.confined;
    }
    let proven = Proven {
        principal,
        api_key: session.api_key,
        confined,
        actor: None,
        until: Some(until),
        session: Some(session.id),
    };
    let wanted = Wanted {
        org: session.org_id.clone(),
        project: session.project_id.clone(),
        ttl: core.tokens.within(session.token_seconds),
    };
    Ok(Some((proven, wanted)))
}

/// A refresh token that is used, in one transaction.
struct Use<'a> {
    given: &'a RefreshSecret,
    salt: [u8; 32],
    generation: u64,
    source: &'a str,
}

/// Uses the refresh token; `None`: what it is to the session has changed meanwhile.
async fn rotate(
    core: &Core,
    from: &Stranger,
    owner: &Principal,
    given: &RefreshSecret,
) -> Result<Option<Going>, Error> {
    let used = Use {
        given,
        salt: RefreshSecret::salt().ok_or_else(no_randomness)?,
        generation: owner.token_generation,
        source: &from.source,
    };
    let mut change = work(used, |used, tx| {
        Box::pin(async move {
            let id = used.given.session();
            let Some(before) = store::session_get(tx, id).await? else {
                return Ok(Effect::nothing(None));
            };
            let owner = principal::principal_get(tx, before.principal_id).await?;
            let alive = |it: &Principal| !it.disabled && it.token_generation == used.generation;
            if !owner.as_ref().is_some_and(alive)
                || before.created_at <= store::epoch_get(tx).await?
            {
                return Ok(Effect::nothing(None));
            }
            let (by, name) = (before.principal_id, session::name(&before));
            let used_at = now();
            Ok(match judge(&before, used.given, used_at) {
                Verdict::Current => {
                    let next = used.given.successor(&used.salt);
                    let after = Session {
                        secret_sha256: next.single_sha256(),
                        before: Some(Predecessor {
                            secret_sha256: before.secret_sha256,
                            salt: used.salt,
                            used_at,
                        }),
                        last_used_at: used_at,
                        source: used.source.to_owned(),
                        ..before
                    };
                    store::session_update(tx, &after)?;
                    Effect::at(name, store::key(id), Some((after, next))).by(by)
                }
                Verdict::Again(salt) => {
                    let next = used.given.successor(&salt);
                    Effect::of(name, Some((before, next)))
                        .because("it was asked again, as for an answer that was lost")
                        .by(by)
                }
                Verdict::Reused | Verdict::Foreign => Effect::nothing(None),
            })
        })
    });
    let actor = actor(from, &owner.name);
    let done = commit_own(&core.db, &core.ledger, &actor, REFRESH, &mut change).await?;
    Ok(done.map(|(session, next)| Going {
        session,
        refresh_token: next.reveal(),
    }))
}

/// Somebody knows a session's id and not its secrets. Only attempts that were let through come here, so that a flood of them
/// is slowed before it fills the disk; of sessions that are not there nothing is recorded at all.
async fn record_foreign(core: &Core, from: &Stranger, session: &Session) {
    let scope: Scope = session.place();
    let mut event = issue::event(from, None, &scope, Outcome::Denied, ENDED);
    event.action = REFRESH.to_owned();
    event.resource = session::name(session).to_string();
    if let Err(error) = core.ledger.record(event).await {
        tracing::error!(%error, "a failed refresh could not be recorded");
    }
}

fn actor(from: &Stranger, name: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        source: from.source.clone(),
        request_id: from.request_id.clone(),
    }
}

fn no_randomness() -> Error {
    Error::internal("the system gives no random numbers")
}

#[cfg(test)]
mod tests;
