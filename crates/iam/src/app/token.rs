//! Revoking tokens.

use std::time::{Duration, SystemTime};

use photon_catalog::Effect;
use photon_resource::{Claims, Error, PrincipalId, ResourceName, Scope};
use photon_service::Mutation;

use super::{Core, now};
use crate::model::Principal;
use crate::store::{principal, revoked_token, to_ms};

/// For a verifier whose clock is behind by this much the token lives longer, and so must its record.
const CLOCKS: Duration = Duration::from_secs(60);

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
    let left = token
        .expires_at
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let lease = core.db.lease_grant(left + CLOCKS).await?;
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

/// Revokes all tokens that a principal has got until now.
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
