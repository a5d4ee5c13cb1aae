//! The handlers of a service: what is the same in every call of every noun. A service says what a call converts to and
//! who carries it out.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;

use futures::Stream;
use photon_api::request;
use photon_resource::{Error, PageRequest};
use photon_service::{Mutation, Supervision, answer, status};
use tonic::{Request, Response, Status};

use crate::access::{Access, Named};
use crate::feed::{Feed, News};
use crate::follower::Follower;
use crate::list::{Listing, Query};
use crate::stored::Stored;
use crate::wire::Tenant;

/// What a handler answers.
pub type Answer<T> = Result<Response<T>, Status>;

/// What a watch answers.
pub type WatchStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// Takes the calls about resources of one type. Clones share everything.
pub struct Desk<R: Stored> {
    access: Access,
    follower: Follower<R>,
}

impl<R: Stored> Clone for Desk<R> {
    fn clone(&self) -> Self {
        Self {
            access: self.access.clone(),
            follower: self.follower.clone(),
        }
    }
}

impl<R: Stored> Desk<R> {
    /// Calls go through `access`.
    pub fn new(access: Access) -> Self {
        Self {
            follower: Follower::new(access.db().clone()),
            access,
        }
    }

    /// For calls that are like no other.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// A call that makes a resource in a project: `new` converts it, `make` carries it out.
    pub async fn create<Q, N, A, F>(
        &self,
        request: Request<Q>,
        new: impl FnOnce(Tenant, Q) -> Result<N, Error> + Send,
        make: impl FnOnce(Mutation, N) -> F + Send,
    ) -> Answer<A>
    where
        Q: prost::Message + request::InTenant + request::Repeatable + request::Labelled,
        F: Future<Output = Result<A, Error>> + Send,
    {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let tenant = self
                .access
                .create::<R>(
                    &caller,
                    (request.org_id(), request.project_id()),
                    request.name(),
                    request.labels(),
                    &[],
                )
                .await?;
            let action = R::KIND.action("create");
            let mutation =
                self.access
                    .mutation(&caller, &action, request.request_id(), &request)?;
            make(mutation, new(tenant, request)?).await
        })
        .await
    }

    /// A call that reads one resource.
    pub async fn get<Q, A>(
        &self,
        request: Request<Q>,
        wire: impl FnOnce(&R) -> A + Send,
    ) -> Answer<A>
    where
        Q: request::Named + request::InTenant + Send + Sync,
    {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let named = Named {
                id: request.id(),
                org_id: request.org_id(),
                project_id: request.project_id(),
            };
            let found: R = self.access.reach(&caller, "get", named).await?;
            Ok(wire(&found))
        })
        .await
    }

    /// A call that reads a page of a list: `page` reads it, `wire` makes the answer of those that the caller is shown.
    pub async fn list<Q, A, F>(
        &self,
        request: Request<Q>,
        page: impl FnOnce(Query, Q) -> F + Send,
        wire: impl FnOnce(Listing<R>) -> A + Send,
    ) -> Answer<A>
    where
        Q: request::InTenant + request::Paged + request::Labelled + Send + Sync,
        F: Future<Output = Result<Listing<R>, Error>> + Send,
    {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let (org, project) = (request.org_id(), request.project_id());
            let (scope, shown) = self.access.listed::<R>(&caller, org, project).await?;
            let query = Query {
                scope,
                page: PageRequest::parse(request.page_size(), request.page_token())?,
                name: request.name().to_owned(),
                labels: request.labels().clone(),
            };
            let mut page = page(query, request).await?;
            page.items = self.access.shown(&caller, &shown, page.items).await?;
            Ok(wire(page))
        })
        .await
    }

    /// A call that changes one resource, which it names by its `id`: `make` carries `verb` out.
    pub async fn change<Q, A, F>(
        &self,
        request: Request<Q>,
        verb: &str,
        make: impl FnOnce(Mutation, R, Q) -> F + Send,
    ) -> Answer<A>
    where
        Q: prost::Message + request::Named + request::Repeatable,
        A: prost::Message + Default,
        F: Future<Output = Result<A, Error>> + Send,
    {
        let named = |request: &Q| request.id().to_owned();
        self.change_of(request, named, verb, make).await
    }

    /// As [`change`](Self::change), of the resource that is `named` otherwise.
    pub async fn change_of<Q, A, F>(
        &self,
        request: Request<Q>,
        named: impl FnOnce(&Q) -> String + Send,
        verb: &str,
        make: impl FnOnce(Mutation, R, Q) -> F + Send,
    ) -> Answer<A>
    where
        Q: prost::Message + request::Repeatable,
        A: prost::Message + Default,
        F: Future<Output = Result<A, Error>> + Send,
    {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let action = R::KIND.action(verb);
            let mutation =
                self.access
                    .mutation(&caller, &action, request.request_id(), &request)?;
            let id = named(&request);
            let reached = self
                .access
                .reach_for(&caller, verb, Named::own(&id), &mutation)
                .await?;
            match reached {
                ControlFlow::Continue(found) => make(mutation, found, request).await,
                ControlFlow::Break(earlier) => Ok(earlier),
            }
        })
        .await
    }

    /// A call that follows the resources of a project, of an organization or all, from a revision on (0: what is there
    /// first). It ends when the caller's right does.
    pub async fn watch<Q, A>(
        &self,
        request: Request<Q>,
        wire: impl Fn(News<R>, u64) -> A + Send + 'static,
    ) -> Answer<WatchStream<A>>
    where
        Q: request::InTenant + request::Since + Send + Sync,
        A: Send + 'static,
    {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let (org, project) = (request.org_id(), request.project_id());
            let scope = self.access.all::<R>(&caller, "watch", org, project).await?;
            let since = (request.since_revision() != 0).then_some(request.since_revision());
            let feed = self.follower.feed(scope.clone(), since).await?;
            let supervision = self.access.guard().supervise(
                caller,
                R::KIND.action("watch"),
                R::KIND.any(scope),
                Vec::new(),
            );
            Ok(followed(feed, supervision, wire))
        })
        .await
    }
}

fn followed<R: Stored, A: Send + 'static>(
    feed: Feed<R>,
    supervision: Supervision,
    wire: impl Fn(News<R>, u64) -> A + Send + 'static,
) -> WatchStream<A> {
    let begin = (feed, supervision, wire);
    Box::pin(futures::stream::try_unfold(
        begin,
        async |(mut feed, mut supervision, wire)| {
            let next = tokio::select! {
                next = feed.next() => next.map_err(status)?,
                error = supervision.lost() => return Err(status(error)),
            };
            let told = wire(next.0, next.1);
            Ok(Some((told, (feed, supervision, wire))))
        },
    ))
}
