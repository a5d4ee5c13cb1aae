//! `SecurityGroupService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::security_group_service_server::SecurityGroupService;
use photon_catalog::desk::WatchStream;
use photon_catalog::wire::id;
use photon_catalog::{Access, Answer, Desk, News};
use photon_resource::{Error, RuleId};
use tonic::Request;

use crate::model::SecurityGroup;
use crate::{app, convert};

/// The service over `app`.
pub struct SecurityGroups {
    desk: Desk<SecurityGroup>,
    app: app::SecurityGroups,
}

impl SecurityGroups {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::SecurityGroups) -> Self {
        Self {
            desk: Desk::new(access),
            app,
        }
    }
}

#[tonic::async_trait]
impl SecurityGroupService for SecurityGroups {
    async fn create_security_group(
        &self,
        request: Request<pb::CreateSecurityGroupRequest>,
    ) -> Answer<pb::CreateSecurityGroupResponse> {
        self.desk
            .create(request, convert::new_security_group, |mutation, new| {
                let answer = |security_group: &SecurityGroup| pb::CreateSecurityGroupResponse {
                    security_group: Some(convert::security_group(security_group)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_security_group(
        &self,
        request: Request<pb::GetSecurityGroupRequest>,
    ) -> Answer<pb::GetSecurityGroupResponse> {
        self.desk
            .get(request, |security_group| pb::GetSecurityGroupResponse {
                security_group: Some(convert::security_group(security_group)),
            })
            .await
    }

    async fn list_security_groups(
        &self,
        request: Request<pb::ListSecurityGroupsRequest>,
    ) -> Answer<pb::ListSecurityGroupsResponse> {
        self.desk
            .list(
                request,
                |query, _| self.app.list(query),
                |page| pb::ListSecurityGroupsResponse {
                    security_groups: page.items.iter().map(convert::security_group).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    type WatchSecurityGroupsStream = WatchStream<pb::WatchSecurityGroupsResponse>;

    async fn watch_security_groups(
        &self,
        request: Request<pb::WatchSecurityGroupsRequest>,
    ) -> Answer<Self::WatchSecurityGroupsStream> {
        self.desk
            .watch(request, |news, revision| {
                let mut told = pb::WatchSecurityGroupsResponse {
                    revision,
                    ..Default::default()
                };
                match news {
                    News::Now(security_group) => {
                        told.security_group = Some(convert::security_group(&security_group))
                    }
                    News::Gone(id) => told.deleted_id = id.to_string(),
                    News::Synced => {}
                }
                told
            })
            .await
    }

    async fn update_security_group(
        &self,
        request: Request<pb::UpdateSecurityGroupRequest>,
    ) -> Answer<pb::UpdateSecurityGroupResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, security_group: SecurityGroup, request| async move {
                    let changes = convert::security_group_changes(request)?;
                    let answer = |security_group: &SecurityGroup| pb::UpdateSecurityGroupResponse {
                        security_group: Some(convert::security_group(security_group)),
                    };
                    self.app
                        .update(mutation, security_group.id, changes, answer)
                        .await
                },
            )
            .await
    }

    async fn delete_security_group(
        &self,
        request: Request<pb::DeleteSecurityGroupRequest>,
    ) -> Answer<pb::DeleteSecurityGroupResponse> {
        self.desk
            .change(request, "delete", |mutation, security_group, _| {
                self.app.delete(mutation, security_group.id)
            })
            .await
    }

    async fn add_rule(&self, request: Request<pb::AddRuleRequest>) -> Answer<pb::AddRuleResponse> {
        let group = |request: &pb::AddRuleRequest| request.security_group_id.clone();
        self.desk
            .change_of(
                request,
                group,
                "update",
                |mutation, group, request| async move {
                    let rule = request
                        .rule
                        .ok_or_else(|| Error::invalid("rule", "", "a rule to add"))?;
                    let rule = convert::new_rule(rule)?;
                    let answer = |group: &SecurityGroup| pb::AddRuleResponse {
                        security_group: Some(convert::security_group(group)),
                    };
                    self.app.add_rule(mutation, group.id, rule, answer).await
                },
            )
            .await
    }

    async fn remove_rule(
        &self,
        request: Request<pb::RemoveRuleRequest>,
    ) -> Answer<pb::RemoveRuleResponse> {
        let group = |request: &pb::RemoveRuleRequest| request.security_group_id.clone();
        self.desk
            .change_of(
                request,
                group,
                "update",
                |mutation, group, request| async move {
                    let rule = id("rule_id", &request.rule_id)?;
                    let answer = |group: &SecurityGroup| pb::RemoveRuleResponse {
                        security_group: Some(convert::security_group(group)),
                    };
                    let removed = self.app.remove_rule(mutation, group.id, rule, answer);
                    removed.await.map_err(|error| match error {
                        // As the caller spelled it.
                        Error::NotFound { kind, .. } if kind == RuleId::KIND => {
                            Error::not_found(kind, &request.rule_id)
                        }
                        error => error,
                    })
                },
            )
            .await
    }
}
