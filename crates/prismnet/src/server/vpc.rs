//! `VpcService`.

use std::ops::ControlFlow;

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::vpc_service_server::VpcService;
use photon_resource::PageRequest;
use tonic::{Request, Response, Status};

use super::access::{Access, Named};
use crate::model::{Vpc, kind};
use crate::store::Query;
use crate::{app, convert};

const CREATE: &str = "network:vpcs:create";
const GET: &str = "network:vpcs:get";
const LIST: &str = "network:vpcs:list";
const UPDATE: &str = "network:vpcs:update";
const DELETE: &str = "network:vpcs:delete";

/// The service over `app`.
pub struct Vpcs {
    access: Access,
    app: app::Vpcs,
}

impl Vpcs {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Vpcs) -> Self {
        Self { access, app }
    }
}

#[tonic::async_trait]
impl VpcService for Vpcs {
    async fn create_vpc(
        &self,
        request: Request<pb::CreateVpcRequest>,
    ) -> Result<Response<pb::CreateVpcResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let tenant = self
            .access
            .create(
                &caller,
                CREATE,
                kind::VPCS,
                (&request.org_id, &request.project_id),
                &request.name,
                &convert::labels(request.labels.clone()),
            )
            .await?;
        let mutation = self
            .access
            .mutation(&caller, CREATE, &request.request_id, &request)?;
        let new = convert::new_vpc(tenant, request)?;
        let answer = |vpc: &Vpc| pb::CreateVpcResponse {
            vpc: Some(convert::vpc(vpc)),
        };
        Ok(Response::new(self.app.create(mutation, new, answer).await?))
    }

    async fn get_vpc(
        &self,
        request: Request<pb::GetVpcRequest>,
    ) -> Result<Response<pb::GetVpcResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let named = Named {
            id: &request.id,
            org_id: &request.org_id,
            project_id: &request.project_id,
        };
        let vpc: Vpc = self.access.reach(&caller, GET, named).await?;
        Ok(Response::new(pb::GetVpcResponse {
            vpc: Some(convert::vpc(&vpc)),
        }))
    }

    async fn list_vpcs(
        &self,
        request: Request<pb::ListVpcsRequest>,
    ) -> Result<Response<pb::ListVpcsResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let scope = self
            .access
            .list(
                &caller,
                LIST,
                kind::VPCS,
                &request.org_id,
                &request.project_id,
            )
            .await?;
        let query = Query {
            scope,
            page: PageRequest::parse(request.page_size, &request.page_token)?,
            name: request.name,
            labels: convert::labels(request.labels),
        };
        let page = self.app.list(query).await?;
        Ok(Response::new(pb::ListVpcsResponse {
            vpcs: page.items.iter().map(convert::vpc).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn update_vpc(
        &self,
        request: Request<pb::UpdateVpcRequest>,
    ) -> Result<Response<pb::UpdateVpcResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let mutation = self
            .access
            .mutation(&caller, UPDATE, &request.request_id, &request)?;
        let named = Named::own(&request.id);
        let reached = self
            .access
            .reach_for(&caller, UPDATE, named, &mutation)
            .await?;
        let vpc: Vpc = match reached {
            ControlFlow::Continue(vpc) => vpc,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let changes = convert::changes(
            request.name,
            request.description,
            request.labels,
            request.expected_revision,
        );
        let answer = |vpc: &Vpc| pb::UpdateVpcResponse {
            vpc: Some(convert::vpc(vpc)),
        };
        Ok(Response::new(
            self.app.update(mutation, vpc.id, changes, answer).await?,
        ))
    }

    async fn delete_vpc(
        &self,
        request: Request<pb::DeleteVpcRequest>,
    ) -> Result<Response<pb::DeleteVpcResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let mutation = self
            .access
            .mutation(&caller, DELETE, &request.request_id, request)?;
        let named = Named::own(&request.id);
        let reached = self
            .access
            .reach_for(&caller, DELETE, named, &mutation)
            .await?;
        let vpc: Vpc = match reached {
            ControlFlow::Continue(vpc) => vpc,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        Ok(Response::new(self.app.delete(mutation, vpc.id).await?))
    }
}
