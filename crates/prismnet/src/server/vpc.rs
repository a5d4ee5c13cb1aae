//! `VpcService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::vpc_service_server::VpcService;
use photon_catalog::desk::WatchStream;
use photon_catalog::{Access, Answer, Desk, News};
use tonic::Request;

use crate::model::Vpc;
use crate::{app, convert};

/// The service over `app`.
pub struct Vpcs {
    desk: Desk<Vpc>,
    app: app::Vpcs,
}

impl Vpcs {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Vpcs) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }
}

#[tonic::async_trait]
impl VpcService for Vpcs {
    async fn create_vpc(
        &self,
        request: Request<pb::CreateVpcRequest>,
    ) -> Answer<pb::CreateVpcResponse> {
        self.desk
            .create(request, convert::new_vpc, |mutation, new| {
                let answer = |vpc: &Vpc| pb::CreateVpcResponse {
                    vpc: Some(convert::vpc(vpc)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_vpc(&self, request: Request<pb::GetVpcRequest>) -> Answer<pb::GetVpcResponse> {
        self.desk
            .get(request, |vpc| pb::GetVpcResponse {
                vpc: Some(convert::vpc(vpc)),
            })
            .await
    }

    async fn list_vpcs(
        &self,
        request: Request<pb::ListVpcsRequest>,
    ) -> Answer<pb::ListVpcsResponse> {
        self.desk
            .list(
                request,
                |query, _| self.app.list(query),
                |page| pb::ListVpcsResponse {
                    vpcs: page.items.iter().map(convert::vpc).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    type WatchVpcsStream = WatchStream<pb::WatchVpcsResponse>;

    async fn watch_vpcs(
        &self,
        request: Request<pb::WatchVpcsRequest>,
    ) -> Answer<Self::WatchVpcsStream> {
        self.desk
            .watch(request, |news, revision| {
                let mut told = pb::WatchVpcsResponse {
                    revision,
                    ..Default::default()
                };
                match news {
                    News::Now(vpc) => told.vpc = Some(convert::vpc(&vpc)),
                    News::Gone(id) => told.deleted_id = id.to_string(),
                    News::Synced => {}
                }
                told
            })
            .await
    }

    async fn update_vpc(
        &self,
        request: Request<pb::UpdateVpcRequest>,
    ) -> Answer<pb::UpdateVpcResponse> {
        self.desk
            .change(request, "update", |mutation, vpc: Vpc, request| {
                let answer = |vpc: &Vpc| pb::UpdateVpcResponse {
                    vpc: Some(convert::vpc(vpc)),
                };
                self.app
                    .update(mutation, vpc.id, convert::vpc_changes(request), answer)
            })
            .await
    }

    async fn delete_vpc(
        &self,
        request: Request<pb::DeleteVpcRequest>,
    ) -> Answer<pb::DeleteVpcResponse> {
        self.desk
            .change(request, "delete", |mutation, vpc, _| {
                self.app.delete(mutation, vpc.id)
            })
            .await
    }
}
