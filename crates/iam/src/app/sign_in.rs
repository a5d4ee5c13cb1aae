//! Signing in: a credential becomes a token.

use std::time::{Duration, Instant, SystemTime};

use chainfire::Outcome;
use photon_resource::{Caller, Error, OrgId, PrincipalId, PrincipalKind, Scope};
use photon_service::{NodeCertificate, summed_up};

use super::issue::{Issued, Proven, Stranger, WRONG, Wanted, event, issue, wrong};
use super::refresh::{self, NewSession};
use super::{Core, ceiling};
use crate::credential::{ApiSecret, Attempt, Queue, address};
use crate::model::{ApiKey, Principal, validate_principal_name};
use crate::store::{api_key, principal as store};

/// By what somebody proves who it is.
pub enum Credential {
    Password(String),
    /// The secret.
    ApiKey(String),
    /// The one of the connection: see [`Stranger`].
    Certificate,
}

/// Who somebody without a token says that it is, and what it wants.
pub struct SignIn {
    /// Id or name; empty: the owner of the API key.
    pub principal: String,
    pub wanted: Wanted,
    /// To go on without this credential.
    pub session: Option<NewSession>,
}

/// Exchanges a credential for a token.
pub async fn with_credential(
    core: &Core,
    from: &Stranger,
    sign_in: &SignIn,
    credential: &Credential,
) -> Result<Issued, Error> {
    let proven = match credential {
        Credential::Password(password) => by_password(core, from, sign_in, password).await?,
        Credential::ApiKey(secret) => by_api_key(core, from, sign_in, secret).await?,
        Credential::Certificate if sign_in.session.is_some() => {
            return Err(Error::invalid(
                "session",
                "(given)",
                "none with a certificate, which a host has as long as it is one",
            ));
        }
        Credential::Certificate => by_certificate(core, from, sign_in).await?,
    };
    match &sign_in.session {
        Some(new) => refresh::begin(core, from, &sign_in.wanted, proven, new).await,
        None => issue(core, from, &sign_in.wanted, proven).await,
    }
}

/// Exchanges the right to impersonate for a token. The guard has let the caller do that.
pub async fn by_impersonation(
    core: &Core,
    caller: &Caller,
    principal: Principal,
    wanted: &Wanted,
) -> Result<Issued, Error> {
    let name = super::principal::name(&principal);
    let action = "iam:principals:impersonate";
    if let Some(impersonator) = &caller.claims.impersonator {
        return Err(Error::PermissionDenied {
            action: action.to_owned(),
            resource: name.to_string(),
            reason: format!("{} impersonates already", impersonator.name),
        });
    }
    ceiling::check_principal(core, caller, action, &name, principal.id).await?;
    let actor = core
        .live
        .known(caller.claims.principal_id)
        .await?
        .ok_or_else(|| Error::Unauthenticated("the token's principal has been deleted".into()))?;
    let from = Stranger {
        source: caller.source.clone(),
        request_id: caller.request_id.clone(),
        certificate: None,
    };
    if principal.disabled {
        return Err(Error::FailedPrecondition(format!(
            "'{}' is disabled: enable it first",
            principal.name
        )));
    }
    // Oneself is nobody else: such a token is one more of the same, and ends with the same key.
    let (actor, api_key, session) = if actor.principal.id == principal.id {
        let own = core.live.verified(&caller.token)?;
        (None, own.api_key, own.session)
    } else {
        (Some(actor.principal.clone()), None, None)
    };
    let proven = Proven {
        principal,
        api_key,
        confined: None,
        actor,
        until: Some(caller.claims.expires_at),
        session,
    };
    issue(core, &from, wanted, proven).await
}

/// How long to wait, for people and for programs that look for the number of seconds.
pub(super) fn slowed(wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Error::ResourceExhausted(format!(
        "too many failed attempts: try again in {seconds} s"
    ))
}

/// The principal that is named, without telling whether there is one.
async fn named(core: &Core, sign_in: &SignIn) -> Result<Option<Principal>, Error> {
    let id = sign_in.principal.as_str();
    if PrincipalId::looks_like(id) {
        return store::principal_find(&core.db, id.parse()?).await;
    }
    validate_principal_name(id)
        .map_err(|_| Error::invalid("principal_id", id, "the principal's UUID or name"))?;
    let org = sign_in.wanted.org.as_ref();
    let found = store::principal_find_by_name(&core.db, org, id).await?;
    match (found, org) {
        // An operator who signs in to an organization is not found there.
        (None, Some(_)) => store::principal_find_by_name(&core.db, None, id).await,
        (found, _) => Ok(found),
    }
}

/// Under which name failures are counted: the id of who is meant, or what was given.
fn counted(found: Option<&Principal>, sign_in: &SignIn) -> String {
    match found {
        Some(principal) => principal.id.to_string(),
        None => {
            let org = sign_in.wanted.org.as_ref().map_or("", OrgId::as_str);
            format!("{org}/{}", sign_in.principal)
        }
    }
}

/// With whom an attempt from `source` waits for its password to be hashed.
fn queue(attempt: &Attempt<'_>, source: &str) -> Queue {
    match attempt.address_failed() {
        true => Queue::Failed,
        false => Queue::Source(source.to_owned()),
    }
}

async fn by_password(
    core: &Core,
    from: &Stranger,
    sign_in: &SignIn,
    password: &str,
) -> Result<Proven, Error> {
    let found = named(core, sign_in).await?;
    let counted = counted(found.as_ref(), sign_in);
    let admitted = core
        .password_attempts
        .admit(&counted, &from.source, Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let hash = found
        .as_ref()
        .and_then(|principal| principal.password_hash.as_deref());
    let verified = core
        .passwords
        .verify(password, hash, queue(&attempt, &from.source));
    let right = settle_withdrawn(verified.await, attempt)?;
    let (right, attempt) = right;
    let Some(principal) = found.filter(|principal| right && !principal.disabled) else {
        attempt.failed(Instant::now());
        record_failure(core, from, sign_in, ("password", WRONG)).await;
        return Err(wrong());
    };
    attempt.succeeded();
    Ok(Proven {
        principal,
        api_key: None,
        confined: None,
        actor: None,
        until: None,
        session: None,
    })
}

/// An attempt whose outcome is not known, because we could not find it out, does not count.
fn settle_withdrawn<T>(
    outcome: Result<T, Error>,
    attempt: Attempt<'_>,
) -> Result<(T, Attempt<'_>), Error> {
    match outcome {
        Ok(outcome) => Ok((outcome, attempt)),
        Err(error) => {
            attempt.withdrawn();
            Err(error)
        }
    }
}

async fn by_api_key(
    core: &Core,
    from: &Stranger,
    sign_in: &SignIn,
    secret: &str,
) -> Result<Proven, Error> {
    let secret: ApiSecret = secret.trim().parse()?;
    // The address says nothing here: a secret of 256 bits can't be guessed, and a program on this host that has an
    // old key must not keep the others out.
    let counted = secret.key_id().to_string();
    let admitted = core.key_attempts.admit(&counted, "", Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let found = key_owner(core, sign_in, &secret).await;
    let (found, attempt) = settle_withdrawn(found, attempt)?;
    let Some((principal, key)) = found else {
        attempt.failed(Instant::now());
        record_failure(core, from, sign_in, ("API key", WRONG)).await;
        return Err(wrong());
    };
    attempt.succeeded();
    Ok(Proven {
        principal,
        api_key: Some(key.id),
        confined: key.confined,
        actor: None,
        until: key.expires_at,
        session: None,
    })
}

/// Whose API key it is, and the key, if the secret is right and the principal the one that is named (if any is).
async fn key_owner(
    core: &Core,
    sign_in: &SignIn,
    secret: &ApiSecret,
) -> Result<Option<(Principal, ApiKey)>, Error> {
    let Some(key) = api_key::api_key_find(&core.db, secret.key_id()).await? else {
        return Ok(None);
    };
    let valid = secret.matches(&key.secret_sha256)
        && key.expires_at.is_none_or(|end| SystemTime::now() < end);
    let owner = store::principal_find(&core.db, key.principal_id).await?;
    let named = match sign_in.principal.as_str() {
        "" => owner.as_ref().map(|owner| owner.id),
        _ => named(core, sign_in).await?.map(|principal| principal.id),
    };
    let right = |owner: &Principal| valid && !owner.disabled && named == Some(owner.id);
    Ok(owner.filter(right).map(|owner| (owner, key)))
}

/// Who shows the certificate of a host must be one of that host's agents. Nothing of it is a secret, so each refusal
/// says what is wrong, but not which principals there are.
async fn by_certificate(core: &Core, from: &Stranger, sign_in: &SignIn) -> Result<Proven, Error> {
    let now = SystemTime::now();
    let shown = match &from.certificate {
        Some(der) => NodeCertificate::read(der, now).map_err(|error| error.to_string()),
        None => Err(
            "the client showed no certificate: connect with one from an authority of tls.client_ca"
                .to_owned(),
        ),
    };
    // A host with a certificate can hinder itself alone, others their address.
    let counted = match &shown {
        Ok(shown) => format!("certificate/{}", shown.node),
        Err(_) => format!("certificate/{}", from.source),
    };
    let admitted = core.key_attempts.admit(&counted, "", Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let judged = match shown {
        Ok(shown) => certified(core, sign_in, &shown).await,
        Err(why) => Ok(Err(why)),
    };
    let (judged, attempt) = settle_withdrawn(judged, attempt)?;
    match judged {
        Ok(proven) => {
            attempt.succeeded();
            Ok(proven)
        }
        Err(why) => {
            attempt.failed(Instant::now());
            record_failure(core, from, sign_in, ("certificate", &why)).await;
            Err(Error::Unauthenticated(why))
        }
    }
}

/// The agent that is named, if it is one of the certificate's host; else why not.
async fn certified(
    core: &Core,
    sign_in: &SignIn,
    shown: &NodeCertificate,
) -> Result<Result<Proven, String>, Error> {
    let NodeCertificate {
        cluster,
        node,
        ends,
        addresses: _,
    } = shown;
    if let Some(own) = core.cluster.as_ref().filter(|own| *own != cluster) {
        return Ok(Err(format!(
            "the client's certificate is of cluster '{cluster}': expected '{own}'"
        )));
    }
    let found = named(core, sign_in).await?;
    let of_a_node =
        |principal: &Principal| principal.org_id.is_none() && principal.kind == PrincipalKind::Node;
    let Some(principal) = found.filter(of_a_node) else {
        return Ok(Err(format!(
            "the client's certificate is of host '{node}', but the system has no principal of kind NODE that is so named"
        )));
    };
    let whose = principal.node.as_deref().unwrap_or_default();
    Ok(if whose != node {
        Err(format!(
            "the client's certificate is of host '{node}', but '{}' is of host '{whose}'",
            principal.name
        ))
    } else if principal.disabled {
        Err(format!("'{}' is disabled", principal.name))
    } else {
        Ok(Proven {
            principal,
            api_key: None,
            confined: None,
            actor: None,
            until: Some(*ends),
            session: None,
        })
    })
}

/// Checks the password of a user who is signed in, slowed like signing in.
pub(super) async fn check_password(
    core: &Core,
    principal: &Principal,
    password: &str,
    source: &str,
) -> Result<(), Error> {
    let counted = principal.id.to_string();
    let admitted = core
        .password_attempts
        .admit(&counted, source, Instant::now());
    let attempt = admitted.map_err(slowed)?;
    let hash = principal.password_hash.as_deref();
    let verified = core
        .passwords
        .verify(password, hash, queue(&attempt, source));
    let (right, attempt) = settle_withdrawn(verified.await, attempt)?;
    if !right {
        attempt.failed(Instant::now());
        return Err(Error::invalid(
            "current_password",
            "(hidden)",
            "your current password",
        ));
    }
    attempt.succeeded();
    Ok(())
}

/// Records a wrong credential of a kind. Only attempts that were let through come here, and each made-up API key is another
/// one's first attempt: so of many from one address, one event says how many there were, and a flood of them does not fill
/// the disk. The name that was tried is in no event: people type passwords there.
async fn record_failure(
    core: &Core,
    from: &Stranger,
    sign_in: &SignIn,
    (kind, reason): (&'static str, &str),
) {
    let key = (kind, address(&from.source));
    let Some(suppressed) = core.failures.admit(key, Instant::now()) else {
        tracing::debug!(source = from.source, kind, "refused: a wrong credential");
        return;
    };
    let reason = &summed_up(reason, suppressed);
    let principal = named(core, sign_in).await.unwrap_or_default();
    let scope = principal.as_ref().map_or(Scope::System, Principal::home);
    let mut event = event(from, principal.as_ref(), &scope, Outcome::Denied, reason);
    // It is not known who that was.
    event.principal_id = None;
    if let Err(error) = core.ledger.record(event).await {
        tracing::error!(%error, "a failed sign-in could not be recorded");
    }
}
