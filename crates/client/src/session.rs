//! Connections to the servers of a cloud, and calls by somebody who signed in.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, TryStreamExt, try_unfold};
use photon_api::components::COMPONENTS;
use photon_api::iam::v1::issue_token_request::Credential as Proof;
use photon_api::iam::v1::{IssueTokenRequest, IssueTokenResponse};
use tokio::time::{sleep, timeout};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::call::{List, Unary, Watch};
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::policy::Policy;

/// A server that takes longer to accept a connection is as good as away.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before it is asked whether it lives, and how long it has to answer. A
/// host that lost its power says no goodbye.
const ALIVE: Duration = Duration::from_secs(20);

/// A stream that broke is opened again after this: a server that restarts is back in a moment.
const AGAIN: Duration = Duration::from_secs(2);

/// Items of a page, where the caller does not say: the most that servers give.
const PAGE: u32 = 1000;

/// Connections to a cloud's servers. They are made when first used, and again when lost; clones share them.
#[derive(Clone)]
pub struct Channels(Arc<Connections>);

struct Connections {
    endpoints: Endpoints,
    channels: BTreeMap<&'static str, Channel>,
}

impl Channels {
    /// To the servers at these endpoints; one that is not given is looked for on this machine. Nothing is connected
    /// yet. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When a URL or the authority's file cannot be used.
    pub fn at(endpoints: impl Into<Endpoints>) -> Result<Self, Error> {
        Self::named(
            endpoints,
            concat!("photon-client/", env!("CARGO_PKG_VERSION")),
        )
    }

    /// The same, by a program that calls itself so (RFC 9110's `User-Agent`).
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn named(endpoints: impl Into<Endpoints>, agent: &str) -> Result<Self, Error> {
        let endpoints = endpoints.into().or(&Endpoints::local());
        let https = |url: &String| url.starts_with("https://");
        // Not without need: the machine's authorities are looked for at once, of which there may be none.
        let tls = match (&endpoints.ca_file, endpoints.urls.values().any(https)) {
            (_, false) => None,
            (None, true) => Some(ClientTlsConfig::new().with_native_roots()),
            (Some(path), true) => {
                let pem = std::fs::read(path).map_err(|error| {
                    Error::Settings(format!("cannot read {}: {error}", path.display()))
                })?;
                Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
            }
        };
        let mut channels = BTreeMap::new();
        for component in COMPONENTS {
            if let Some(url) = endpoints.url(component.name) {
                let channel = endpoint(url, tls.as_ref(), agent)?.connect_lazy();
                channels.insert(component.name, channel);
            }
        }
        Ok(Self(Arc::new(Connections {
            endpoints,
            channels,
        })))
    }

    /// Where they lead.
    pub fn endpoints(&self) -> &Endpoints {
        &self.0.endpoints
    }

    /// The connection to a component's server.
    ///
    /// # Errors
    /// When there is no component of that name.
    pub fn to(&self, component: &str) -> Result<Channel, Error> {
        let channel = self.0.channels.get(component).cloned();
        channel
            .ok_or_else(|| Error::Settings(format!("'{component}' is no component with a server")))
    }

    /// What a status of a call to this component's server is.
    pub fn error(&self, component: &str, status: Status) -> Error {
        let endpoint = self.0.endpoints.url(component).unwrap_or_default();
        Error::of(component, endpoint, status)
    }
}

fn endpoint(url: &str, tls: Option<&ClientTlsConfig>, agent: &str) -> Result<Endpoint, Error> {
    let wrong = |reason: &dyn std::fmt::Display| {
        Error::Settings(format!(
            "'{url}' is not an http:// or https:// URL: {reason}"
        ))
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(wrong(&"it begins with neither"));
    }
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| wrong(&error))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE)
        .user_agent(agent)
        .map_err(|error| wrong(&error))?;
    match tls {
        Some(tls) if url.starts_with("https://") => endpoint
            .tls_config(tls.clone())
            .map_err(|error| Error::Settings(format!("TLS to {url}: {error}"))),
        _ => Ok(endpoint),
    }
}

/// Puts the token into every call.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn new(token: &str) -> Result<Self, Error> {
        let mut value = MetadataValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Error::Settings("the token has characters that no token has: sign in anew".into())
        })?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A channel whose calls carry a token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// What proves who signs in.
#[derive(Clone)]
pub enum Credential {
    /// Of a user.
    Password(String),
    /// Of a service account, or a user's program.
    ApiKey(String),
}

/// Who signs in, and for what.
#[derive(Clone)]
pub struct SignIn {
    /// Name or id.
    pub principal: String,
    /// The organization; empty: the principal's own.
    pub org: String,
    /// The project; empty: the whole organization.
    pub project: String,
    /// The proof.
    pub credential: Credential,
    /// How long the token shall last, in seconds; 0: as the server has it.
    pub ttl_seconds: u32,
}

/// Somebody who calls: who signed in, or nobody yet.
#[derive(Clone)]
pub struct Session {
    /// The connections it calls over.
    pub channels: Channels,
    /// The organization that requests are about; empty: the token's.
    pub org: String,
    /// The project that requests are about; empty: the token's.
    pub project: String,
    /// When the token ends, in seconds since the epoch; 0: not known.
    pub expires_at: i64,
    /// How calls are made.
    pub policy: Policy,
    token: String,
    bearer: Bearer,
}

impl Session {
    /// Nobody yet: for signing in, and the few calls that need no token.
    pub fn anonymous(channels: &Channels) -> Self {
        Self {
            channels: channels.clone(),
            org: String::new(),
            project: String::new(),
            expires_at: 0,
            policy: Policy::default(),
            token: String::new(),
            bearer: Bearer::default(),
        }
    }

    /// The bearer of a token.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn with_token(channels: &Channels, token: &str) -> Result<Self, Error> {
        Ok(Self {
            token: token.to_owned(),
            bearer: Bearer::new(token)?,
            ..Self::anonymous(channels)
        })
    }

    /// Signs in; what IAM answered is given too.
    ///
    /// # Errors
    /// When IAM refuses, or cannot be reached.
    pub async fn sign_in(
        channels: &Channels,
        who: SignIn,
    ) -> Result<(Self, IssueTokenResponse), Error> {
        let request = IssueTokenRequest {
            principal_id: who.principal,
            org_id: who.org.clone(),
            project_id: who.project.clone(),
            ttl_seconds: who.ttl_seconds,
            credential: Some(match who.credential {
                Credential::Password(password) => Proof::Password(password),
                Credential::ApiKey(key) => Proof::ApiKey(key),
            }),
            session: None,
        };
        let answer = Self::anonymous(channels).call(request).await?;
        let session = Self {
            expires_at: answer.expires_at.map_or(0, |time| time.seconds),
            ..Self::with_token(channels, &answer.token)?.within(&who.org, &who.project)
        };
        Ok((session, answer))
    }

    /// The same, about another organization's project: for an operator, who may look everywhere.
    pub fn within(&self, org: &str, project: &str) -> Self {
        Self {
            org: org.to_owned(),
            project: project.to_owned(),
            ..self.clone()
        }
    }

    /// The same token over connections of its own, as another client's would be.
    pub fn over(&self, channels: &Channels) -> Self {
        Self {
            channels: channels.clone(),
            ..self.clone()
        }
    }

    /// The same, with other limits.
    pub fn with_policy(&self, policy: Policy) -> Self {
        Self {
            policy,
            ..self.clone()
        }
    }

    /// The bearer token; empty: none.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A channel with the token on it, for the calls that are streams of requests.
    ///
    /// # Errors
    /// When there is no component of that name.
    pub fn api(&self, component: &str) -> Result<Authorized, Error> {
        let channel = self.channels.to(component)?;
        Ok(InterceptedService::new(channel, self.bearer.clone()))
    }

    /// Calls, and waits for the answer.
    ///
    /// # Errors
    /// When there is none: see [`Error`].
    pub async fn call<R: Unary>(&self, request: R) -> Result<R::Answer, Error> {
        self.call_at(R::COMPONENT, request).await
    }

    /// As [`call`](Self::call), of a service that each component's server has for itself.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_at<R: Unary>(&self, component: &str, request: R) -> Result<R::Answer, Error> {
        let mut number = 1;
        loop {
            let error = match self.once(component, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            number += 1;
            if number > self.policy.tries || !may_repeat(&error, request.is_repeatable()) {
                return Err(error);
            }
            sleep(self.policy.pause_before(number, error.retry_after())).await;
        }
    }

    async fn once<R: Unary>(&self, component: &str, request: R) -> Result<R::Answer, Error> {
        let mut grpc = Grpc::new(self.api(component)?);
        let codec = ProstCodec::<R, R::Answer>::default();
        let path = PathAndQuery::from_static(R::PATH);
        let deadline = self.policy.deadline;
        let mut request = Request::new(request);
        // So that the server, too, gives up what nobody waits for; after us, who then know why there is no answer.
        request.set_timeout(deadline + Duration::from_secs(1));
        let answering = async {
            grpc.ready().await.map_err(away)?;
            grpc.unary(request, path, codec).await
        };
        match timeout(deadline, answering).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.channels.error(component, status)),
            Err(_) => Err(Error::deadline(deadline)),
        }
    }

    /// Opens a stream of answers.
    ///
    /// # Errors
    /// When it is refused, or the server cannot be reached.
    pub async fn watch<R: Watch>(&self, request: R) -> Result<Streaming<R::Answer>, Error> {
        let mut grpc = Grpc::new(self.api(R::COMPONENT)?);
        let codec = ProstCodec::<R, R::Answer>::default();
        let path = PathAndQuery::from_static(R::PATH);
        let wrong = |status| self.channels.error(R::COMPONENT, status);
        grpc.ready().await.map_err(|error| wrong(away(error)))?;
        let opened = grpc.server_streaming(Request::new(request), path, codec);
        Ok(opened.await.map_err(wrong)?.into_inner())
    }

    /// All items of a list, page after page as they are taken.
    pub fn list<R: List>(&self, request: R) -> impl Stream<Item = Result<R::Item, Error>> {
        self.list_at(R::COMPONENT, request)
    }

    /// As [`list`](Self::list), of a service that each component's server has for itself.
    pub fn list_at<R: List>(
        &self,
        component: &str,
        mut request: R,
    ) -> impl Stream<Item = Result<R::Item, Error>> {
        let (size, _) = request.page_mut();
        if *size == 0 {
            *size = PAGE;
        }
        let (session, component) = (self.clone(), component.to_owned());
        try_unfold(Some(request), move |request| {
            let (session, component) = (session.clone(), component.clone());
            async move {
                let Some(mut request) = request else {
                    return Ok(None);
                };
                let (items, next) = R::page(session.call_at(&component, request.clone()).await?);
                let (_, token) = request.page_mut();
                if !next.is_empty() && *token == next {
                    return Err(Error::Settings(format!(
                        "{} gives the same page of a list again and again",
                        crate::endpoints::title(&component)
                    )));
                }
                token.clone_from(&next);
                let items = futures::stream::iter(items.into_iter().map(Ok));
                Ok(Some((items, (!next.is_empty()).then_some(request))))
            }
        })
        .try_flatten()
    }

    /// All items of a list, together.
    ///
    /// # Errors
    /// As [`call`](Self::call), of the first page that cannot be had.
    pub async fn all<R: List>(&self, request: R) -> Result<Vec<R::Item>, Error> {
        self.list(request).try_collect().await
    }

    /// Follows a stream until `step` has seen enough, opening it again when the connection breaks: what a stream
    /// begins with says how things are now.
    ///
    /// # Errors
    /// When it is refused; [`Followed::Late`] is no error.
    pub async fn follow<R: Watch, T>(
        &self,
        request: R,
        limit: Option<Duration>,
        mut step: impl FnMut(News<R::Answer>) -> ControlFlow<T>,
    ) -> Result<Followed<T>, Error> {
        let following = async {
            let mut begun = false;
            loop {
                let mut stream = match self.watch(request.clone()).await {
                    Ok(stream) => stream,
                    // It was there a moment ago: the server restarts.
                    Err(error) if begun && error.is_passing() => {
                        sleep(AGAIN).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                begun = true;
                if let ControlFlow::Break(found) = step(News::Begun) {
                    return Ok(Followed::Reached(found));
                }
                loop {
                    match stream.message().await {
                        Ok(Some(answer)) => {
                            if let ControlFlow::Break(found) = step(News::Change(answer)) {
                                return Ok(Followed::Reached(found));
                            }
                        }
                        Ok(None) => break,
                        Err(status) => {
                            let error = self.channels.error(R::COMPONENT, status);
                            if !error.is_passing() {
                                return Err(error);
                            }
                            break;
                        }
                    }
                }
                sleep(AGAIN).await;
            }
        };
        within_limit(limit, following)
            .await
            .unwrap_or(Ok(Followed::Late))
    }
}

/// What a followed stream tells.
#[derive(Debug)]
pub enum News<A> {
    /// It was opened, for the first time or again: what comes now may have been told before.
    Begun,
    /// An answer.
    Change(A),
}

/// How following ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Followed<T> {
    /// What was waited for.
    Reached(T),
    /// It did not come in time.
    Late,
}

/// Nothing: the limit was reached.
async fn within_limit<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        None => Some(work.await),
        Some(limit) => timeout(limit, work).await.ok(),
    }
}

/// What the service below says when it is not ready: it has no connection.
fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Status {
    Status::from_error(error.into())
}

/// Nobody knows whether a call that broke off arrived, and it must not count twice; what never left may go again.
fn may_repeat(error: &Error, repeatable: bool) -> bool {
    let refused_connection =
        matches!(error, Error::Unreachable { cause, .. } if cause.contains("refused"));
    // A server that is not there will not be there in a moment either: say so at once.
    error.is_passing() && repeatable && !refused_connection
}
