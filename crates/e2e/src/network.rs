//! A tenant's networks.

use anyhow::{Context, Result};
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::{
    CreatePortRequest, CreateSubnetRequest, CreateVpcRequest, Port, Subnet, Vpc,
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
}
