//! Who calls, and whether they may: the two walls that stand before every call.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chainfire::Ledger;
use http::HeaderMap;
use photon_program::request_id::{REQUEST_ID, is_request_id, new_request_id};
use photon_resource::{
    Action, Authorizer, Caller, Claims, Decision, Described, Error, Extent, OrgId, PrincipalId,
    ProjectId, ResourceName, TokenVerifier,
};
use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::call::CallContext;
use crate::limit::Limiter;
use crate::supervise::OpenStreams;

/// How many events of refusals one address without an accepted token can cause in a row, and after how long one more.
const STRANGERS_BURST: u32 = 10;
const STRANGERS_REFILL: Duration = Duration::from_secs(10);
/// The same for one principal.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_secs(2);

mod recorded;

/// Authenticates and authorizes the calls of one server. Clones share everything.
#[derive(Clone)]
pub struct Guard {
    verifier: Arc<dyn TokenVerifier>,
    authorizer: Arc<dyn Authorizer>,
    ledger: Ledger,
    /// Which refusals are worth an event of their own, so that nobody can fill the disk with them.
    strangers: Arc<Limiter<String>>,
    refusals: Arc<Limiter<PrincipalId>>,
    /// Whose streams are open.
    open_streams: Arc<OpenStreams>,
}

impl Guard {
    /// A guard that believes `verifier` about who calls and `authorizer` about what they may, and records
    /// refusals in `ledger`.
    pub fn new(
        verifier: Arc<dyn TokenVerifier>,
        authorizer: Arc<dyn Authorizer>,
        ledger: Ledger,
    ) -> Self {
        Self {
            verifier,
            authorizer,
            ledger,
            strangers: Arc::new(Limiter::new(STRANGERS_BURST, STRANGERS_REFILL)),
            refusals: Arc::new(Limiter::new(BURST, REFILL)),
            open_streams: Arc::default(),
        }
    }

    pub(crate) fn open_streams(&self) -> &Arc<OpenStreams> {
        &self.open_streams
    }

    /// What tells from a token who calls.
    pub fn verifier(&self) -> Arc<dyn TokenVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Who calls: the bearer of the token in `authorization`.
    ///
    /// Errors: `Unauthenticated` (no token, or one that is not accepted; recorded, but limited per address, so
    /// that a flood does not fill the disk), `Unavailable` (it can't be verified now).
    pub async fn authenticate<T>(&self, request: &Request<T>) -> Result<Caller, Error> {
        let context = request.extensions().get::<CallContext>();
        let source = source(request.remote_addr().map(|address| address.ip()));
        let request_id = match context {
            Some(context) => context.request_id.to_string(),
            None => request_id(request.metadata()),
        };
        let admitted = context.and_then(|context| context.verified.get());
        let verified = match (bearer(request.metadata().as_ref()), admitted) {
            // There is one token in a call, and it was looked at when the call was let in.
            (Ok(token), Some(claims)) => Ok((token, Claims::clone(claims))),
            (Ok(token), None) => self
                .verifier
                .verify(token)
                .await
                .map(|claims| (token, claims)),
            (Err(error), _) => Err(error),
        };
        match verified {
            Ok((token, claims)) => {
                if let Some(context) = context {
                    // Set once; a handler that authenticates twice gets the same answer.
                    let _ = context.principal.set(claims.principal_name.clone());
                }
                Ok(Caller {
                    claims,
                    token: token.to_owned(),
                    source,
                    request_id,
                })
            }
            Err(error) => {
                if let Error::Unauthenticated(reason) = &error {
                    let method = context.map_or("unknown", |context| &*context.method);
                    self.record_stranger(method, &source, &request_id, reason)
                        .await;
                }
                Err(error)
            }
        }
    }

    /// Where a call comes from and its request id, for one that needs no token: `(source, request_id)`.
    pub fn origin<T>(request: &Request<T>) -> (String, String) {
        let source = source(request.remote_addr().map(|address| address.ip()));
        let request_id = match request.extensions().get::<CallContext>() {
            Some(context) => context.request_id.to_string(),
            None => request_id(request.metadata()),
        };
        (source, request_id)
    }

    /// Whether `caller` may do `action` (`service:type:verb`) on `resource`: first the wall between tenants, then
    /// the policy. `attributes` are what conditions of roles can read; `source_ip` is added.
    ///
    /// Errors: `NotFound` for what lies in another tenant (`PermissionDenied` for create and list, whose caller
    /// named the tenant itself), `PermissionDenied`, `Unauthenticated` (revoked meanwhile), `Unavailable` (no
    /// decision can be had: that is a refusal). Who might create, set or list in an organization or project that is not
    /// there gets `NotFound` naming it. Every refusal is recorded. Whoever finds things by what a caller
    /// names looks at [`Caller::may_see`] itself first and answers as of what is absent, in its words and the
    /// caller's spelling; the guard, which knows no component's, says "resource".
    pub async fn authorize(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        attributes: &[(&str, &str)],
    ) -> Result<(), Error> {
        let judged = self.decide(caller, action, resource, attributes).await;
        let refusal = match judged {
            Ok(decision) if decision.allowed => return Ok(()),
            Ok(decision) => decision,
            Err(error) => {
                self.record(caller, action, resource, &error.to_string())
                    .await;
                return Err(error);
            }
        };
        self.record(caller, action, resource, &refusal.reason).await;
        Err(absent(&refusal, resource)
            .unwrap_or_else(|| Self::refusal(caller, action, resource, &refusal.reason)))
    }

    /// What a caller is told who is refused `action` on `resource`: what it may not know of looks absent.
    pub(crate) fn refusal(
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        reason: &str,
    ) -> Error {
        let action: Action = match action.parse() {
            Ok(action) => action,
            Err(error) => return Error::internal(error),
        };
        if caller.may_see(resource.scope()) || resource.id() == "*" || is_create_or_list(&action) {
            denied(&action, resource, reason)
        } else {
            Error::not_found("resource", resource.id())
        }
    }

    /// As [`authorize`](Self::authorize), without recording a refusal: for the answer to what was recorded already.
    ///
    /// Errors: `PermissionDenied`, `NotFound`, `Unauthenticated`, `Unavailable`.
    pub async fn judge(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        attributes: &[(&str, &str)],
    ) -> Result<(), Error> {
        let decision = self.decide(caller, action, resource, attributes).await?;
        if decision.allowed {
            return Ok(());
        }
        let action: Action = action.parse().map_err(Error::internal)?;
        Err(absent(&decision, resource)
            .unwrap_or_else(|| denied(&action, resource, &decision.reason)))
    }

    /// The wall between tenants, then the policy.
    async fn decide(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        attributes: &[(&str, &str)],
    ) -> Result<Decision, Error> {
        let action: Action = action.parse().map_err(Error::internal)?;
        if !caller.may_see(resource.scope()) {
            return Ok(Decision {
                allowed: false,
                reason: "it is outside of the tenant that the token is for".to_owned(),
                extent: Extent::None,
                absent: false,
            });
        }
        let facts = facts(caller, attributes);
        self.authorizer
            .authorize(caller, &action, resource, &facts)
            .await
    }

    /// Whether `caller` may do `action` too, beside what was authorized already: for what is shown to some and left out
    /// for others. That is no refusal, so nothing is recorded.
    ///
    /// Errors: `Unavailable`, `Unauthenticated` (revoked meanwhile).
    pub async fn may_also(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        attributes: &[(&str, &str)],
    ) -> Result<bool, Error> {
        let decision = self.decide(caller, action, resource, attributes).await?;
        Ok(decision.allowed)
    }

    /// Makes sure that the organization or project is there of which `all` are all resources of a type, for what a server
    /// keeps about it and not in it. Nothing is recorded.
    ///
    /// Errors: `NotFound` naming what is not there, to whoever may do `action` there; others are told nothing.
    /// `Unavailable`, `Unauthenticated` (revoked meanwhile).
    pub async fn require_place(
        &self,
        caller: &Caller,
        action: &str,
        all: &ResourceName,
    ) -> Result<(), Error> {
        let decision = self.decide(caller, action, all, &[]).await?;
        absent(&decision, all).map_or(Ok(()), Err)
    }

    /// Which of all resources of a type (`all`) `caller` may do `action` to. Nothing is recorded.
    ///
    /// Errors: `Unavailable`, `Unauthenticated` (revoked meanwhile).
    pub async fn extent(
        &self,
        caller: &Caller,
        action: &str,
        all: &ResourceName,
    ) -> Result<Extent, Error> {
        Ok(self.decide(caller, action, all, &[]).await?.extent)
    }

    /// Whether `caller` may do `action` to each of `resources`, in their order. Those are a page of a list at most, within the
    /// caller's tenant. Nothing is recorded.
    ///
    /// Errors: as [`extent`](Self::extent).
    pub async fn may_each(
        &self,
        caller: &Caller,
        action: &str,
        resources: Vec<Described>,
    ) -> Result<Vec<bool>, Error> {
        let (action, resources) = described(caller, action, resources)?;
        if resources.is_empty() {
            return Ok(Vec::new());
        }
        self.authorizer
            .authorize_each(caller, &action, &resources)
            .await
    }

    /// As [`may_each`](Self::may_each), for calls that were permitted when they began and go on: a token that has ended since
    /// counts as long as the session lasts that it is of.
    ///
    /// Errors: as `may_each`.
    pub async fn may_go_on(
        &self,
        caller: &Caller,
        action: &str,
        resources: Vec<Described>,
    ) -> Result<Vec<bool>, Error> {
        let (action, resources) = described(caller, action, resources)?;
        self.authorizer
            .authorize_ongoing(caller, &action, &resources)
            .await
    }

    /// Organization and project of a request, empty ones taken from the token. Whether the caller may do
    /// anything there is [`authorize`](Self::authorize)'s matter.
    ///
    /// Errors: `InvalidArgument` if neither request nor token names one.
    pub fn scope(
        &self,
        caller: &Caller,
        org_id: &str,
        project_id: &str,
    ) -> Result<(OrgId, ProjectId), Error> {
        let claims = &caller.claims;
        let org: OrgId = match (org_id, &claims.org_id) {
            ("", None) => {
                return Err(Error::invalid(
                    "org_id",
                    "",
                    "the id of an organization, because the token is for the whole system",
                ));
            }
            ("", Some(org)) => org.clone(),
            (given, _) => given.parse()?,
        };
        // The token's project is one of the token's organization and says nothing about another.
        let own = claims
            .project_id
            .as_ref()
            .filter(|_| claims.org_id.as_ref() == Some(&org));
        let project = match (project_id, own) {
            ("", None) => {
                return Err(Error::invalid(
                    "project_id",
                    "",
                    "the id of a project, because the token is not for one",
                ));
            }
            ("", Some(project)) => project.clone(),
            (given, _) => given.parse()?,
        };
        Ok((org, project))
    }
}

/// What conditions of roles can read.
fn facts(caller: &Caller, attributes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut facts: BTreeMap<String, String> = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    add_source(caller, &mut facts);
    facts
}

fn add_source(caller: &Caller, facts: &mut BTreeMap<String, String>) {
    if caller.source.parse::<IpAddr>().is_ok() {
        facts.insert("source_ip".to_owned(), caller.source.clone());
    }
}

/// What IAM is asked about several resources of the caller's own tenant.
fn described(
    caller: &Caller,
    action: &str,
    mut resources: Vec<Described>,
) -> Result<(Action, Vec<Described>), Error> {
    if let Some(beyond) = resources.iter().find(|it| !caller.may_see(it.name.scope())) {
        let text = format!("{} is listed to another tenant", beyond.name);
        return Err(Error::internal(text));
    }
    for it in &mut resources {
        add_source(caller, &mut it.attributes);
    }
    Ok((action.parse().map_err(Error::internal)?, resources))
}

/// What a caller is told who is refused alone because there is no such organization or project; `None`: it is refused for
/// something else.
fn absent(decision: &Decision, resource: &ResourceName) -> Option<Error> {
    let (org, project) = (resource.scope().org(), resource.scope().project());
    match (decision.absent, project, org) {
        (true, Some(project), _) => Some(Error::not_found("project", project)),
        (true, None, Some(org)) => Some(Error::not_found("organization", org)),
        _ => None,
    }
}

fn denied(action: &Action, resource: &ResourceName, reason: &str) -> Error {
    Error::PermissionDenied {
        action: action.to_string(),
        resource: resource.to_string(),
        reason: reason.to_owned(),
    }
}

fn is_create_or_list(action: &Action) -> bool {
    let text = action.as_str();
    text.ends_with(":create") || text.ends_with(":list")
}

/// The one token of the call (RFC 6750; the scheme's case does not matter, RFC 9110).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    const NO_TOKEN: &str = "the call needs a token in 'authorization: Bearer TOKEN'";
    let wrong = |why: &str| Error::Unauthenticated(why.to_owned());
    let mut values = headers.get_all("authorization").iter();
    let value = values.next().ok_or_else(|| wrong(NO_TOKEN))?;
    if values.next().is_some() {
        return Err(wrong("the call has more than one 'authorization'"));
    }
    let text = value.to_str().map_err(|_| wrong(NO_TOKEN))?;
    match text.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
        {
            Ok(token.trim())
        }
        _ => Err(wrong(NO_TOKEN)),
    }
}

/// For a server without the call layer around it.
fn request_id(metadata: &MetadataMap) -> String {
    let given = metadata
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if is_request_id(id) => id.to_owned(),
        _ => new_request_id(),
    }
}

fn source(address: Option<IpAddr>) -> String {
    match address {
        // ::ffff:192.0.2.1 is 192.0.2.1, to conditions as to limits.
        Some(address) => address.to_canonical().to_string(),
        None => "unknown".to_owned(),
    }
}
