//! PrismNET, and whoever has networks.

use std::ops::{Deref, DerefMut};

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::network_settings_service_client::NetworkSettingsServiceClient;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
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
