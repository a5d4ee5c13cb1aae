//! Real servers of IAM, PrismNET and PlasmaVMC with their stores on disk, and clients of several tenants.
//!
//! Each server has a runtime of its own, so that it can be killed like a process: whatever it was doing is
//! dropped where it was.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::components::{IAM, PRISMNET};
use photon_api::iam::v1 as iam_pb;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::prismnet::v1 as net;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_program::{Component, ComponentSettings, Endpoints, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// As long as a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse battery staple";
pub const HOST: &str = "host-1";

/// The servers.
pub struct Cloud {
    dir: tempfile::TempDir,
    endpoints: Endpoints,
    plasmavmc_settings: plasmavmc::Settings,
    iam: Server,
    prismnet: Option<Server>,
    plasmavmc: Option<Server>,
    operator_token: String,
}

struct Server {
    runtime: Option<Runtime>,
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls that come before it serves wait in its listener.
    async fn start<S, F, Run>(settings: Settings<S>, address: SocketAddr, run: Run) -> Self
    where
        S: ComponentSettings,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
        Run: FnOnce(Settings<S>, TcpListener, CancellationToken) -> F + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .spawn(async move { TcpListener::bind(address).await })
            .await
            .unwrap()
            .unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = runtime.spawn(run(settings, listener, shutdown.clone()));
        Self {
            runtime: Some(runtime),
            address,
            shutdown,
            served,
        }
    }

    /// Ends as by SIGTERM.
    async fn stop(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, &mut self.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.end().await;
    }

    /// Ends as by SIGKILL: what is under way is dropped.
    async fn kill(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE))
            .await
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn settings<S: ComponentSettings>(
    component: Component,
    dir: &Path,
    endpoints: &Endpoints,
) -> Settings<S> {
    let mut settings = Settings::<S>::new(component);
    settings.server.metrics_listen = None;
    settings.server.port = 0;
    settings.server.state_dir = dir.join(component.name);
    settings.server.endpoints = endpoints.clone();
    settings
}

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

impl Cloud {
    /// Three servers, an operator, and one host of 16 CPUs and 32 GiB.
    pub async fn start() -> Self {
        Self::with(plasmavmc::Settings::default()).await
    }

    pub async fn with(plasmavmc_settings: plasmavmc::Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        iam::app::bootstrap::make_credentials(&credentials).unwrap();
        let mut endpoints = Endpoints::default();
        let mut own = settings::<iam::Settings>(iam::COMPONENT, dir.path(), &endpoints);
        own.component.credentials_dir = Some(credentials.clone());
        own.component.node = Some(HOST.into());
        let iam = Server::start(own, ANY_PORT, iam::run).await;
        endpoints.urls = endpoints.urls.with(&IAM, iam.url());
        let own = settings::<prismnet::Settings>(prismnet::COMPONENT, dir.path(), &endpoints);
        let prismnet = Server::start(own, ANY_PORT, prismnet::run).await;
        endpoints.urls = endpoints.urls.with(&PRISMNET, prismnet.url());
        let password = fs::read_to_string(credentials.join("operator-password")).unwrap();
        let password = Credential::Password(password.trim().to_owned());
        let operator_token = token(&iam.url(), "operator", "", "", password).await;
        let mut cloud = Self {
            dir,
            endpoints,
            plasmavmc_settings,
            iam,
            prismnet: Some(prismnet),
            plasmavmc: None,
            operator_token,
        };
        cloud.start_plasmavmc().await;
        cloud
    }

    pub async fn start_plasmavmc(&mut self) {
        let mut own =
            settings::<plasmavmc::Settings>(plasmavmc::COMPONENT, self.dir.path(), &self.endpoints);
        own.component = self.plasmavmc_settings.clone();
        own.server.credential_file = Some(self.identity());
        let server = Server::start(own, ANY_PORT, plasmavmc::run).await;
        self.plasmavmc = Some(server);
    }

    /// Ends PlasmaVMC as by SIGKILL.
    pub async fn kill_plasmavmc(&mut self) {
        self.plasmavmc.take().unwrap().kill().await;
    }

    /// Ends PlasmaVMC as by SIGTERM.
    pub async fn stop_plasmavmc(&mut self) {
        self.plasmavmc.take().unwrap().stop().await;
    }

    pub async fn restart_plasmavmc(&mut self) {
        self.kill_plasmavmc().await;
        self.start_plasmavmc().await;
    }

    pub async fn kill_prismnet(&mut self) {
        self.prismnet.take().unwrap().kill().await;
    }

    /// Starts it again where it was.
    pub async fn start_prismnet(&mut self) {
        let own =
            settings::<prismnet::Settings>(prismnet::COMPONENT, self.dir.path(), &self.endpoints);
        let address = self
            .endpoints
            .url(&PRISMNET)
            .trim_start_matches("http://")
            .parse();
        self.prismnet = Some(Server::start(own, address.unwrap(), prismnet::run).await);
    }

    fn identity(&self) -> PathBuf {
        self.dir.path().join("credentials/plasmavmc-server.key")
    }

    /// Takes PlasmaVMC's own identity away (at its next start), so that it can attach and detach nothing.
    pub fn hide_identity(&self) {
        fs::rename(self.identity(), self.dir.path().join("hidden")).unwrap();
    }

    pub fn give_identity_back(&self) {
        fs::rename(self.dir.path().join("hidden"), self.identity()).unwrap();
    }

    /// Where PlasmaVMC keeps files of images.
    pub fn images_dir(&self) -> PathBuf {
        self.dir.path().join("plasmavmc/images")
    }

    /// A client of all servers for the bearer of a token.
    pub async fn client(&self, token: &str) -> Client {
        let plasmavmc = channel(&self.plasmavmc.as_ref().unwrap().url());
        let prismnet = channel(self.endpoints.url(&PRISMNET));
        let with = |channel: &Channel| {
            InterceptedService::new(channel.clone(), Bearer(Some(token.to_owned())))
        };
        Client {
            images: ImageServiceClient::new(with(&plasmavmc)),
            vms: VmServiceClient::new(with(&plasmavmc)),
            nodes: NodeServiceClient::new(with(&plasmavmc)),
            events: EventServiceClient::new(with(&plasmavmc)),
            vpcs: VpcServiceClient::new(with(&prismnet)),
            subnets: SubnetServiceClient::new(with(&prismnet)),
            ports: PortServiceClient::new(with(&prismnet)),
            admin: IamAdminServiceClient::new(with(&channel(&self.iam.url()))),
            tokens: IamTokenServiceClient::new(with(&channel(&self.iam.url()))),
        }
    }

    pub async fn operator(&self) -> Client {
        self.client(&self.operator_token).await
    }

    /// An organization with project `web`.
    pub async fn organization(&self, org: &str) {
        let mut operator = self.operator().await;
        let request = iam_pb::CreateOrganizationRequest {
            id: org.into(),
            ..Default::default()
        };
        operator.admin.create_organization(request).await.unwrap();
        self.project(org, "web").await;
    }

    pub async fn project(&self, org: &str, project: &str) {
        let request = iam_pb::CreateProjectRequest {
            org_id: org.into(),
            id: project.into(),
            ..Default::default()
        };
        let mut operator = self.operator().await;
        operator.admin.create_project(request).await.unwrap();
    }

    /// The token of a new user with a role in project `web` of an organization.
    pub async fn user_token(&self, org: &str, name: &str, role: &str) -> String {
        let mut operator = self.operator().await;
        let request = iam_pb::CreatePrincipalRequest {
            org_id: org.into(),
            name: name.into(),
            kind: iam_pb::PrincipalKind::User.into(),
            password: PASSWORD.into(),
            ..Default::default()
        };
        let made = operator.admin.create_principal(request).await.unwrap();
        let id = made.into_inner().principal.unwrap().id;
        self.bind(&id, role, &format!("org/{org}/project/web"))
            .await;
        self.sign_in(org, name).await
    }

    /// A token for project `web` of a user that there is.
    pub async fn sign_in(&self, org: &str, name: &str) -> String {
        let password = Credential::Password(PASSWORD.into());
        token(&self.iam.url(), name, org, "web", password).await
    }

    /// The token of a new user that lost its only role after it had signed in.
    pub async fn token_without_role(&self, org: &str, name: &str) -> String {
        let token = self.user_token(org, name, "ProjectViewer").await;
        let mut operator = self.operator().await;
        let request = iam_pb::GetPrincipalRequest {
            id: name.into(),
            org_id: org.into(),
        };
        let found = operator.admin.get_principal(request).await.unwrap();
        let request = iam_pb::ListBindingsRequest {
            principal_id: found.into_inner().principal.unwrap().id,
            ..Default::default()
        };
        let bindings = operator.admin.list_bindings(request).await.unwrap();
        for binding in bindings.into_inner().bindings {
            let request = iam_pb::DeleteBindingRequest {
                id: binding.id,
                ..Default::default()
            };
            operator.admin.delete_binding(request).await.unwrap();
        }
        token
    }

    async fn bind(&self, principal: &str, role: &str, scope: &str) {
        let request = iam_pb::CreateBindingRequest {
            principal_id: principal.into(),
            role_id: role.into(),
            scope: scope.into(),
            ..Default::default()
        };
        let mut operator = self.operator().await;
        operator.admin.create_binding(request).await.unwrap();
    }

    /// A new organization of this name, and somebody who may do everything in its project `web`.
    pub async fn tenant(&self, org: &str) -> Client {
        self.organization(org).await;
        let token = self.user_token(org, "admin", "ProjectAdmin").await;
        self.client(&token).await
    }

    /// The token of the agent on a host: the first host is known to IAM from the start, others become so.
    pub async fn agent_token(&self, node: &str) -> String {
        if node == HOST {
            let key = self.dir.path().join("credentials/plasmavmc-agent.key");
            let key = fs::read_to_string(key).unwrap();
            let key = Credential::ApiKey(key.trim().to_owned());
            let name = format!("plasmavmc-agent@{HOST}");
            return token(&self.iam.url(), &name, "", "", key).await;
        }
        let mut operator = self.operator().await;
        let request = iam_pb::CreatePrincipalRequest {
            name: format!("plasmavmc-agent@{node}"),
            kind: iam_pb::PrincipalKind::Node.into(),
            node: node.into(),
            ..Default::default()
        };
        let made = operator.admin.create_principal(request).await.unwrap();
        let id = made.into_inner().principal.unwrap().id;
        self.bind(&id, "NodeAgent", "system").await;
        let request = iam_pb::CreateApiKeyRequest {
            principal_id: id.clone(),
            ..Default::default()
        };
        let key = operator.admin.create_api_key(request).await.unwrap();
        let key = Credential::ApiKey(key.into_inner().secret);
        token(&self.iam.url(), &id, "", "", key).await
    }
}

async fn token(iam: &str, principal: &str, org: &str, project: &str, with: Credential) -> String {
    let request = iam_pb::IssueTokenRequest {
        principal_id: principal.into(),
        org_id: org.into(),
        project_id: project.into(),
        credential: Some(with),
        ttl_seconds: 3600,
    };
    let mut client = IamTokenServiceClient::new(channel(iam));
    client
        .issue_token(request)
        .await
        .unwrap()
        .into_inner()
        .token
}

fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned())
        .unwrap()
        .connect_lazy()
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

/// All services for one caller.
#[derive(Clone)]
pub struct Client {
    pub images: ImageServiceClient<With>,
    pub vms: VmServiceClient<With>,
    pub nodes: NodeServiceClient<With>,
    pub events: EventServiceClient<With>,
    pub vpcs: VpcServiceClient<With>,
    pub subnets: SubnetServiceClient<With>,
    pub ports: PortServiceClient<With>,
    pub admin: IamAdminServiceClient<With>,
    pub tokens: IamTokenServiceClient<With>,
}

impl Client {
    /// A VPC with a subnet.
    pub async fn subnet(&mut self) -> net::Subnet {
        let request = net::CreateVpcRequest {
            name: "main".into(),
            cidr: "10.0.0.0/16".into(),
            ..Default::default()
        };
        let vpc = self.vpcs.create_vpc(request).await.unwrap().into_inner();
        let request = net::CreateSubnetRequest {
            vpc_id: vpc.vpc.unwrap().id,
            name: "front".into(),
            cidr: "10.0.1.0/24".into(),
            dhcp_enabled: true,
            ..Default::default()
        };
        let response = self.subnets.create_subnet(request).await.unwrap();
        response.into_inner().subnet.unwrap()
    }

    pub async fn port(&mut self, subnet: &net::Subnet, name: &str) -> net::Port {
        let request = net::CreatePortRequest {
            subnet_id: subnet.id.clone(),
            name: name.into(),
            ..Default::default()
        };
        let response = self.ports.create_port(request).await.unwrap();
        response.into_inner().port.unwrap()
    }

    /// The id of the device that has the port.
    pub async fn device_of(&mut self, port: &net::Port) -> String {
        let request = net::GetPortRequest {
            id: port.id.clone(),
            ..Default::default()
        };
        let response = self.ports.get_port(request).await.unwrap();
        response.into_inner().port.unwrap().device_id
    }

    pub async fn create(&mut self, request: pb::CreateVmRequest) -> Result<pb::Vm, Status> {
        let response = self.vms.create_vm(request).await?;
        Ok(response.into_inner().vm.unwrap())
    }

    pub async fn get(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::GetVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.get_vm(request).await?.into_inner().vm.unwrap())
    }

    pub async fn delete(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::DeleteVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.delete_vm(request).await?.into_inner().vm.unwrap())
    }

    pub async fn start(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::StartVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.start_vm(request).await?.into_inner().vm.unwrap())
    }

    pub async fn stop(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::StopVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.stop_vm(request).await?.into_inner().vm.unwrap())
    }

    /// Follows the VM until it is as wanted.
    pub async fn wait(&mut self, id: &str, wanted: impl Fn(&pb::Vm) -> bool) -> pb::Vm {
        let request = pb::WatchVmRequest {
            id: id.into(),
            ..Default::default()
        };
        let mut watch = self.vms.watch_vm(request).await.unwrap().into_inner();
        let follow = async {
            loop {
                let told = watch.message().await.unwrap().expect("it is still there");
                let vm = told.vm.unwrap();
                if wanted(&vm) {
                    return vm;
                }
            }
        };
        tokio::time::timeout(DEADLINE, follow).await.unwrap()
    }

    pub async fn wait_for(&mut self, id: &str, phase: pb::VmPhase) -> pb::Vm {
        self.wait(id, |vm| vm.phase() == phase).await
    }

    /// Follows the VM until it is gone.
    pub async fn wait_gone(&mut self, id: &str) {
        let request = pb::WatchVmRequest {
            id: id.into(),
            ..Default::default()
        };
        let mut watch = match self.vms.watch_vm(request).await {
            Ok(watch) => watch.into_inner(),
            Err(status) if status.code() == Code::NotFound => return,
            Err(status) => panic!("{status}"),
        };
        let follow = async {
            let mut deleted = false;
            while let Some(told) = watch.message().await.unwrap() {
                assert!(!deleted, "nothing comes after the end");
                deleted = told.deleted;
            }
            assert!(deleted);
        };
        tokio::time::timeout(DEADLINE, follow).await.unwrap();
    }
}

/// A VM of a name with interfaces on ports, and otherwise defaults.
pub fn new_vm(name: &str, ports: &[&net::Port]) -> pb::CreateVmRequest {
    let network = ports
        .iter()
        .enumerate()
        .map(|(at, port)| pb::NetworkInterface {
            id: format!("eth{at}"),
            port_id: port.id.clone(),
        });
    pb::CreateVmRequest {
        name: name.into(),
        spec: Some(pb::VmSpec {
            network: network.collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The error's code and a part of its text.
#[track_caller]
pub fn expect_error<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("the call should be refused");
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(
        status.message().contains(text),
        "'{}' does not say '{text}'",
        status.message()
    );
}
