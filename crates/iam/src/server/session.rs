//! `SessionService`.

use photon_api::iam::v1::session_service_server::SessionService;
use photon_api::iam::v1::*;
use photon_resource::{Caller, Error, PageRequest, ResourceName};
use photon_service::answer;
use tonic::{Request, Response, Status};

use super::Server;
use super::access::{Described, Sought};
use super::principal::reach_other;
use super::token::stranger;
use crate::app::{refresh, session as app};
use crate::convert;
use crate::model::{Principal, Session as Model};

/// All sessions of a principal.
fn all_of(owner: &Principal) -> Described {
    (app::all(owner), vec![("owner", owner.id.to_string())])
}

fn describe(session: &Model) -> Described {
    let owner = session.principal_id.to_string();
    (app::name(session), vec![("owner", owner)])
}

/// The principal whose sessions are meant: the caller itself, or one that it may do that to.
async fn owner(
    server: &Server,
    caller: &Caller,
    action: &str,
    given: &str,
) -> Result<Principal, Error> {
    let own = caller.claims.principal_id.to_string();
    let given = if given.is_empty() { &own } else { given };
    reach_other(server, caller, action, (given, "sessions"), all_of).await
}

#[tonic::async_trait]
impl SessionService for Server {
    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        answer(async {
            let from = stranger(&request);
            let given = &request.get_ref().refresh_token;
            let issued = refresh::refresh(&self.core, &from, given).await?;
            Ok(convert::refreshed(issued, &self.core.lasting))
        })
        .await
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        answer(async {
            const ACTION: &str = "iam:sessions:list";
            let (caller, request) = self.open(request).await?;
            let owner = owner(self, &caller, ACTION, &request.principal_id).await?;
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = app::list(&self.core, &caller, &owner, &page).await?;
            let wire = |it| convert::session(it, &self.core.lasting);
            Ok(ListSessionsResponse {
                sessions: page.items.iter().map(wire).collect(),
                next_page_token: page.next_page_token,
            })
        })
        .await
    }

    async fn end_session(
        &self,
        request: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        answer(async {
            const ACTION: &str = "iam:sessions:end";
            let (caller, request) = self.open(request).await?;
            if !request.id.is_empty() && !request.principal_id.is_empty() {
                return Err(Error::invalid(
                    "principal_id",
                    &request.principal_id,
                    "none, because a session is given: one or the other",
                ));
            }
            if !request.principal_id.is_empty() {
                let owner = owner(self, &caller, ACTION, &request.principal_id).await?;
                let mutation = self.mutation(&caller, ACTION, &request.request_id, &request)?;
                return app::end_all(&self.core, mutation, &owner).await;
            }
            let id = match request.id.as_str() {
                "" => app::of_token(&self.core, &caller)?.to_string(),
                given => given.to_owned(),
            };
            let found = app::find(&self.core, &id).await;
            if let Err(Error::NotFound { .. }) = found {
                let repeated = self
                    .core
                    .repeated(&caller, ACTION, &request.request_id, &request);
                if let Some(earlier) = repeated.await? {
                    return Ok(earlier);
                }
            }
            let session = match found {
                Ok(own) if app::is_own(&caller, &own) => own,
                found => {
                    let sought = Sought {
                        action: ACTION,
                        noun: "session",
                        given: &id,
                        nearest: ResourceName::any(caller.claims.scope(), "sessions"),
                    };
                    self.reveal(&caller, sought, found, describe).await?
                }
            };
            let mutation = self.mutation(&caller, ACTION, &request.request_id, &request)?;
            app::end(&self.core, mutation, session.id).await
        })
        .await
    }
}
