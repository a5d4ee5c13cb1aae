//! `FloatingIpService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::floating_ip_service_server::FloatingIpService;
use photon_catalog::wire::{id_or_name, optional_id};
use photon_catalog::{Access, Answer, Desk, Stored};
use photon_resource::{Caller, Error};
use tonic::Request;

use crate::model::{FloatingIp, NatGateway, kind};
use crate::{app, convert};

/// The service over `app`.
pub struct FloatingIps {
    desk: Desk<FloatingIp>,
    app: app::FloatingIps,
}

impl FloatingIps {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::FloatingIps) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }

    /// Whether the caller may make the gateway that a floating IP needs to go to a port. Not asked for where none is needed.
    async fn may_make_gateway(
        &self,
        caller: &Caller,
        floating: &FloatingIp,
        port: &str,
    ) -> Result<bool, Error> {
        if !self.app.needs_gateway(floating, port).await? {
            return Ok(false);
        }
        let action = NatGateway::KIND.action("create");
        let all = NatGateway::KIND.any(floating.scope());
        let owner = caller.claims.principal_id.to_string();
        let guard = self.desk.access().guard();
        let attributes = [("owner", owner.as_str())];
        guard.may_also(caller, &action, &all, &attributes).await
    }
}

#[tonic::async_trait]
impl FloatingIpService for FloatingIps {
    async fn create_floating_ip(
        &self,
        request: Request<pb::CreateFloatingIpRequest>,
    ) -> Answer<pb::CreateFloatingIpResponse> {
        self.desk
            .create(request, convert::new_floating_ip, |mutation, new| {
                let answer = |floating: &FloatingIp| pb::CreateFloatingIpResponse {
                    floating_ip: Some(convert::floating_ip(floating)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_floating_ip(
        &self,
        request: Request<pb::GetFloatingIpRequest>,
    ) -> Answer<pb::GetFloatingIpResponse> {
        self.desk
            .get(request, |floating| pb::GetFloatingIpResponse {
                floating_ip: Some(convert::floating_ip(floating)),
            })
            .await
    }

    async fn list_floating_ips(
        &self,
        request: Request<pb::ListFloatingIpsRequest>,
    ) -> Answer<pb::ListFloatingIpsResponse> {
        self.desk
            .list(
                request,
                |query, request: pb::ListFloatingIpsRequest| async move {
                    let port = optional_id("port_id", &request.port_id)?;
                    self.app.list(query, port).await
                },
                |page| pb::ListFloatingIpsResponse {
                    floating_ips: page.items.iter().map(convert::floating_ip).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_floating_ip(
        &self,
        request: Request<pb::UpdateFloatingIpRequest>,
    ) -> Answer<pb::UpdateFloatingIpResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, floating: FloatingIp, request| {
                    let answer = |floating: &FloatingIp| pb::UpdateFloatingIpResponse {
                        floating_ip: Some(convert::floating_ip(floating)),
                    };
                    let changes = convert::floating_ip_changes(request);
                    self.app.update(mutation, floating.id, changes, answer)
                },
            )
            .await
    }

    async fn associate_floating_ip(
        &self,
        request: Request<pb::AssociateFloatingIpRequest>,
    ) -> Answer<pb::AssociateFloatingIpResponse> {
        self.desk
            .change(
                request,
                "associate",
                |mutation, floating: FloatingIp, request| async move {
                    let port = id_or_name("port_id", kind::PORTS.noun, request.port_id)?;
                    let caller = mutation.caller().clone();
                    let wanted = app::AssociateFloatingIp {
                        id: floating.id,
                        may_make_gateway: self.may_make_gateway(&caller, &floating, &port).await?,
                        port,
                        reassociate: request.reassociate,
                    };
                    let answer = |floating: &FloatingIp, gateway: &NatGateway| {
                        pb::AssociateFloatingIpResponse {
                            floating_ip: Some(convert::floating_ip(floating)),
                            nat_gateway: Some(convert::nat_gateway(gateway)),
                        }
                    };
                    self.app.associate(mutation, wanted, answer).await
                },
            )
            .await
    }

    async fn disassociate_floating_ip(
        &self,
        request: Request<pb::DisassociateFloatingIpRequest>,
    ) -> Answer<pb::DisassociateFloatingIpResponse> {
        self.desk
            .change(
                request,
                "disassociate",
                |mutation, floating: FloatingIp, _| {
                    let answer = |floating: &FloatingIp| pb::DisassociateFloatingIpResponse {
                        floating_ip: Some(convert::floating_ip(floating)),
                    };
                    self.app.disassociate(mutation, floating.id, answer)
                },
            )
            .await
    }

    async fn delete_floating_ip(
        &self,
        request: Request<pb::DeleteFloatingIpRequest>,
    ) -> Answer<pb::DeleteFloatingIpResponse> {
        self.desk
            .change(request, "delete", |mutation, floating, _| {
                self.app.delete(mutation, floating.id)
            })
            .await
    }
}
