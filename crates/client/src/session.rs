//! Calls by somebody who signed in.

use std::future::Future;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::{Stream, TryStreamExt, try_unfold};
use photon_api::iam::v1::issue_token_request::Credential as Proof;
use photon_api::iam::v1::{IssueTokenRequest, IssueTokenResponse, NewSession};
use tokio::time::{sleep, timeout};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::call::{List, Unary, Watch};
use crate::channels::Channels;
use crate::error::Error;
use crate::policy::Policy;
use crate::token_file::{Kept, TokenFile};
use crate::tokens::{Bearer, Tokens};

/// A stream that broke is opened again after this: a server that restarts is back in a moment.
const AGAIN: Duration = Duration::from_secs(2);

/// How long [`Session::keep_fresh`] sleeps at once.
const STEP: Duration = Duration::from_secs(20);

/// Items of a page, where the caller does not say: the most that servers give.
const PAGE: u32 = 1000;

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
    /// Begins a session, so that the token is renewed by itself.
    pub session: bool,
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
    /// How calls are made.
    pub policy: Policy,
    tokens: Tokens,
}

impl Session {
    /// Nobody yet: for signing in, and the few calls that need no token.
    pub fn anonymous(channels: &Channels) -> Self {
        Self {
            channels: channels.clone(),
            org: String::new(),
            project: String::new(),
            policy: Policy::default(),
            tokens: Tokens::default(),
        }
    }

    /// The bearer of a token.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn with_token(channels: &Channels, token: &str) -> Result<Self, Error> {
        let kept = Kept {
            token: token.to_owned(),
            ..Kept::default()
        };
        Ok(Self {
            tokens: Tokens::here(kept)?,
            ..Self::anonymous(channels)
        })
    }

    /// Whoever signed in with what is kept in a file, which is renewed there for all programs that use it; none, where there
    /// is nothing.
    ///
    /// # Errors
    /// When the file cannot be read, or what is in it can be no token.
    pub fn kept_in(channels: &Channels, file: &TokenFile) -> Result<Option<Self>, Error> {
        let Some(kept) = file.read()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            tokens: Tokens::in_file(kept, file.clone())?,
            ..Self::anonymous(channels)
        }))
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
            session: who.session.then(NewSession::default),
        };
        let answer = Self::anonymous(channels).call(request).await?;
        let session = Self {
            tokens: Tokens::here(Kept::from(&answer))?,
            ..Self::anonymous(channels).within(&who.org, &who.project)
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

    /// The bearer token, as it is now; empty: none.
    pub fn token(&self) -> String {
        self.tokens.token()
    }

    /// When the token ends, in seconds since the epoch; 0: not known.
    pub fn expires_at(&self) -> i64 {
        self.tokens.expires_at()
    }

    /// Whether the token is of a session, and renewed by itself.
    pub fn is_renewable(&self) -> bool {
        self.tokens.is_renewable()
    }

    /// Renews the token if that is due. Every call does so by itself but those that are streams of requests.
    ///
    /// # Errors
    /// When the session has ended; when IAM cannot be reached and the token is good no more.
    pub async fn fresh(&self) -> Result<(), Error> {
        if self.tokens.due_in() != Some(Duration::ZERO) {
            return Ok(());
        }
        let old = self.token();
        match self.tokens.renew(&self.channels, &old).await {
            Err(error) if error.is_passing() && self.is_good() => Ok(()),
            renewed => renewed,
        }
    }

    fn is_good(&self) -> bool {
        let end = u64::try_from(self.expires_at()).unwrap_or_default();
        SystemTime::now() < UNIX_EPOCH + Duration::from_secs(end)
    }

    /// Renews the token whenever that is due until it is dropped: for a call that goes on for longer than a token lasts. It
    /// also keeps a session from ending because it is not used.
    pub async fn keep_fresh(&self) -> Error {
        loop {
            let Some(due) = self.tokens.due_in() else {
                return std::future::pending().await;
            };
            if !due.is_zero() {
                // In steps, because a machine that slept has another time afterwards.
                sleep(due.min(STEP)).await;
                continue;
            }
            match self.fresh().await {
                // Not renewed: the token is good for a while, and it is tried again.
                Ok(()) if self.tokens.due_in() == Some(Duration::ZERO) => sleep(STEP).await,
                Ok(()) => {}
                Err(error) if error.is_passing() => sleep(STEP).await,
                Err(error) => return error,
            }
        }
    }

    /// Waits for a renewal that has begun, before a program ends.
    pub async fn settled(&self) {
        self.tokens.settled().await;
    }

    /// Whether a call that was refused so can be made again, with a new token: it was not carried out.
    async fn renewed_after(&self, error: &Error, old: &str) -> bool {
        error.code() == Some(Code::Unauthenticated)
            && self.is_renewable()
            && self.tokens.renew(&self.channels, old).await.is_ok()
    }

    /// A channel with the token on it, for the calls that are streams of requests.
    ///
    /// # Errors
    /// When there is no component of that name.
    pub fn api(&self, component: &str) -> Result<Authorized, Error> {
        let channel = self.channels.to(component)?;
        Ok(InterceptedService::new(channel, self.tokens.bearer()))
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
        self.fresh().await?;
        let mut number = 1;
        let mut renewed = false;
        loop {
            let token = self.token();
            let error = match self.once(component, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !renewed && self.renewed_after(&error, &token).await {
                renewed = true;
                continue;
            }
            number += 1;
            if number > self.policy.tries || !may_repeat(&error, request.is_repeatable()) {
                return Err(error);
            }
            sleep(self.policy.pause_before(number, error.retry_after())).await;
        }
    }

    /// One try, with the token as it is.
    pub(crate) async fn once<R: Unary>(
        &self,
        component: &str,
        request: R,
    ) -> Result<R::Answer, Error> {
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
        self.fresh().await?;
        let token = self.token();
        match self.opened(request.clone()).await {
            Err(error) if self.renewed_after(&error, &token).await => self.opened(request).await,
            opened => opened,
        }
    }

    async fn opened<R: Watch>(&self, request: R) -> Result<Streaming<R::Answer>, Error> {
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
                let token = self.token();
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
                            if !error.is_passing() && !self.renewed_after(&error, &token).await {
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
