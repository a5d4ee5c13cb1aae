//! `PortService`.

use std::ops::ControlFlow;

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::port_service_server::PortService;
use photon_resource::PageRequest;
use tonic::{Request, Response, Status};

use super::access::{Access, Named};
use crate::model::{Port, kind};
use crate::store::Query;
use crate::{app, convert};

const CREATE: &str = "network:ports:create";
const GET: &str = "network:ports:get";
const LIST: &str = "network:ports:list";
const UPDATE: &str = "network:ports:update";
const DELETE: &str = "network:ports:delete";
const ATTACH: &str = "network:ports:attach";
const DETACH: &str = "network:ports:detach";

/// The service over `app`.
pub struct Ports {
    access: Access,
    app: app::Ports,
}

impl Ports {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Ports) -> Self {
        Self { access, app }
    }
}

#[tonic::async_trait]
impl PortService for Ports {
    async fn create_port(
        &self,
        request: Request<pb::CreatePortRequest>,
    ) -> Result<Response<pb::CreatePortResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let tenant = self
            .access
            .create(
                &caller,
                CREATE,
                kind::PORTS,
                (&request.org_id, &request.project_id),
                &request.name,
                &convert::labels(request.labels.clone()),
            )
            .await?;
        let mutation = self
            .access
            .mutation(&caller, CREATE, &request.request_id, &request)?;
        let new = convert::new_port(tenant, request)?;
        let answer = |port: &Port| pb::CreatePortResponse {
            port: Some(convert::port(port)),
        };
        Ok(Response::new(self.app.create(mutation, new, answer).await?))
    }

    async fn get_port(
        &self,
        request: Request<pb::GetPortRequest>,
    ) -> Result<Response<pb::GetPortResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let named = Named {
            id: &request.id,
            org_id: &request.org_id,
            project_id: &request.project_id,
        };
        let port: Port = self.access.reach(&caller, GET, named).await?;
        Ok(Response::new(pb::GetPortResponse {
            port: Some(convert::port(&port)),
        }))
    }

    async fn list_ports(
        &self,
        request: Request<pb::ListPortsRequest>,
    ) -> Result<Response<pb::ListPortsResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let scope = self
            .access
            .list(
                &caller,
                LIST,
                kind::PORTS,
                &request.org_id,
                &request.project_id,
            )
            .await?;
        let filter = convert::port_filter(&request)?;
        let query = Query {
            scope,
            page: PageRequest::parse(request.page_size, &request.page_token)?,
            name: request.name,
            labels: convert::labels(request.labels),
        };
        let page = self.app.list(query, filter).await?;
        Ok(Response::new(pb::ListPortsResponse {
            ports: page.items.iter().map(convert::port).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn update_port(
        &self,
        request: Request<pb::UpdatePortRequest>,
    ) -> Result<Response<pb::UpdatePortResponse>, Status> {
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
        let port: Port = match reached {
            ControlFlow::Continue(port) => port,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let changes = convert::port_changes(request);
        let answer = |port: &Port| pb::UpdatePortResponse {
            port: Some(convert::port(port)),
        };
        Ok(Response::new(
            self.app.update(mutation, port.id, changes, answer).await?,
        ))
    }

    async fn delete_port(
        &self,
        request: Request<pb::DeletePortRequest>,
    ) -> Result<Response<pb::DeletePortResponse>, Status> {
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
        let port: Port = match reached {
            ControlFlow::Continue(port) => port,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        Ok(Response::new(self.app.delete(mutation, port.id).await?))
    }

    async fn attach_port(
        &self,
        request: Request<pb::AttachPortRequest>,
    ) -> Result<Response<pb::AttachPortResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let mutation = self
            .access
            .mutation(&caller, ATTACH, &request.request_id, request)?;
        let named = Named::own(&request.id);
        let reached = self
            .access
            .reach_for(&caller, ATTACH, named, &mutation)
            .await?;
        let port: Port = match reached {
            ControlFlow::Continue(port) => port,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let new = convert::attachment(request)?;
        let answer = |port: &Port| pb::AttachPortResponse {
            port: Some(convert::port(port)),
        };
        Ok(Response::new(
            self.app.attach(mutation, port.id, new, answer).await?,
        ))
    }

    async fn detach_port(
        &self,
        request: Request<pb::DetachPortRequest>,
    ) -> Result<Response<pb::DetachPortResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let mutation = self
            .access
            .mutation(&caller, DETACH, &request.request_id, request)?;
        let named = Named::own(&request.id);
        let reached = self
            .access
            .reach_for(&caller, DETACH, named, &mutation)
            .await?;
        let port: Port = match reached {
            ControlFlow::Continue(port) => port,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let answer = |port: &Port| pb::DetachPortResponse {
            port: Some(convert::port(port)),
        };
        Ok(Response::new(
            self.app
                .detach(mutation, port.id, &request.device_id, answer)
                .await?,
        ))
    }
}
