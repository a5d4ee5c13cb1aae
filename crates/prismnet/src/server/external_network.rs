//! `ExternalNetworkService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::external_network_service_server::ExternalNetworkService;
use photon_catalog::access::borrowed;
use photon_catalog::stored::attributes;
use photon_catalog::{Access, Answer, Desk, Query, Stored};
use photon_resource::{Caller, PageRequest, Scope};
use photon_service::answer;
use tonic::Request;

use crate::model::ExternalNetwork;
use crate::{app, convert};

/// The service over `app`.
pub struct ExternalNetworks {
    desk: Desk<ExternalNetwork>,
    app: app::ExternalNetworks,
}

impl ExternalNetworks {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::ExternalNetworks) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }

    fn access(&self) -> &Access {
        self.desk.access()
    }
}

/// Whether the token is for the whole system.
fn is_operator(caller: &Caller) -> bool {
    caller.claims.org_id.is_none()
}

#[tonic::async_trait]
impl ExternalNetworkService for ExternalNetworks {
    async fn create_external_network(
        &self,
        request: Request<pb::CreateExternalNetworkRequest>,
    ) -> Answer<pb::CreateExternalNetworkResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.into_inner();
            let owner = caller.claims.principal_id;
            let attributes = attributes(Some(owner), Some(&request.name), Some(&request.labels));
            let kind = ExternalNetwork::KIND;
            let (action, all) = (kind.action("create"), kind.any(Scope::System));
            let guard = self.access().guard();
            guard
                .authorize(&caller, &action, &all, &borrowed(&attributes))
                .await?;
            let mutation =
                self.access()
                    .mutation(&caller, &action, &request.request_id, &request)?;
            let new = convert::new_external_network(owner, request)?;
            let answer = |network: &ExternalNetwork| pb::CreateExternalNetworkResponse {
                external_network: Some(convert::external_network(network, true)),
            };
            self.app.create(mutation, new, answer).await
        })
        .await
    }

    async fn get_external_network(
        &self,
        request: Request<pb::GetExternalNetworkRequest>,
    ) -> Answer<pb::GetExternalNetworkResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let id = &request.get_ref().id;
            let network = app::external_network_to_use(self.access(), &caller, id).await?;
            Ok(pb::GetExternalNetworkResponse {
                external_network: Some(convert::external_network(&network, is_operator(&caller))),
            })
        })
        .await
    }

    async fn list_external_networks(
        &self,
        request: Request<pb::ListExternalNetworksRequest>,
    ) -> Answer<pb::ListExternalNetworksResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.into_inner();
            let listed = self.access().listed::<ExternalNetwork>(&caller, "", "");
            let (_, shown) = listed.await?;
            let query = Query {
                // They are the cloud's own: which of them an organization sees is not a matter of where they are.
                scope: Scope::System,
                page: PageRequest::parse(request.page_size, &request.page_token)?,
                name: request.name,
                labels: request.labels,
            };
            let org = caller.claims.org_id.as_ref();
            let mut page = self.app.list(query, org).await?;
            page.items = self.access().shown(&caller, &shown, page.items).await?;
            let wire = |network| convert::external_network(network, is_operator(&caller));
            Ok(pb::ListExternalNetworksResponse {
                external_networks: page.items.iter().map(wire).collect(),
                next_page_token: page.next_page_token,
                revision: page.revision,
            })
        })
        .await
    }

    async fn update_external_network(
        &self,
        request: Request<pb::UpdateExternalNetworkRequest>,
    ) -> Answer<pb::UpdateExternalNetworkResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, network: ExternalNetwork, request| async move {
                    let changes = convert::external_network_changes(request)?;
                    let answer = |network: &ExternalNetwork| pb::UpdateExternalNetworkResponse {
                        external_network: Some(convert::external_network(network, true)),
                    };
                    self.app.update(mutation, network.id, changes, answer).await
                },
            )
            .await
    }

    async fn delete_external_network(
        &self,
        request: Request<pb::DeleteExternalNetworkRequest>,
    ) -> Answer<pb::DeleteExternalNetworkResponse> {
        self.desk
            .change(request, "delete", |mutation, network, _| {
                self.app.delete(mutation, network.id)
            })
            .await
    }
}
