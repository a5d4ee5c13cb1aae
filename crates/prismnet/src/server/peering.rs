//! `PeeringService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::peering_service_server::PeeringService;
use photon_catalog::access::borrowed;
use photon_catalog::stored::attributes_of;
use photon_catalog::wire::optional_id;
use photon_catalog::{Access, Answer, Desk, Stored, load};
use photon_resource::{Caller, Error};
use tonic::Request;

use crate::model::{Peer, Peering, Vpc};
use crate::{app, convert};

/// The service over `app`.
pub struct Peerings {
    desk: Desk<Peering>,
    app: app::Peerings,
}

impl Peerings {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Peerings) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }

    /// Whether the caller may see the other VPC: then it is told what stands in the way.
    async fn sees(&self, caller: &Caller, peer: &Peer) -> Result<bool, Error> {
        let access = self.desk.access();
        let vpc: Option<Vpc> = load(access.db(), &peer.vpc_id).await?;
        let Some(vpc) = vpc.filter(|it| caller.may_see(&it.scope())) else {
            return Ok(false);
        };
        let attributes = attributes_of(&vpc);
        let (action, resource) = (Vpc::KIND.action("get"), vpc.resource());
        let guard = access.guard();
        guard
            .may_also(caller, &action, &resource, &borrowed(&attributes))
            .await
    }
}

#[tonic::async_trait]
impl PeeringService for Peerings {
    async fn create_peering(
        &self,
        request: Request<pb::CreatePeeringRequest>,
    ) -> Answer<pb::CreatePeeringResponse> {
        self.desk
            .create(request, convert::new_peering, |mutation, new| async move {
                let caller = mutation.caller().clone();
                let sees_peer = self.sees(&caller, &new.peer).await?;
                let answer = |peering: &Peering| pb::CreatePeeringResponse {
                    peering: Some(convert::peering(peering)),
                };
                self.app.create(mutation, new, sees_peer, answer).await
            })
            .await
    }

    async fn accept_peering(
        &self,
        request: Request<pb::AcceptPeeringRequest>,
    ) -> Answer<pb::AcceptPeeringResponse> {
        self.desk
            .change(request, "accept", |mutation, peering: Peering, _| {
                let answer = |peering: &Peering| pb::AcceptPeeringResponse {
                    peering: Some(convert::peering(peering)),
                };
                self.app.accept(mutation, peering.id, answer)
            })
            .await
    }

    async fn reject_peering(
        &self,
        request: Request<pb::RejectPeeringRequest>,
    ) -> Answer<pb::RejectPeeringResponse> {
        self.desk
            .change(request, "reject", |mutation, peering, _| {
                self.app.reject(mutation, peering.id)
            })
            .await
    }

    async fn get_peering(
        &self,
        request: Request<pb::GetPeeringRequest>,
    ) -> Answer<pb::GetPeeringResponse> {
        self.desk
            .get(request, |peering| pb::GetPeeringResponse {
                peering: Some(convert::peering(peering)),
            })
            .await
    }

    async fn list_peerings(
        &self,
        request: Request<pb::ListPeeringsRequest>,
    ) -> Answer<pb::ListPeeringsResponse> {
        self.desk
            .list(
                request,
                |query, request: pb::ListPeeringsRequest| async move {
                    let vpc = optional_id("vpc_id", &request.vpc_id)?;
                    self.app.list(query, vpc).await
                },
                |page| pb::ListPeeringsResponse {
                    peerings: page.items.iter().map(convert::peering).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_peering(
        &self,
        request: Request<pb::UpdatePeeringRequest>,
    ) -> Answer<pb::UpdatePeeringResponse> {
        self.desk
            .change(request, "update", |mutation, peering: Peering, request| {
                let answer = |peering: &Peering| pb::UpdatePeeringResponse {
                    peering: Some(convert::peering(peering)),
                };
                let changes = convert::peering_changes(request);
                self.app.update(mutation, peering.id, changes, answer)
            })
            .await
    }

    async fn delete_peering(
        &self,
        request: Request<pb::DeletePeeringRequest>,
    ) -> Answer<pb::DeletePeeringResponse> {
        self.desk
            .change(request, "delete", |mutation, peering, _| {
                self.app.delete(mutation, peering.id)
            })
            .await
    }
}
