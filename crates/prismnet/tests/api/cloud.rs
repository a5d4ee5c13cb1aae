//! IAM and PrismNET, real, in this process, with their stores on disk; and clients of several tenants.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use iam::app::bootstrap::make_credentials;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::components::IAM;
use photon_api::iam::v1 as iam_pb;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_program::{Settings, Urls};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// As long as a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The servers.
pub struct Cloud {
    iam: Server,
    prismnet: Server,
    operator: String,
    /// So that every principal has a name of its own.
    principals: AtomicU32,
    // Last, so that it is removed after the servers were told to stop.
    state: tempfile::TempDir,
}

struct Server {
    address: SocketAddr,
    channel: Channel,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Server {
    /// In a runtime of its own, as it is in a process of its own: a burst of calls at one server must not keep the
    /// other from its turn.
    async fn start<F>(
        run: impl FnOnce(TcpListener, CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::task::spawn_blocking({
            let shutdown = shutdown.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener)?;
                    run(listener, shutdown).await
                })
            }
        });
        // The listener is bound: a connection waits in its queue until it is served.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            address,
            channel: endpoint.connect_lazy(),
            shutdown,
            served,
        }
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(DEADLINE, &mut self.served).await;
        ended.expect("the server stops in time").unwrap().unwrap();
    }
}

async fn start_iam(dir: &Path) -> Server {
    let mut settings = Settings::<iam::Settings>::new(iam::COMPONENT);
    settings.server.state_dir = dir.join("iam");
    settings.server.metrics_listen = None;
    settings.component.credentials_dir = Some(dir.join("credentials"));
    settings.component.node = Some("n1".into());
    Server::start(|listener, shutdown| iam::run(settings, listener, shutdown)).await
}

async fn start_prismnet(dir: &Path, iam: &Server) -> Server {
    let mut settings = Settings::<prismnet::Settings>::new(prismnet::COMPONENT);
    settings.server.state_dir = dir.join("prismnet");
    settings.server.metrics_listen = None;
    settings.server.endpoints.urls = Urls::default().with(&IAM, format!("http://{}", iam.address));
    Server::start(|listener, shutdown| prismnet::run(settings, listener, shutdown)).await
}

impl Cloud {
    pub async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let credentials = state.path().join("credentials");
        make_credentials(&credentials).unwrap();
        let iam = start_iam(state.path()).await;
        let prismnet = start_prismnet(state.path(), &iam).await;
        let password = std::fs::read_to_string(credentials.join("operator-password")).unwrap();
        let password = Credential::Password(password.trim().to_owned());
        let operator = issue(&iam, "operator", "", "", password).await;
        Self {
            iam,
            prismnet,
            operator,
            principals: AtomicU32::new(0),
            state,
        }
    }

    /// Stops PrismNET's server and starts it again on the same state.
    pub async fn restart(&mut self) {
        self.prismnet.stop().await;
        self.prismnet = start_prismnet(self.state.path(), &self.iam).await;
    }

    /// Stops IAM, and does not start it again.
    pub async fn stop_iam(&mut self) {
        self.iam.stop().await;
    }

    fn admin(&self) -> IamAdminServiceClient<With> {
        let operator = Bearer(Some(self.operator.clone()));
        IamAdminServiceClient::with_interceptor(self.iam.channel.clone(), operator)
    }

    /// Makes every token that was issued to a caller until now useless.
    pub async fn revoke(&self, client: &Client) {
        let operator = Bearer(Some(self.operator.clone()));
        let request = iam_pb::RevokeTokenRequest {
            token: client.token.clone(),
            ..Default::default()
        };
        IamTokenServiceClient::with_interceptor(self.iam.channel.clone(), operator)
            .revoke_token(request)
            .await
            .unwrap();
    }

    pub fn client(&self, token: String) -> Client {
        let with = || {
            let token = Bearer(Some(token.clone()));
            InterceptedService::new(self.prismnet.channel.clone(), token)
        };
        Client {
            vpcs: VpcServiceClient::new(with()),
            subnets: SubnetServiceClient::new(with()),
            ports: PortServiceClient::new(with()),
            groups: SecurityGroupServiceClient::new(with()),
            nodes: NodeServiceClient::new(with()),
            events: EventServiceClient::new(with()),
            token,
        }
    }

    /// Somebody without a token at all.
    pub fn stranger(&self) -> Client {
        let mut client = self.client(String::new());
        let with = || InterceptedService::new(self.prismnet.channel.clone(), Bearer(None));
        client.vpcs = VpcServiceClient::new(with());
        client
    }

    /// Somebody who may do everything with networks in project `web` of an organization.
    pub async fn tenant(&self, org: &str) -> Client {
        self.member(org, "web").await
    }

    /// The same in another project.
    pub async fn member(&self, org: &str, project: &str) -> Client {
        self.principal(org, project, "ProjectMember").await
    }

    /// The administrator of an organization: the token is for no project.
    pub async fn org_admin(&self, org: &str) -> Client {
        self.principal(org, "", "OrgAdmin").await
    }

    /// Somebody of project `web` who may only read.
    pub async fn viewer(&self, org: &str) -> Client {
        self.principal(org, "web", "ProjectViewer").await
    }

    /// Somebody of project `web` who may do nothing with networks.
    pub async fn nobody(&self, org: &str) -> Client {
        self.with_role(org, &[("compute:images:list", "")]).await
    }

    /// Somebody of project `web` with these permissions: action and condition.
    pub async fn with_role(&self, org: &str, permissions: &[(&str, &str)]) -> Client {
        self.ensure(org, "web").await;
        let request = iam_pb::CreateRoleRequest {
            org_id: org.into(),
            name: self.name("role"),
            permissions: permissions
                .iter()
                .map(|(action, condition)| iam_pb::Permission {
                    action: (*action).into(),
                    resource: format!("org/{org}/*"),
                    condition: (*condition).into(),
                })
                .collect(),
            ..Default::default()
        };
        let role = self.admin().create_role(request).await.unwrap();
        let role = role.into_inner().role.unwrap();
        self.principal(org, "web", &role.id).await
    }

    /// The operator of the cloud.
    pub async fn operator(&self) -> Client {
        self.client(self.operator.clone())
    }

    /// The agent of a host.
    pub async fn agent(&self, node: &str) -> Client {
        let request = iam_pb::CreatePrincipalRequest {
            name: self.name("agent"),
            kind: iam_pb::PrincipalKind::Node.into(),
            node: node.into(),
            ..Default::default()
        };
        let token = self.sign_in(request, "", "NodeAgent", "system").await;
        self.client(token)
    }

    /// A caller with this for a token.
    pub async fn with_token(&self, token: &str) -> Client {
        self.client(token.into())
    }

    async fn principal(&self, org: &str, project: &str, role: &str) -> Client {
        let scope = if project.is_empty() {
            self.ensure(org, "web").await;
            format!("org/{org}")
        } else {
            self.ensure(org, project).await;
            format!("org/{org}/project/{project}")
        };
        let request = iam_pb::CreatePrincipalRequest {
            org_id: org.into(),
            name: self.name("program"),
            kind: iam_pb::PrincipalKind::ServiceAccount.into(),
            ..Default::default()
        };
        let token = self.sign_in(request, project, role, &scope).await;
        self.client(token)
    }

    fn name(&self, kind: &str) -> String {
        let number = self.principals.fetch_add(1, Ordering::Relaxed);
        format!("{kind}-{number}")
    }

    /// Makes a principal, gives it a role, and signs it in with an API key.
    async fn sign_in(
        &self,
        request: iam_pb::CreatePrincipalRequest,
        project: &str,
        role: &str,
        scope: &str,
    ) -> String {
        let mut admin = self.admin();
        let org = request.org_id.clone();
        let made = admin.create_principal(request).await.unwrap();
        let id = made.into_inner().principal.unwrap().id;
        let binding = iam_pb::CreateBindingRequest {
            principal_id: id.clone(),
            role_id: role.into(),
            scope: scope.into(),
            ..Default::default()
        };
        admin.create_binding(binding).await.unwrap();
        let key = iam_pb::CreateApiKeyRequest {
            principal_id: id.clone(),
            ..Default::default()
        };
        let key = admin.create_api_key(key).await.unwrap().into_inner();
        issue(
            &self.iam,
            &id,
            &org,
            project,
            Credential::ApiKey(key.secret),
        )
        .await
    }

    /// Makes an organization and a project of it, if they are not there.
    async fn ensure(&self, org: &str, project: &str) {
        let mut admin = self.admin();
        let request = iam_pb::CreateOrganizationRequest {
            id: org.into(),
            ..Default::default()
        };
        let made = admin.create_organization(request).await.map(drop);
        let request = iam_pb::CreateProjectRequest {
            org_id: org.into(),
            id: project.into(),
            ..Default::default()
        };
        let made = [made, admin.create_project(request).await.map(drop)];
        for refused in made.into_iter().filter_map(Result::err) {
            assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        }
    }
}

async fn issue(
    iam: &Server,
    principal: &str,
    org: &str,
    project: &str,
    credential: Credential,
) -> String {
    let request = iam_pb::IssueTokenRequest {
        principal_id: principal.into(),
        org_id: org.into(),
        project_id: project.into(),
        credential: Some(credential),
        ttl_seconds: 0,
    };
    let issued = IamTokenServiceClient::new(iam.channel.clone())
        .issue_token(request)
        .await
        .unwrap();
    issued.into_inner().token
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
    pub events: EventServiceClient<With>,
    pub token: String,
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
