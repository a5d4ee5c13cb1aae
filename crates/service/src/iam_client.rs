//! IAM as the other servers use it: its public keys to verify tokens offline, and its decisions.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use photon_api::components::IAM;
use photon_api::iam::v1 as api;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{AuthorizeEachRequest, AuthorizeRequest, GetJwksRequest};
use photon_program::{Endpoints, Identity, Invalid, with_token};
use photon_resource::{
    Action, Authorizer, Caller, Claims, Decision, Described, Error, Extent, PrincipalId,
    ResourceName, TokenVerifier,
};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::claims::{KeySet, Rejection};
use crate::turns::Turns;

/// How long IAM may take to answer. After that there is no decision, and none is a refusal.
const DEADLINE: Duration = Duration::from_secs(2);
/// How many decisions may be asked for at once. More wait here and not in IAM, where their [`DEADLINE`] would run:
/// a burst of calls is to take a little longer, not to be refused. Callers get their turns one after the other, so that
/// one's burst is not the others' delay.
const DECISIONS: usize = 32;
/// How long a call waits for its turn to be decided.
const PATIENCE: Duration = Duration::from_secs(20);
/// Keys are fetched at most this often, whatever tokens strangers make up.
const FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// Keys that IAM has dropped are forgotten after this long. (Until then IAM's own decision refuses them.)
const KEYS_KEPT: Duration = Duration::from_secs(60);
/// How many calls may wait for keys to be fetched; more are sent away, so that made-up key ids can't occupy all
/// calls that the server takes.
const WAITERS: usize = 2048;

/// How many verified tokens are remembered, so that a caller's next call costs a digest and not a signature.
const REMEMBERED: usize = 4096;

/// Verifies tokens with IAM's keys, and asks IAM to decide. Clones share keys and connection.
#[derive(Clone, Debug)]
pub struct IamClient {
    channel: Channel,
    keys: Arc<Keys>,
    decisions: Arc<Turns<PrincipalId>>,
    /// Who this server is, to ask about others' tokens.
    own: Option<Identity>,
}

#[derive(Debug)]
struct Keys {
    current: RwLock<Fetched>,
    fetching: Mutex<()>,
    waiters: Semaphore,
    verified: RwLock<Verified>,
}

/// What tokens said, by their digest, and the keys with which that was found: it counts for no others.
#[derive(Debug, Default)]
struct Verified {
    set: Arc<KeySet>,
    claims: HashMap<[u8; 32], Claims>,
}

#[derive(Clone, Debug, Default)]
struct Fetched {
    set: Arc<KeySet>,
    /// When the last attempt began, and when the last that worked.
    tried: Option<Instant>,
    worked: Option<Instant>,
}

impl IamClient {
    /// A client of the IAM at `endpoints.iam`. Connects when it is first needed.
    pub fn new(endpoints: &Endpoints) -> Result<Self, Invalid> {
        Ok(Self {
            channel: endpoints.channel(&IAM)?,
            keys: Arc::new(Keys {
                current: RwLock::default(),
                fetching: Mutex::new(()),
                waiters: Semaphore::new(WAITERS),
                verified: RwLock::default(),
            }),
            decisions: Turns::new(DECISIONS, DECISIONS),
            own: None,
        })
    }

    /// The same, which also asks about calls that outlast their tokens: that only who may ask about others' tokens can. Without
    /// it such a call ends with its token.
    pub fn asking_as(self, own: Identity) -> Self {
        Self {
            own: Some(own),
            ..self
        }
    }

    fn fetched(&self) -> Fetched {
        let current = self.keys.current.read();
        current
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Keys that were asked for after `since`; if `old` are none, any. Callers share a fetch, and its failure, so that none
    /// waits for longer than two take.
    async fn fetch(&self, old: &Fetched, since: Instant) -> Result<Arc<KeySet>, Error> {
        let _one = self.keys.fetching.lock().await;
        let before = self.fetched();
        let first = old.worked.is_none() && before.worked.is_some();
        if first || before.worked.is_some_and(|worked| worked >= since) {
            return Ok(before.set);
        }
        if before.tried.is_some_and(|tried| tried >= since) {
            return Err(no_keys());
        }
        if let Some(tried) = before.tried {
            tokio::time::sleep_until((tried + FETCH_INTERVAL).into()).await;
        }
        let tried = Instant::now();
        let mut client = IamTokenServiceClient::new(self.channel.clone());
        let answer = tokio::time::timeout(DEADLINE, client.get_jwks(GetJwksRequest {})).await;
        let set = match answer {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(Err(status)) => Err(status.to_string()),
            Ok(Ok(response)) => KeySet::parse(&response.into_inner().jwks_json)
                .map(Arc::new)
                .map_err(|error| format!("not a JSON Web Key Set: {error}")),
        };
        let mut current = self
            .keys
            .current
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        current.tried = Some(tried);
        let set = set.map_err(|error| {
            tracing::warn!(error, "IAM's keys could not be fetched");
            no_keys()
        })?;
        current.set = set.clone();
        current.worked = Some(tried);
        Ok(set)
    }
}

impl Keys {
    /// As [`KeySet::verify`], which is not asked again about a token that it accepted.
    fn verify(&self, set: &Arc<KeySet>, token: &str) -> Result<Claims, Rejection> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        {
            let verified = self.verified.read().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&verified.set, set)
                && let Some(claims) = verified.claims.get(&digest)
                && claims.expires_at > SystemTime::now()
            {
                return Ok(claims.clone());
            }
        }
        let claims = set.verify(token)?;
        let mut verified = self
            .verified
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&verified.set, set) || verified.claims.len() >= REMEMBERED {
            *verified = Verified {
                set: set.clone(),
                claims: HashMap::new(),
            };
        }
        verified.claims.insert(digest, claims.clone());
        Ok(claims)
    }
}

fn refused(rejection: &Rejection) -> Error {
    Error::Unauthenticated(rejection.to_string())
}

#[async_trait]
impl TokenVerifier for IamClient {
    async fn verify(&self, token: &str) -> Result<Claims, Error> {
        let now = Instant::now();
        let known = self.fetched();
        if let Some(worked) = known.worked {
            match self.keys.verify(&known.set, token) {
                Ok(claims) if now - worked < KEYS_KEPT => return Ok(claims),
                // One call gets the keys anew; the others need not wait for it.
                Ok(claims) if self.keys.fetching.try_lock().is_err() => return Ok(claims),
                Ok(_) | Err(Rejection::UnknownKey) => {}
                // Nothing that IAM could say now would make this one good.
                Err(rejection) => return Err(refused(&rejection)),
            }
        }
        let Ok(_waiter) = self.keys.waiters.try_acquire() else {
            tracing::warn!("too many calls wait for IAM's keys");
            return Err(no_keys());
        };
        let mut keys = self.fetch(&known, now).await?;
        let mut verified = self.keys.verify(&keys, token);
        // The first keys may have been asked for before this call; it waits for newer ones only if they don't do.
        if known.worked.is_none() && verified.as_ref() == Err(&Rejection::UnknownKey) {
            keys = self.fetch(&self.fetched(), now).await?;
            verified = self.keys.verify(&keys, token);
        }
        verified.map_err(|rejection| refused(&rejection))
    }
}

#[async_trait]
impl Authorizer for IamClient {
    async fn authorize(
        &self,
        caller: &Caller,
        action: &Action,
        resource: &ResourceName,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Decision, Error> {
        let message = AuthorizeRequest {
            token: caller.token.clone(),
            action: action.to_string(),
            resource: resource.to_string(),
            attributes: attributes.clone().into_iter().collect(),
        };
        let request = asking(message, caller)?;
        let mut client = IamAuthzServiceClient::new(self.channel.clone());
        let response = self.decided(caller, client.authorize(request)).await?;
        Ok(Decision {
            allowed: response.allowed,
            reason: match response.reason.as_str() {
                "" if !response.allowed => "the policy gives no reason".to_owned(),
                _ => response.reason,
            },
            extent: match (response.on_each, response.on_some) {
                (true, _) => Extent::Each,
                // An IAM of the release before says nothing of it.
                (false, true) => Extent::Some,
                (false, false) if response.allowed => Extent::Some,
                (false, false) => Extent::None,
            },
            absent: response.absent,
        })
    }

    async fn authorize_each(
        &self,
        caller: &Caller,
        action: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        let request = asking(questions(caller, action, resources), caller)?;
        let mut client = IamAuthzServiceClient::new(self.channel.clone());
        let asked = client.authorize_each(request);
        of_each(self.decided(caller, asked).await?.allowed, resources)
    }

    async fn authorize_ongoing(
        &self,
        caller: &Caller,
        action: &Action,
        resources: &[Described],
    ) -> Result<Vec<bool>, Error> {
        let ended = caller.claims.expires_at <= SystemTime::now();
        let Some(own) = self.own.as_ref().filter(|_| ended) else {
            return self.authorize_each(caller, action, resources).await;
        };
        let message = AuthorizeEachRequest {
            ongoing: true,
            ..questions(caller, action, resources)
        };
        let mut client = IamAuthzServiceClient::new(self.channel.clone());
        let mut again = true;
        loop {
            let mut request = own.request(message.clone(), &caller.request_id).await?;
            request.set_timeout(DEADLINE);
            match self.decided(caller, client.authorize_each(request)).await {
                Ok(response) => return of_each(response.allowed, resources),
                // Perhaps it is this server's own token that is not accepted any more.
                Err(Error::Unauthenticated(_)) if again => {
                    again = false;
                    own.forget().await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn questions(caller: &Caller, action: &Action, resources: &[Described]) -> AuthorizeEachRequest {
    let described = resources.iter().map(|it| api::Described {
        resource: it.name.to_string(),
        attributes: it.attributes.clone(),
    });
    AuthorizeEachRequest {
        token: caller.token.clone(),
        action: action.to_string(),
        resources: described.collect(),
        ongoing: false,
    }
}

/// One answer less, and they would be others'.
fn of_each(allowed: Vec<bool>, resources: &[Described]) -> Result<Vec<bool>, Error> {
    match allowed.len() == resources.len() {
        true => Ok(allowed),
        false => Err(no_decision()),
    }
}

/// Everyone may ask about their own token, so the server needs no right of its own here.
fn asking<T>(message: T, caller: &Caller) -> Result<Request<T>, Error> {
    let mut request = with_token(message, &caller.token, &caller.request_id)?;
    request.set_timeout(DEADLINE);
    Ok(request)
}

impl IamClient {
    /// What IAM answers, when it is its turn.
    async fn decided<T>(
        &self,
        caller: &Caller,
        asked: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.decisions).take(caller.claims.principal_id);
        let Ok(_turn) = tokio::time::timeout(PATIENCE, turn).await else {
            tracing::warn!("too many calls wait for IAM's decision");
            return Err(no_decision());
        };
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            // Revoked, or its principal disabled, since it was verified here.
            Ok(Err(status)) if status.code() == Code::Unauthenticated => {
                let text = status.message();
                let text = text.strip_prefix("not authenticated: ").unwrap_or(text);
                Err(Error::Unauthenticated(text.to_owned()))
            }
            Ok(Err(status)) => {
                tracing::warn!(%status, "IAM gave no decision");
                Err(no_decision())
            }
            Err(_) => {
                tracing::warn!("IAM gave no decision in {} s", DEADLINE.as_secs());
                Err(no_decision())
            }
        }
    }
}

fn no_keys() -> Error {
    Error::Unavailable("IAM's keys can't be had to verify the token: try again".into())
}

fn no_decision() -> Error {
    Error::Unavailable("IAM can't be reached to authorize the call: try again".into())
}
