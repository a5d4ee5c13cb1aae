//! A tenant's networks.

use anyhow::{Context, Result};
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::{
    AddRuleRequest, CreatePortRequest, CreateSecurityGroupRequest, CreateSubnetRequest,
    CreateVpcRequest, DeleteSecurityGroupRequest, Port, SecurityGroup, SecurityGroupIds,
    SecurityGroupRule, Subnet, UpdatePortRequest, Vpc,
};

use crate::session::{Authorized, Session};

impl Session {
    pub fn vpcs(&self) -> VpcServiceClient<Authorized> {
        VpcServiceClient::with_interceptor(self.channels.prismnet.clone(), self.bearer.clone())
    }

    pub fn subnets(&self) -> SubnetServiceClient<Authorized> {
        SubnetServiceClient::with_interceptor(self.channels.prismnet.clone(), self.bearer.clone())
    }

    pub fn ports(&self) -> PortServiceClient<Authorized> {
        PortServiceClient::with_interceptor(self.channels.prismnet.clone(), self.bearer.clone())
    }

    pub fn security_groups(&self) -> SecurityGroupServiceClient<Authorized> {
        SecurityGroupServiceClient::with_interceptor(
            self.channels.prismnet.clone(),
            self.bearer.clone(),
        )
    }

    pub async fn create_vpc(&self, name: &str, cidr: &str) -> Result<Vpc> {
        let request = CreateVpcRequest {
            org_id: self.org.clone(),
            project_id: self.project.clone(),
            name: name.into(),
            cidr: cidr.into(),
            ..Default::default()
        };
        let answer = self.vpcs().create_vpc(request).await;
        let answer = answer.with_context(|| format!("cannot create the VPC {name}"))?;
        let vpc = answer.into_inner().vpc;
        vpc.context("CreateVpc answered without the VPC")
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
            org_id: self.org.clone(),
            project_id: self.project.clone(),
            vpc_id: vpc.id.clone(),
            name: name.into(),
            cidr: cidr.into(),
            gateway: gateway.into(),
            dhcp_enabled: true,
            ..Default::default()
        };
        let answer = self.subnets().create_subnet(request).await;
        let answer = answer.with_context(|| format!("cannot create the subnet {name}"))?;
        let subnet = answer.into_inner().subnet;
        subnet.context("CreateSubnet answered without the subnet")
    }

    pub async fn create_port(&self, subnet: &Subnet, name: &str, address: &str) -> Result<Port> {
        let request = CreatePortRequest {
            org_id: self.org.clone(),
            project_id: self.project.clone(),
            subnet_id: subnet.id.clone(),
            name: name.into(),
            ip_address: address.into(),
            ..Default::default()
        };
        let answer = self.ports().create_port(request).await;
        let answer = answer.with_context(|| format!("cannot create the port {name}"))?;
        let port = answer.into_inner().port;
        port.context("CreatePort answered without the port")
    }

    /// A group without rules.
    pub async fn create_security_group(&self, name: &str) -> Result<SecurityGroup> {
        let request = CreateSecurityGroupRequest {
            org_id: self.org.clone(),
            project_id: self.project.clone(),
            name: name.into(),
            ..Default::default()
        };
        let answer = self.security_groups().create_security_group(request).await;
        let answer = answer.with_context(|| format!("cannot create the security group {name}"))?;
        let group = answer.into_inner().security_group;
        group.context("CreateSecurityGroup answered without the security group")
    }

    pub async fn add_rule(&self, group: &SecurityGroup, rule: SecurityGroupRule) -> Result<()> {
        let request = AddRuleRequest {
            security_group_id: group.id.clone(),
            rule: Some(rule),
            ..Default::default()
        };
        let answer = self.security_groups().add_rule(request).await;
        answer.with_context(|| format!("cannot add a rule to {}", group.name))?;
        Ok(())
    }

    pub async fn delete_security_group(&self, group: &SecurityGroup) -> Result<()> {
        let request = DeleteSecurityGroupRequest {
            id: group.id.clone(),
            ..Default::default()
        };
        let answer = self.security_groups().delete_security_group(request).await;
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
        let answer = self.ports().update_port(request).await;
        answer.with_context(|| format!("cannot change the groups of the port {}", port.name))?;
        Ok(())
    }
}
