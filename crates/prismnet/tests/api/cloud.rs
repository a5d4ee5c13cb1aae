//! A real server with its store on disk, and clients of several tenants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_resource::{
    Action, Authorizer, Caller, Claims, Decision, Error, PrincipalKind, ResourceName, TokenVerifier,
};
use photon_service::{Guard, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// As long as a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

struct FakeIam;

#[async_trait]
impl TokenVerifier for FakeIam {
    async fn verify(&self, token: &str) -> Result<Claims, Error> {
        let parts: Vec<&str> = token.split(':').collect();
        let [kind, org, project, node, role] = parts[..] else {
            return Err(Error::Unauthenticated(
                "the token is not one of ours".into(),
            ));
        };
        let bytes: Vec<u8> = token.bytes().chain([0; 16]).take(16).collect();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let _ = role;
        Ok(Claims {
            principal_id: uuid::Uuid::from_slice(&bytes).unwrap().into(),
            principal_name: token.into(),
            kind: match kind {
                "node" => PrincipalKind::Node,
                "service" => PrincipalKind::Service,
                _ => PrincipalKind::User,
            },
            org_id: some(org).map(|org| org.parse().unwrap()),
            project_id: some(project).map(|project| project.parse().unwrap()),
            node: some(node),
            token_id: token.into(),
            expires_at: SystemTime::now() + Duration::from_secs(600),
        })
    }
}

#[async_trait]
impl Authorizer for FakeIam {
    async fn authorize(
        &self,
        caller: &Caller,
        action: &Action,
        _: &ResourceName,
        _: &BTreeMap<String, String>,
    ) -> Result<Decision, Error> {
        let read = action.as_str().ends_with(":get") || action.as_str().ends_with(":list");
        let allowed = match caller.claims.token_id.rsplit(':').next() {
            Some("admin") => true,
            Some("viewer") => read,
            _ => false,
        };
        Ok(Decision {
            allowed,
            reason: if allowed {
                String::new()
            } else {
                "no role permits it".into()
            },
        })
    }
}

/// The servers.
pub struct Cloud {
    state: tempfile::TempDir,
    server: Server,
}

struct Server {
    channel: Channel,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

async fn serve(state: &Path) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut settings = Settings::<prismnet::Settings>::new(prismnet::COMPONENT);
    settings.server.metrics_listen = None;
    settings.server.state_dir = state.to_owned();
    let db = Db::sqlite(&state.join("flaredb.sqlite")).await.unwrap();
    let ledger = Ledger::new(db.clone(), "prismnet");
    let guard = Guard::new(Arc::new(FakeIam), Arc::new(FakeIam), ledger.clone());
    let nodes = prismnet::app::Nodes::new(db.clone());
    let following = tokio::spawn(nodes.clone().follow());
    let services = prismnet::services(db, ledger, guard, nodes);
    let served = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            let done = photon_service::serve(
                &settings.server,
                prismnet::COMPONENT,
                services,
                listener,
                shutdown,
            )
            .await;
            following.abort();
            let _ = following.await;
            done
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Server {
        channel: endpoint.connect().await.unwrap(),
        shutdown,
        served,
    }
}

impl Cloud {
    pub async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let server = serve(state.path()).await;
        Self { state, server }
    }

    /// Stops PrismNET's server and starts it again on the same state.
    pub async fn restart(&mut self) {
        self.server.shutdown.cancel();
        let served = &mut self.server.served;
        tokio::time::timeout(DEADLINE, served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.server = serve(self.state.path()).await;
    }

    fn client(&self, token: String) -> Client {
        let with = || {
            let token = Bearer(Some(token.clone()));
            InterceptedService::new(self.server.channel.clone(), token)
        };
        Client {
            vpcs: VpcServiceClient::new(with()),
            subnets: SubnetServiceClient::new(with()),
            ports: PortServiceClient::new(with()),
            groups: SecurityGroupServiceClient::new(with()),
            nodes: NodeServiceClient::new(with()),
        }
    }

    /// Somebody who may do everything with networks in project `web` of an organization.
    pub async fn tenant(&self, org: &str) -> Client {
        self.member(org, "web").await
    }

    /// The same in another project.
    pub async fn member(&self, org: &str, project: &str) -> Client {
        self.client(format!("user:{org}:{project}::admin"))
    }

    /// The administrator of an organization: the token is for no project.
    pub async fn org_admin(&self, org: &str) -> Client {
        self.client(format!("user:{org}:::admin"))
    }

    /// Somebody of project `web` who may only read.
    pub async fn viewer(&self, org: &str) -> Client {
        self.client(format!("user:{org}:web::viewer"))
    }

    /// Somebody of project `web` without any role.
    pub async fn nobody(&self, org: &str) -> Client {
        self.client(format!("user:{org}:web::none"))
    }

    /// The operator of the cloud.
    pub async fn operator(&self) -> Client {
        self.client("user::::admin".into())
    }

    /// The agent of a host.
    pub async fn agent(&self, node: &str) -> Client {
        self.client(format!("node:::{node}:admin"))
    }

    /// A caller with this for a token.
    pub async fn with_token(&self, token: &str) -> Client {
        self.client(token.into())
    }
}

#[derive(Clone)]
pub struct Bearer(Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

pub type With = InterceptedService<Channel, Bearer>;

/// All of PrismNET's services for one caller.
#[derive(Clone)]
pub struct Client {
    pub vpcs: VpcServiceClient<With>,
    pub subnets: SubnetServiceClient<With>,
    pub ports: PortServiceClient<With>,
    pub groups: SecurityGroupServiceClient<With>,
    pub nodes: NodeServiceClient<With>,
}

impl Client {
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

    pub async fn subnet(&mut self, vpc: &pb::Vpc, name: &str, cidr: &str) -> pb::Subnet {
        let request = pb::CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: name.into(),
            cidr: cidr.into(),
            dhcp_enabled: true,
            ..Default::default()
        };
        let response = self.subnets.create_subnet(request).await.unwrap();
        response.into_inner().subnet.unwrap()
    }

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
        let response = self.ports.attach_port(request).await?;
        Ok(response.into_inner().port.unwrap())
    }

    pub async fn detach(&mut self, port: &pb::Port) -> pb::Port {
        let request = pb::DetachPortRequest {
            id: port.id.clone(),
            ..Default::default()
        };
        let response = self.ports.detach_port(request).await.unwrap();
        response.into_inner().port.unwrap()
    }

    pub async fn read_port(&mut self, id: &str) -> pb::Port {
        let request = pb::GetPortRequest {
            id: id.into(),
            ..Default::default()
        };
        let response = self.ports.get_port(request).await.unwrap();
        response.into_inner().port.unwrap()
    }
}

pub fn new_port(subnet: &pb::Subnet, name: &str) -> pb::CreatePortRequest {
    pb::CreatePortRequest {
        subnet_id: subnet.id.clone(),
        name: name.into(),
        ..Default::default()
    }
}

pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The error's code and a part of its text.
#[track_caller]
pub fn expect_error<T: std::fmt::Debug>(
    result: Result<tonic::Response<T>, Status>,
    code: Code,
    text: &str,
) {
    let status = result.expect_err("the call should be refused");
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(
        status.message().contains(text),
        "'{}' does not say '{text}'",
        status.message()
    );
}
