//! `SecurityGroupService`.

use std::ops::ControlFlow;

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::security_group_service_server::SecurityGroupService;
use photon_resource::{Error, PageRequest};
use tonic::{Request, Response, Status};

use super::access::{Access, Named};
use crate::model::{SecurityGroup, kind};
use crate::store::Query;
use crate::{app, convert};

const CREATE: &str = "network:securityGroups:create";
const GET: &str = "network:securityGroups:get";
const LIST: &str = "network:securityGroups:list";
const UPDATE: &str = "network:securityGroups:update";
const DELETE: &str = "network:securityGroups:delete";

/// The service over `app`.
pub struct SecurityGroups {
    access: Access,
    app: app::SecurityGroups,
}

impl SecurityGroups {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::SecurityGroups) -> Self {
        Self { access, app }
    }
}

#[tonic::async_trait]
impl SecurityGroupService for SecurityGroups {
    async fn create_security_group(
        &self,
        request: Request<pb::CreateSecurityGroupRequest>,
    ) -> Result<Response<pb::CreateSecurityGroupResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let tenant = self
            .access
            .create(
                &caller,
                CREATE,
                kind::SECURITY_GROUPS,
                (&request.org_id, &request.project_id),
                &request.name,
                &convert::labels(request.labels.clone()),
            )
            .await?;
        let mutation = self
            .access
            .mutation(&caller, CREATE, &request.request_id, &request)?;
        let new = convert::new_security_group(tenant, request)?;
        let answer = |group: &SecurityGroup| pb::CreateSecurityGroupResponse {
            security_group: Some(convert::security_group(group)),
        };
        Ok(Response::new(self.app.create(mutation, new, answer).await?))
    }

    async fn get_security_group(
        &self,
        request: Request<pb::GetSecurityGroupRequest>,
    ) -> Result<Response<pb::GetSecurityGroupResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let named = Named {
            id: &request.id,
            org_id: &request.org_id,
            project_id: &request.project_id,
        };
        let group: SecurityGroup = self.access.reach(&caller, GET, named).await?;
        Ok(Response::new(pb::GetSecurityGroupResponse {
            security_group: Some(convert::security_group(&group)),
        }))
    }

    async fn list_security_groups(
        &self,
        request: Request<pb::ListSecurityGroupsRequest>,
    ) -> Result<Response<pb::ListSecurityGroupsResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let scope = self
            .access
            .list(
                &caller,
                LIST,
                kind::SECURITY_GROUPS,
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
        Ok(Response::new(pb::ListSecurityGroupsResponse {
            security_groups: page.items.iter().map(convert::security_group).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn update_security_group(
        &self,
        request: Request<pb::UpdateSecurityGroupRequest>,
    ) -> Result<Response<pb::UpdateSecurityGroupResponse>, Status> {
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
        let group: SecurityGroup = match reached {
            ControlFlow::Continue(group) => group,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let changes = convert::changes(
            request.name,
            request.description,
            request.labels,
            request.expected_revision,
        );
        let answer = |group: &SecurityGroup| pb::UpdateSecurityGroupResponse {
            security_group: Some(convert::security_group(group)),
        };
        Ok(Response::new(
            self.app.update(mutation, group.id, changes, answer).await?,
        ))
    }

    async fn delete_security_group(
        &self,
        request: Request<pb::DeleteSecurityGroupRequest>,
    ) -> Result<Response<pb::DeleteSecurityGroupResponse>, Status> {
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
        let group: SecurityGroup = match reached {
            ControlFlow::Continue(group) => group,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        Ok(Response::new(self.app.delete(mutation, group.id).await?))
    }

    async fn add_rule(
        &self,
        request: Request<pb::AddRuleRequest>,
    ) -> Result<Response<pb::AddRuleResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.into_inner();
        let mutation = self
            .access
            .mutation(&caller, UPDATE, &request.request_id, &request)?;
        let named = Named::own(&request.security_group_id);
        let reached = self
            .access
            .reach_for(&caller, UPDATE, named, &mutation)
            .await?;
        let group: SecurityGroup = match reached {
            ControlFlow::Continue(group) => group,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let rule = request
            .rule
            .ok_or_else(|| Error::invalid("rule", "", "a rule to add"))?;
        let rule = convert::new_rule(rule)?;
        let answer = |group: &SecurityGroup| pb::AddRuleResponse {
            security_group: Some(convert::security_group(group)),
        };
        Ok(Response::new(
            self.app.add_rule(mutation, group.id, rule, answer).await?,
        ))
    }

    async fn remove_rule(
        &self,
        request: Request<pb::RemoveRuleRequest>,
    ) -> Result<Response<pb::RemoveRuleResponse>, Status> {
        let caller = self.access.caller(&request).await?;
        let request = request.get_ref();
        let mutation = self
            .access
            .mutation(&caller, UPDATE, &request.request_id, request)?;
        let named = Named::own(&request.security_group_id);
        let reached = self
            .access
            .reach_for(&caller, UPDATE, named, &mutation)
            .await?;
        let group: SecurityGroup = match reached {
            ControlFlow::Continue(group) => group,
            ControlFlow::Break(earlier) => return Ok(Response::new(earlier)),
        };
        let rule = convert::id("rule_id", &request.rule_id)?;
        let answer = |group: &SecurityGroup| pb::RemoveRuleResponse {
            security_group: Some(convert::security_group(group)),
        };
        Ok(Response::new(
            self.app
                .remove_rule(mutation, group.id, rule, answer)
                .await?,
        ))
    }
}
