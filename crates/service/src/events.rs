//! `chainfire.v1.EventService` over a server's own store; every server has it.

use chainfire::{Filter, Head, Ledger};
use photon_api::chainfire::v1::event_service_server::EventService;
use photon_api::chainfire::v1::{
    ListEventsRequest, ListEventsResponse, VerifyChainRequest, VerifyChainResponse,
};
use photon_resource::{Caller, Error, OrgId, PageRequest, ResourceName, Scope};
use tonic::{Request, Response, Status};

use crate::answer::answer;
use crate::guard::Guard;

/// Reads and proves the event log of one store.
#[derive(Clone)]
pub struct Events {
    guard: Guard,
    ledger: Ledger,
}

impl Events {
    /// The log that is `ledger`, for whom `guard` lets through.
    pub fn new(guard: Guard, ledger: Ledger) -> Self {
        Self { guard, ledger }
    }

    /// Whose chain is meant (`None`: the system's), if the caller may do `action` there; `in_project`: with a token for a
    /// project it need not be permitted in more than that.
    async fn chain(
        &self,
        caller: &Caller,
        org_id: &str,
        action: &str,
        in_project: bool,
    ) -> Result<Option<OrgId>, Error> {
        let org = match org_id {
            "" => caller.claims.org_id.clone(),
            chainfire::SYSTEM_CHAIN => None,
            id => Some(id.parse()?),
        };
        let claims = &caller.claims;
        let scope = match (&org, &claims.project_id) {
            (None, _) => Scope::System,
            (Some(org), Some(project)) if in_project && claims.org_id.as_ref() == Some(org) => {
                Scope::Project(org.clone(), project.clone())
            }
            (Some(org), _) => Scope::Org(org.clone()),
        };
        let resource = ResourceName::any(scope, "events");
        self.guard.authorize(caller, action, &resource, &[]).await?;
        Ok(org)
    }
}

#[tonic::async_trait]
impl EventService for Events {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        answer(async {
            let caller = self.guard.authenticate(&request).await?;
            let request = request.into_inner();
            let org = self
                .chain(&caller, &request.org_id, "audit:events:list", true)
                .await?;
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let mut filter = Filter::from_request(org, &request)?;
            // A project's token reads what happened in its project.
            filter.project = caller.claims.project_id.clone();
            let found = self.ledger.list(&filter, &page).await?;
            Ok(ListEventsResponse {
                events: found.events.into_iter().map(Into::into).collect(),
                next_page_token: found.next_page_token,
            })
        })
        .await
    }

    async fn verify_chain(
        &self,
        request: Request<VerifyChainRequest>,
    ) -> Result<Response<VerifyChainResponse>, Status> {
        answer(async {
            let caller = self.guard.authenticate(&request).await?;
            let request = request.into_inner();
            let org = self
                .chain(&caller, &request.org_id, "audit:events:verify", false)
                .await?;
            let known = Head::from_request(&request)?;
            let report = self.ledger.verify(org.as_ref(), known).await?;
            Ok(report.into())
        })
        .await
    }
}
