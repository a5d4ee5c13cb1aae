//! `SubnetService`.

use std::ops::ControlFlow;

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::subnet_service_server::SubnetService;
use photon_resource::PageRequest;
use tonic::{Request, Response, Status};

use super::access::{Access, Named};
use crate::model::{Subnet, kind};
use crate::store::Query;
use crate::{app, convert};

const CREATE: &str = "network:subnets:create";
const GET: &str = "network:subnets:get";
const LIST: &str = "network:subnets:list";
const UPDATE: &str = "network:subnets:update";
const DELETE: &str = "network:subnets:delete";

/// The service over `app`.
pub struct Subnets {
    access: Access,
    app: app::Subnets,
}

impl Subnets {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Subnets) -> Self {
        Self { access, app }
    }
}

#[tonic::async_trait]
impl SubnetService for Subnets {
    async fn create_subnet(
        &self,
        request: Request<pb::CreateSubnetRequest>,
    ) -> Result<Response<pb::CreateSubnetResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let tenant = self
            .access
            .create(
                &caller,
                CREATE,
                kind::SUBNETS,
                (&request.org_id, &request.project_id),
                &request.name,
                &convert::labels(request.labels.clone()),
            )
            .await?;
        let mutation = self
            .access
            .mutation(&caller, CREATE, &request.request_id, &request)?;
        let new = convert::new_subnet(tenant, request)?;
        let answer = |subnet: &Subnet| pb::CreateSubnetResponse {
            subnet: Some(convert::subnet(subnet)),
        };
        Ok(Response::new(self.app.create(mutation, new, answer).await?))
    }

    async fn get_subnet(
        &self,
        request: Request<pb::GetSubnetRequest>,
    ) -> Result<Response<pb::GetSubnetResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let named = Named {
            id: &request.id,
            org_id: &request.org_id,
            project_id: &request.project_id,
        };
        let subnet: Subnet = self.access.reach(&caller, GET, named).await?;
        Ok(Response::new(pb::GetSubnetResponse {
            subnet: Some(convert::subnet(&subnet)),
        }))
    }

    async fn list_subnets(
        &self,
        request: Request<pb::ListSubnetsRequest>,
    ) -> Result<Response<pb::ListSubnetsResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let scope = self
            .access
            .list(
                &caller,
                LIST,
                kind::SUBNETS,
                &request.org_id,
                &request.project_id,
            )
            .await?;
        let vpc = convert::optional_id("vpc_id", &request.vpc_id)?;
        let query = Query {
            scope,
            page: PageRequest::parse(request.page_size, &request.page_token)?,
            name: request.name,
            labels: convert::labels(request.labels),
        };
        let page = self.app.list(query, vpc).await?;
        Ok(Response::new(pb::ListSubnetsResponse {
            subnets: page.items.iter().map(convert::subnet).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn update_subnet(
        &self,
        request: Request<pb::UpdateSubnetRequest>,
    ) -> Result<Response<pb::UpdateSubnetResponse>, Status> {
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
        let subnet: Subnet = match reached {
            ControlFlow::Continue(subnet) => subnet,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let changes = convert::subnet_changes(request)?;
        let answer = |subnet: &Subnet| pb::UpdateSubnetResponse {
            subnet: Some(convert::subnet(subnet)),
        };
        Ok(Response::new(
            self.app
                .update(mutation, subnet.id, changes, answer)
                .await?,
        ))
    }

    async fn delete_subnet(
        &self,
        request: Request<pb::DeleteSubnetRequest>,
    ) -> Result<Response<pb::DeleteSubnetResponse>, Status> {
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
        let subnet: Subnet = match reached {
            ControlFlow::Continue(subnet) => subnet,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        Ok(Response::new(self.app.delete(mutation, subnet.id).await?))
    }
}
