//! A tenant's networks.

use anyhow::{Context, Result};
use photon_api::prismnet::v1::{
    AddRuleRequest, CreatePortRequest, CreateSecurityGroupRequest, CreateSubnetRequest,
    CreateVpcRequest, DeleteSecurityGroupRequest, Port, SecurityGroup, SecurityGroupIds,
    SecurityGroupRule, Subnet, UpdatePortRequest, Vpc,
};
use photon_client::call::{Carries, Of, Unary};

use crate::session::Session;

impl Session {
    /// Makes something, and gives it as the server has it.
    pub(crate) async fn make<R>(
        &self,
        what: &str,
        request: R,
    ) -> Result<<R::Answer as Carries>::Resource>
    where
        R: Unary<Answer: Carries>,
    {
        let answer = self.here(request).await;
        let made = answer.with_context(|| format!("cannot create the {what}"))?;
        let made = made.resource();
        made.with_context(|| format!("the answer lacks the {what}"))
    }

    pub async fn create_vpc(&self, name: &str, cidr: &str) -> Result<Vpc> {
        let request = CreateVpcRequest {
            name: name.into(),
            cidr: cidr.into(),
            ..Default::default()
        };
        self.make(&format!("VPC {name}"), request).await
    }

    /// A subnet with DHCP.
    pub async fn create_subnet(
        &self,
        vpc: &Vpc,
        name: &str,
        cidr: &str,
        gateway: &str,
    ) -> Result<Subnet> {
        let request = CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: name.into(),
            cidr: cidr.into(),
            gateway: gateway.into(),
            dhcp_enabled: Some(true),
            ..Default::default()
        };
        self.make(&format!("subnet {name}"), request).await
    }

    pub async fn create_port(&self, subnet: &Subnet, name: &str, address: &str) -> Result<Port> {
        let request = CreatePortRequest {
            subnet_id: subnet.id.clone(),
            name: name.into(),
            ip_address: address.into(),
            ..Default::default()
        };
        self.make(&format!("port {name}"), request).await
    }

    /// A group without rules.
    pub async fn create_security_group(&self, name: &str) -> Result<SecurityGroup> {
        let request = CreateSecurityGroupRequest {
            name: name.into(),
            ..Default::default()
        };
        self.make(&format!("security group {name}"), request).await
    }

    pub async fn add_rule(&self, group: &SecurityGroup, rule: SecurityGroupRule) -> Result<()> {
        let request = AddRuleRequest {
            security_group_id: group.id.clone(),
            rule: Some(rule),
            ..Default::default()
        };
        let answer = self.call(request).await;
        answer.with_context(|| format!("cannot add a rule to {}", group.name))?;
        Ok(())
    }

    pub async fn delete_security_group(&self, group: &SecurityGroup) -> Result<()> {
        let answer = self.call(DeleteSecurityGroupRequest::of(&group.id)).await;
        answer.with_context(|| format!("cannot delete the security group {}", group.name))?;
        Ok(())
    }

    /// Puts the port into these groups and no other.
    pub async fn set_security_groups(&self, port: &Port, ids: Vec<String>) -> Result<()> {
        let request = UpdatePortRequest {
            id: port.id.clone(),
            security_group_ids: Some(SecurityGroupIds { ids }),
            ..Default::default()
        };
        let answer = self.call(request).await;
        answer.with_context(|| format!("cannot change the groups of the port {}", port.name))?;
        Ok(())
    }
}
