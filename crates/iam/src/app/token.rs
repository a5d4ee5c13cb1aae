//! Revoking tokens.

use std::time::{Duration, SystemTime};

use photon_catalog::Effect;
use photon_resource::{Claims, Error, PrincipalId, ResourceName, Scope};
use photon_service::Mutation;

use super::{Core, now, session};
use crate::model::Principal;
use crate::store::{principal, revoked_token, to_ms};

/// For how long beyond a token's end its record is kept. Leases pass by a clock that nobody sets, but a token's end is
/// judged by the host's: where that is set back, the token's time comes again. A day is more than a wrong time zone or a
/// summer's hour; and a record of a hundred bytes for each token that was revoked on that day is not much.
const CLOCK_SET_BACK: Duration = Duration::from_secs(24 * 3600);

/// How long the record of a revoked token with this end is kept from `now` on.
fn kept_for(expires_at: SystemTime, now: SystemTime) -> Duration {
    let left = expires_at.duration_since(now).unwrap_or_default();
    left + CLOCK_SET_BACK
}

/// The full name of a token: it belongs where it is for.
pub fn name(claims: &Claims) -> ResourceName {
    ResourceName::new(claims.scope(), "tokens", &claims.token_id)
}

/// The full name of all of a principal's tokens.
pub fn all_of(principal: &Principal) -> ResourceName {
    ResourceName::new(principal.home(), "tokens", principal.id)
}

/// What a token that shall be revoked says; `None`: it is of no use any more in any case.
pub fn claims(core: &Core, token: &str) -> Result<Option<Claims>, Error> {
    match core.live.verified(token) {
        Ok(verified) => Ok(Some(verified.claims.clone())),
        Err(Error::Unauthenticated(reason))
            if reason.contains("expired") || reason.contains("revoked") =>
        {
            Ok(None)
        }
        Err(Error::Unauthenticated(reason)) => Err(Error::invalid(
            "token",
            "(hidden)",
            format!("a token that IAM issued: {reason}"),
        )),
        Err(error) => Err(error),
    }
}

/// Revokes one token until its end.
pub async fn revoke<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    token: &Claims,
) -> Result<A, Error> {
    let lease = core
        .db
        .lease_grant(kept_for(token.expires_at, SystemTime::now()))
        .await?;
    core.change(
        mutation,
        (token, lease),
        |(token, lease), tx| {
            Box::pin(async move {
                let ends = to_ms(token.expires_at);
                revoked_token::revoked_token_put(tx, &token.token_id, ends, *lease)?;
                Ok(Effect::of(name(token), ()))
            })
        },
        |()| A::default(),
    )
    .await
}

/// Revokes all tokens that a principal has got until now, and ends its sessions.
pub async fn revoke_all<A: prost::Message + Default>(
    core: &Core,
    mutation: Mutation,
    id: PrincipalId,
) -> Result<A, Error> {
    core.change(
        mutation,
        id,
        |id, tx| {
            Box::pin(async move {
                let before = principal::principal_get(tx, *id)
                    .await?
                    .ok_or_else(|| Error::not_found("principal", *id))?;
                session::end_with_owner(tx, *id).await?;
                let after = Principal {
                    token_generation: before.token_generation + 1,
                    updated_at: now(),
                    revision: before.revision + 1,
                    ..before
                };
                principal::principal_update(tx, &after)?;
                Ok(Effect::of(all_of(&after), ()))
            })
        },
        |()| A::default(),
    )
    .await
}

/// Where an operator's listing of all tokens would be: what asking for others is authorized on.
pub fn asking() -> ResourceName {
    ResourceName::any(Scope::System, "tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases pass whatever the clock is set to, so the record outlives the token by what it may be set back.
    #[test]
    fn a_revoked_token_stays_so_when_the_clock_is_set_back() {
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        for (expires_at, left) in [
            (now + minute * 15, minute * 15),
            (now - minute, Duration::ZERO),
        ] {
            let gone_at = now + kept_for(expires_at, now);
            // Of a clock that is an hour, or a time zone of any kind, behind what it was.
            for back in [minute, minute * 60, minute * 60 * 14] {
                assert!(gone_at - back > now + left, "{back:?}");
            }
        }
    }
}
