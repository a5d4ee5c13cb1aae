//! IAM, PrismNET and PlasmaVMC in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use iam::app::bootstrap::make_credentials;
use photon_api::components;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::{
    CreateApiKeyRequest, CreateBindingRequest, CreatePrincipalRequest, CreateRoleRequest,
    IssueTokenRequest, Permission, PrincipalKind,
};
use photon_program::{Component, ComponentSettings, Endpoints, Settings, Urls};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::server::TestServer;
use crate::session::Session;
use crate::tenant::Tenant;

/// The name of the one host, whose agents have identities.
pub const NODE: &str = "node1";

/// The three servers, with an operator and two tenants, `acme` and `globex`, that are alike.
pub struct TestCloud {
    /// IAM.
    pub iam: TestServer,
    /// PrismNET.
    pub prismnet: TestServer,
    /// PlasmaVMC.
    pub plasmavmc: TestServer,
    /// The operator: SystemAdmin.
    pub operator: Session,
    /// A principal of the system's whose role permits nothing that there is. (Without any, IAM gives no token.)
    pub stranger: Session,
    /// One tenant.
    pub acme: Tenant,
    /// Another one.
    pub globex: Tenant,
    // Last, so that it is removed after the servers were told to stop.
    dir: TempDir,
}

impl TestCloud {
    /// Starts everything and waits until it serves.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("credentials");
        make_credentials(&credentials).expect("credentials");
        let listeners = [listen().await, listen().await, listen().await];
        let [iam_at, prismnet_at, plasmavmc_at] =
            [0, 1, 2].map(|n: usize| listeners[n].local_addr().expect("a bound listener"));
        let endpoints = Endpoints {
            urls: Urls::default()
                .with(&components::IAM, format!("http://{iam_at}"))
                .with(&components::PRISMNET, format!("http://{prismnet_at}"))
                .with(&components::PLASMAVMC, format!("http://{plasmavmc_at}")),
            ..Endpoints::default()
        };

        let mut iam_settings =
            settings::<iam::Settings>(iam::COMPONENT, dir.path(), &endpoints, None);
        iam_settings.component.credentials_dir = Some(credentials.clone());
        iam_settings.component.node = Some(NODE.to_owned());
        let prismnet_settings = settings::<prismnet::Settings>(
            prismnet::COMPONENT,
            dir.path(),
            &endpoints,
            Some(credentials.join("prismnet-server.key")),
        );
        let plasmavmc_settings = settings::<plasmavmc::Settings>(
            plasmavmc::COMPONENT,
            dir.path(),
            &endpoints,
            Some(credentials.join("plasmavmc-server.key")),
        );

        let mut iam = TestServer::new("iam", iam_at, move |listener, shutdown| {
            iam::run(iam_settings.clone(), listener, shutdown)
        });
        let mut prismnet = TestServer::new("prismnet", prismnet_at, move |listener, shutdown| {
            prismnet::run(prismnet_settings.clone(), listener, shutdown)
        });
        let mut plasmavmc =
            TestServer::new("plasmavmc", plasmavmc_at, move |listener, shutdown| {
                plasmavmc::run(plasmavmc_settings.clone(), listener, shutdown)
            });
        let [first, second, third] = listeners;
        iam.serve(first).await;
        prismnet.serve(second).await;
        plasmavmc.serve(third).await;

        let password = std::fs::read_to_string(credentials.join("operator-password"))
            .expect("the operator's password");
        let channel = iam.channel();
        let credential = Credential::Password(password.trim().to_owned());
        let operator = issue(&channel, "operator", 3600, credential).await;
        let idle = idle_role(&channel, &operator, "").await;
        let stranger = program(&channel, &operator, "", "stranger", &[(&idle, "system")]).await;
        let acme = Tenant::create(&channel, &operator, "acme").await;
        let globex = Tenant::create(&channel, &operator, "globex").await;
        Self {
            iam,
            prismnet,
            plasmavmc,
            operator,
            stranger,
            acme,
            globex,
            dir,
        }
    }

    /// Where a server keeps its state: `iam`, `prismnet`, `plasmavmc`.
    pub fn state_dir(&self, component: Component) -> PathBuf {
        self.dir.path().join(component.name)
    }

    /// Starts a provisioner, which most tests have no use for: the server, and its boot listener's address. It speaks
    /// plaintext, so that no host is known to it by certificate, and its systemd starts nothing.
    pub async fn provisioner(&self) -> (TestServer, SocketAddr) {
        let dir = self.dir.path();
        let (listener, boot) = (listen().await, listen().await);
        let address = listener.local_addr().expect("a bound listener");
        let boot_address = boot.local_addr().expect("a bound listener");
        let endpoints = Endpoints {
            urls: Urls::default().with(&components::IAM, self.iam.url()),
            ..Endpoints::default()
        };
        let key = dir.join("credentials/photon-provisioner.key");
        let mut settings =
            settings::<provisioner::Settings>(provisioner::COMPONENT, dir, &endpoints, Some(key));
        settings.component.node = Some(NODE.to_owned());
        settings.component.ca_dir = dir.join("ca");
        settings.component.pki_dir = dir.join("pki");
        settings.component.boot_files = Some(dir.join("netboot"));
        settings.component.installer = Some("/bin/install-machine".into());
        settings.component.flake = Some("/etc/nixos".into());
        settings.component.ssh_key = Some(dir.join("ssh-key"));
        let now = std::time::SystemTime::now();
        provisioner::bootstrap::bootstrap(&settings.component, address.ip(), now)
            .expect("a certificate authority");
        // Taken by the first run; after a stop there is no boot listener.
        let boot = std::sync::Mutex::new(Some(boot));
        let mut server = TestServer::new("provisioner", address, move |listener, shutdown| {
            let outside = provisioner::Outside {
                systemd: std::sync::Arc::new(photon_host::systemd::FakeSystemd::new()),
                boot: boot.lock().expect("nobody panics with it").take(),
            };
            provisioner::run_with(settings.clone(), listener, outside, shutdown)
        });
        server.serve(listener).await;
        (server, boot_address)
    }

    /// The join token that the installer of a machine is to leave on it; it is there while the machine is installing.
    pub fn join_token(&self, machine_id: &str) -> PathBuf {
        self.state_dir(provisioner::COMPONENT)
            .join("install")
            .join(machine_id)
            .join("extra/var/lib/photoncloud/pki/join-token")
    }

    /// A session of one of the programs that have a key: `plasmavmc-server`, or an agent of [`NODE`],
    /// `prismnet-agent`.
    pub async fn program(&self, name: &str) -> Session {
        self.program_for(name, 3600).await
    }

    /// As [`program`](Self::program), with a token that lives so many seconds.
    pub async fn program_for(&self, name: &str, ttl_seconds: u32) -> Session {
        let file = self
            .dir
            .path()
            .join("credentials")
            .join(format!("{name}.key"));
        let key = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let principal = match name.ends_with("-agent") {
            true => format!("{name}@{NODE}"),
            false => name.to_owned(),
        };
        let credential = Credential::ApiKey(key.trim().to_owned());
        issue(&self.iam.channel(), &principal, ttl_seconds, credential).await
    }

    /// A client of IAM's administration.
    pub fn admin(&self) -> IamAdminServiceClient<Channel> {
        IamAdminServiceClient::new(self.iam.channel())
    }

    /// A new service account of an organization (empty: of the system) with roles at scopes, given by the operator.
    pub async fn service_account(&self, org: &str, name: &str, roles: &[(&str, &str)]) -> Session {
        program(&self.iam.channel(), &self.operator, org, name, roles).await
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a loopback port")
}

fn settings<S: ComponentSettings>(
    component: Component,
    dir: &Path,
    endpoints: &Endpoints,
    credential_file: Option<PathBuf>,
) -> Settings<S> {
    let mut settings = Settings::<S>::new(component);
    settings.server.state_dir = dir.join(component.name);
    settings.server.endpoints = endpoints.clone();
    settings.server.metrics_listen = None;
    settings.server.credential_file = credential_file;
    settings
}

async fn issue(
    iam: &Channel,
    principal: &str,
    ttl_seconds: u32,
    credential: Credential,
) -> Session {
    let request = IssueTokenRequest {
        principal_id: principal.to_owned(),
        credential: Some(credential),
        ttl_seconds,
        ..Default::default()
    };
    let issued = IamTokenServiceClient::new(iam.clone())
        .issue_token(request)
        .await;
    let issued = issued.unwrap_or_else(|status| panic!("no token for {principal}: {status}"));
    let issued = issued.into_inner();
    Session {
        principal_id: issued.principal_id,
        token: issued.token,
    }
}

/// A role that lets its bearer sign in, and do nothing: it is about a type of resource that there is not.
pub(crate) async fn idle_role(iam: &Channel, operator: &Session, org: &str) -> String {
    let request = CreateRoleRequest {
        org_id: org.to_owned(),
        name: "Idle".to_owned(),
        permissions: vec![Permission {
            action: "none:none:none".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let made = IamAdminServiceClient::new(iam.clone())
        .create_role(operator.request(request))
        .await
        .unwrap_or_else(|status| panic!("the role Idle: {status}"));
    made.into_inner().role.expect("a role").id
}

/// Makes a service account with roles at scopes, and signs it in with an API key, which is quicker than a password.
pub(crate) async fn program(
    iam: &Channel,
    operator: &Session,
    org: &str,
    name: &str,
    roles: &[(&str, &str)],
) -> Session {
    let mut admin = IamAdminServiceClient::new(iam.clone());
    let made = admin
        .create_principal(operator.request(CreatePrincipalRequest {
            org_id: org.to_owned(),
            name: name.to_owned(),
            kind: PrincipalKind::ServiceAccount.into(),
            ..Default::default()
        }))
        .await
        .unwrap_or_else(|status| panic!("service account {name}: {status}"));
    let id = made.into_inner().principal.expect("a principal").id;
    for (role, scope) in roles {
        admin
            .create_binding(operator.request(CreateBindingRequest {
                principal_id: id.clone(),
                role_id: (*role).to_owned(),
                scope: (*scope).to_owned(),
                ..Default::default()
            }))
            .await
            .unwrap_or_else(|status| panic!("{role} at {scope} for {name}: {status}"));
    }
    let key = admin
        .create_api_key(operator.request(CreateApiKeyRequest {
            principal_id: id.clone(),
            ..Default::default()
        }))
        .await
        .unwrap_or_else(|status| panic!("API key of {name}: {status}"));
    let credential = Credential::ApiKey(key.into_inner().secret);
    issue(iam, &id, 3600, credential).await
}
