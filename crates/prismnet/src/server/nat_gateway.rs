//! `NatGatewayService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::nat_gateway_service_server::NatGatewayService;
use photon_catalog::wire::optional_id;
use photon_catalog::{Access, Answer, Desk};
use tonic::Request;

use crate::model::NatGateway;
use crate::{app, convert};

/// The service over `app`.
pub struct NatGateways {
    desk: Desk<NatGateway>,
    app: app::NatGateways,
}

impl NatGateways {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::NatGateways) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }
}

#[tonic::async_trait]
impl NatGatewayService for NatGateways {
    async fn create_nat_gateway(
        &self,
        request: Request<pb::CreateNatGatewayRequest>,
    ) -> Answer<pb::CreateNatGatewayResponse> {
        self.desk
            .create(request, convert::new_nat_gateway, |mutation, new| {
                let answer = |gateway: &NatGateway| pb::CreateNatGatewayResponse {
                    nat_gateway: Some(convert::nat_gateway(gateway)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_nat_gateway(
        &self,
        request: Request<pb::GetNatGatewayRequest>,
    ) -> Answer<pb::GetNatGatewayResponse> {
        self.desk
            .get(request, |gateway| pb::GetNatGatewayResponse {
                nat_gateway: Some(convert::nat_gateway(gateway)),
            })
            .await
    }

    async fn list_nat_gateways(
        &self,
        request: Request<pb::ListNatGatewaysRequest>,
    ) -> Answer<pb::ListNatGatewaysResponse> {
        self.desk
            .list(
                request,
                |query, request: pb::ListNatGatewaysRequest| async move {
                    let vpc = optional_id("vpc_id", &request.vpc_id)?;
                    self.app.list(query, vpc).await
                },
                |page| pb::ListNatGatewaysResponse {
                    nat_gateways: page.items.iter().map(convert::nat_gateway).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_nat_gateway(
        &self,
        request: Request<pb::UpdateNatGatewayRequest>,
    ) -> Answer<pb::UpdateNatGatewayResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, gateway: NatGateway, request| {
                    let answer = |gateway: &NatGateway| pb::UpdateNatGatewayResponse {
                        nat_gateway: Some(convert::nat_gateway(gateway)),
                    };
                    let changes = convert::nat_gateway_changes(request);
                    self.app.update(mutation, gateway.id, changes, answer)
                },
            )
            .await
    }

    async fn delete_nat_gateway(
        &self,
        request: Request<pb::DeleteNatGatewayRequest>,
    ) -> Answer<pb::DeleteNatGatewayResponse> {
        self.desk
            .change(request, "delete", |mutation, gateway, _| {
                self.app.delete(mutation, gateway.id)
            })
            .await
    }
}
