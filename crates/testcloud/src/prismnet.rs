//! PrismNET, and whoever has networks.

use std::ops::{Deref, DerefMut};

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::external_network_service_client::ExternalNetworkServiceClient;
use photon_api::prismnet::v1::floating_ip_service_client::FloatingIpServiceClient;
use photon_api::prismnet::v1::nat_gateway_service_client::NatGatewayServiceClient;
use photon_api::prismnet::v1::network_settings_service_client::NetworkSettingsServiceClient;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::peering_service_client::PeeringServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::route_service_client::RouteServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_program::Settings;
use photon_testkit::{Bearing, Part, Session};
use tonic::Status;
use tonic::transport::Channel;

const NAME: &str = prismnet::COMPONENT.name;

/// PrismNET.
pub fn part() -> Part {
    with(|_| {})
}

/// As [`part`], with other settings than the usual.
pub fn with(change: impl Fn(&mut Settings<prismnet::Settings>) + Send + Sync + 'static) -> Part {
    Part::new(NAME, move |place, listener, shutdown| {
        let component = prismnet::COMPONENT;
        let mut settings = crate::settings(component, &place, Some("prismnet-server"));
        change(&mut settings);
        prismnet::run(settings, listener, shutdown)
    })
}

/// IAM and PrismNET, and clients of several tenants.
pub struct Cloud(photon_testkit::Cloud);

impl Deref for Cloud {
    type Target = photon_testkit::Cloud;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Cloud {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Cloud {
    /// Both servers.
    pub async fn start() -> Self {
        Self(photon_testkit::Cloud::start([crate::iam::part("n1"), part()]).await)
    }

    /// What somebody calls PrismNET with.
    pub fn client(&self, who: &impl AsRef<Session>) -> Client {
        Client::new(who.as_ref(), &self.channel(NAME))
    }

    /// Somebody without a token at all.
    pub fn stranger(&self) -> Client {
        self.client(&Session::default())
    }

    /// A caller with this for a token.
    pub fn with_token(&self, token: &str) -> Client {
        self.client(&Session::with_token(token))
    }

    /// Somebody who may do everything with networks in project `web` of an organization.
    pub async fn tenant(&self, org: &str) -> Client {
        self.member(org, "web").await
    }

    /// The same in another project.
    pub async fn member(&self, org: &str, project: &str) -> Client {
        let mut client = self.client(&self.people.member(org, project, "ProjectMember").await);
        let operator = self.people.operator().await;
        client.devices = PortServiceClient::new(operator.as_ref().on(self.channel(NAME)));
        client
    }

    /// The administrator of an organization: the token is for no project.
    pub async fn org_admin(&self, org: &str) -> Client {
        self.client(&self.people.member(org, "", "OrgAdmin").await)
    }

    /// Somebody of project `web` who may only read.
    pub async fn viewer(&self, org: &str) -> Client {
        self.client(&self.people.member(org, "web", "ProjectViewer").await)
    }

    /// Somebody of project `web` who may do nothing with networks.
    pub async fn nobody(&self, org: &str) -> Client {
        self.with_role(org, &[("compute:images:list", "")]).await
    }

    /// Somebody of project `web` with these permissions: action and condition.
    pub async fn with_role(&self, org: &str, permissions: &[(&str, &str)]) -> Client {
        let everything = format!("org/{org}/*");
        let permissions = permissions.iter();
        let permissions: Vec<_> = permissions
            .map(|(action, condition)| (*action, everything.as_str(), *condition))
            .collect();
        self.client(&self.people.permitted(org, "web", &permissions).await)
    }

    /// The operator of the cloud.
    pub async fn operator(&self) -> Client {
        self.client(&self.people.operator().await)
    }

    /// The agent of a host.
    pub async fn agent(&self, node: &str) -> Client {
        self.client(&self.people.agent(node).await)
    }
}

/// All of PrismNET's services for one caller.
#[derive(Clone)]
pub struct Client {
    pub vpcs: VpcServiceClient<Bearing>,
    pub subnets: SubnetServiceClient<Bearing>,
    pub ports: PortServiceClient<Bearing>,
    /// Attaches and detaches them: a tenant does not.
    pub devices: PortServiceClient<Bearing>,
    pub groups: SecurityGroupServiceClient<Bearing>,
    pub settings: NetworkSettingsServiceClient<Bearing>,
    pub external: ExternalNetworkServiceClient<Bearing>,
    pub gateways: NatGatewayServiceClient<Bearing>,
    pub floating: FloatingIpServiceClient<Bearing>,
    pub routes: RouteServiceClient<Bearing>,
    pub peerings: PeeringServiceClient<Bearing>,
    pub nodes: NodeServiceClient<Bearing>,
    pub events: EventServiceClient<Bearing>,
    /// Who it is.
    pub session: Session,
}

impl Client {
    /// For a server behind a channel.
    pub fn new(session: &Session, channel: &Channel) -> Self {
        let on = || session.on(channel.clone());
        Self {
            vpcs: VpcServiceClient::new(on()),
            subnets: SubnetServiceClient::new(on()),
            ports: PortServiceClient::new(on()),
            devices: PortServiceClient::new(on()),
            groups: SecurityGroupServiceClient::new(on()),
            settings: NetworkSettingsServiceClient::new(on()),
            external: ExternalNetworkServiceClient::new(on()),
            gateways: NatGatewayServiceClient::new(on()),
            floating: FloatingIpServiceClient::new(on()),
            routes: RouteServiceClient::new(on()),
            peerings: PeeringServiceClient::new(on()),
            nodes: NodeServiceClient::new(on()),
            events: EventServiceClient::new(on()),
            session: session.clone(),
        }
    }

    /// A VPC of both families.
    pub async fn vpc(&mut self, name: &str, cidr: &str) -> pb::Vpc {
        let request = pb::CreateVpcRequest {
            name: name.into(),
            cidr: cidr.into(),
            ipv6_cidr: "fd00:1::/48".into(),
            ..Default::default()
        };
        let response = self.vpcs.create_vpc(request).await.unwrap();
        response.into_inner().vpc.unwrap()
    }

    /// A subnet with DHCP.
    pub async fn subnet(&mut self, vpc: &pb::Vpc, name: &str, cidr: &str) -> pb::Subnet {
        let request = pb::CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: name.into(),
            cidr: cidr.into(),
            dhcp_enabled: Some(true),
            ..Default::default()
        };
        let response = self.subnets.create_subnet(request).await.unwrap();
        response.into_inner().subnet.unwrap()
    }

    /// A port with defaults.
    pub async fn port(&mut self, subnet: &pb::Subnet, name: &str) -> pb::Port {
        let response = self.ports.create_port(new_port(subnet, name)).await;
        response.unwrap().into_inner().port.unwrap()
    }

    /// A VPC with one subnet.
    pub async fn network(&mut self) -> (pb::Vpc, pb::Subnet) {
        let vpc = self.vpc("main", "10.0.0.0/16").await;
        let subnet = self.subnet(&vpc, "front", "10.0.1.0/24").await;
        (vpc, subnet)
    }

    /// An external network that is offered to these organizations, with addresses 203.0.`third`.10 to .29. For operators.
    pub async fn external_network(
        &mut self,
        name: &str,
        third: u8,
        org_ids: &[&str],
    ) -> pb::ExternalNetwork {
        let response = self
            .external
            .create_external_network(new_external_network(name, third, org_ids))
            .await;
        response.unwrap().into_inner().external_network.unwrap()
    }

    /// The gateway of a VPC on the only external network.
    pub async fn nat_gateway(
        &mut self,
        vpc: &pb::Vpc,
        name: &str,
    ) -> Result<pb::NatGateway, Status> {
        let request = pb::CreateNatGatewayRequest {
            vpc_id: vpc.id.clone(),
            name: name.into(),
            ..Default::default()
        };
        let response = self.gateways.create_nat_gateway(request).await?;
        Ok(response.into_inner().nat_gateway.unwrap())
    }

    /// A floating IP of the only external network.
    pub async fn floating_ip(&mut self, name: &str) -> Result<pb::FloatingIp, Status> {
        let request = pb::CreateFloatingIpRequest {
            name: name.into(),
            ..Default::default()
        };
        let response = self.floating.create_floating_ip(request).await?;
        Ok(response.into_inner().floating_ip.unwrap())
    }

    /// Gives a floating IP to a port that has none.
    pub async fn associate(
        &mut self,
        floating: &pb::FloatingIp,
        port: &pb::Port,
    ) -> Result<pb::FloatingIp, Status> {
        let request = pb::AssociateFloatingIpRequest {
            id: floating.id.clone(),
            port_id: port.id.clone(),
            ..Default::default()
        };
        let response = self.floating.associate_floating_ip(request).await?;
        Ok(response.into_inner().floating_ip.unwrap())
    }

    /// A route to a port, or to what has no id.
    pub async fn route(
        &mut self,
        vpc: &pb::Vpc,
        name: &str,
        destination: &str,
        (target, id): (pb::RouteTarget, &str),
    ) -> Result<pb::Route, Status> {
        let request = pb::CreateRouteRequest {
            vpc_id: vpc.id.clone(),
            name: name.into(),
            destination: destination.into(),
            target: target.into(),
            target_id: id.into(),
            ..Default::default()
        };
        let response = self.routes.create_route(request).await?;
        Ok(response.into_inner().route.unwrap())
    }

    /// Attaches a port to a VM on a host.
    pub async fn attach(
        &mut self,
        port: &pb::Port,
        device: &str,
        node: &str,
    ) -> Result<pb::Port, Status> {
        let request = pb::AttachPortRequest {
            id: port.id.clone(),
            device_id: device.into(),
            device_type: pb::DeviceType::Vm.into(),
            node: node.into(),
            ..Default::default()
        };
        let response = self.devices.attach_port(request).await?;
        Ok(response.into_inner().port.unwrap())
    }

    /// Detaches a port from whatever has it.
    pub async fn detach(&mut self, port: &pb::Port) -> pb::Port {
        let request = pb::DetachPortRequest {
            id: port.id.clone(),
            ..Default::default()
        };
        let response = self.devices.detach_port(request).await.unwrap();
        response.into_inner().port.unwrap()
    }

    /// A port as it is now.
    pub async fn read_port(&mut self, id: &str) -> pb::Port {
        let request = pb::GetPortRequest {
            id: id.into(),
            ..Default::default()
        };
        let response = self.ports.get_port(request).await.unwrap();
        response.into_inner().port.unwrap()
    }
}

/// A port with defaults.
pub fn new_port(subnet: &pb::Subnet, name: &str) -> pb::CreatePortRequest {
    pb::CreatePortRequest {
        subnet_id: subnet.id.clone(),
        name: name.into(),
        ..Default::default()
    }
}

/// 203.0.`third`.0/24, of which .10 to .29 may be given out to these organizations.
pub fn new_external_network(
    name: &str,
    third: u8,
    org_ids: &[&str],
) -> pb::CreateExternalNetworkRequest {
    pb::CreateExternalNetworkRequest {
        name: name.into(),
        cidr: format!("203.0.{third}.0/24"),
        pools: vec![pb::AddressRange {
            first: format!("203.0.{third}.10"),
            last: format!("203.0.{third}.29"),
        }],
        org_ids: org_ids.iter().map(|org| (*org).to_owned()).collect(),
        ..Default::default()
    }
}
