//! A running IAM, and clients of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::chainfire::v1::{Event, ListEventsRequest};
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// A password that every test may know.
pub const PASSWORD: &str = "correct horse battery staple";

/// A running IAM.
pub struct Iam {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    pub channel: Channel,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Drop for Iam {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Iam {
    /// With an operator from its credential, and TLS. `channel` is how the test itself calls.
    pub async fn start_secured(
        settings: impl FnOnce(&Path, &mut photon_program::Settings<iam::Settings>),
        channel: impl FnOnce(&Path, SocketAddr) -> Channel,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        iam::app::bootstrap::make_credentials(&dir.path().join("credentials")).unwrap();
        let mut own = own_settings(dir.path());
        settings(dir.path(), &mut own);
        let (address, shutdown, serving) = serve_with(own).await;
        let channel = channel(dir.path(), address);
        Self {
            dir,
            address,
            channel,
            shutdown,
            serving: Some(serving),
        }
    }

    /// With an operator from its credential.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        iam::app::bootstrap::make_credentials(&dir.path().join("credentials")).unwrap();
        Self::start_in(dir).await
    }

    /// On the state that is in `dir`; with credentials if there is a directory of that name in it.
    pub async fn start_in(dir: tempfile::TempDir) -> Self {
        let (address, shutdown, serving) = serve(dir.path()).await;
        let channel = connect(address).await;
        Self {
            dir,
            address,
            channel,
            shutdown,
            serving: Some(serving),
        }
    }

    /// Stops it in order, and starts it again on the same state.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        let (address, shutdown, serving) = serve(self.dir.path()).await;
        self.address = address;
        self.channel = connect(address).await;
        self.shutdown = shutdown;
        self.serving = Some(serving);
        self
    }

    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        let serving = self.serving.take().unwrap();
        serving.await.unwrap().unwrap();
        // A call that was cut off may hold the store for a moment more; a process would have taken it along.
        let store = self.dir.path().join("state/flaredb.sqlite");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while let Err(error) = flaredb::Db::sqlite(&store).await {
            assert!(tokio::time::Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn operator_password(&self) -> String {
        let path = self.dir.path().join("credentials/operator-password");
        std::fs::read_to_string(path).unwrap()
    }

    pub fn key_of(&self, program: &str) -> String {
        let path = self.dir.path().join(format!("credentials/{program}.key"));
        std::fs::read_to_string(path).unwrap()
    }

    /// The operator of the whole cloud.
    pub async fn operator(&self) -> Caller {
        let password = self.operator_password();
        self.sign_in("", "", "operator", &password).await.unwrap()
    }

    /// Somebody without a token.
    pub fn stranger(&self) -> Caller {
        Caller {
            token: String::new(),
            principal_id: String::new(),
            channel: self.channel.clone(),
        }
    }

    pub async fn sign_in(
        &self,
        org: &str,
        project: &str,
        principal: &str,
        password: &str,
    ) -> Result<Caller, Status> {
        self.issue(IssueTokenRequest {
            principal_id: principal.into(),
            org_id: org.into(),
            project_id: project.into(),
            credential: Some(Credential::Password(password.into())),
            ttl_seconds: 0,
        })
        .await
    }

    pub async fn issue(&self, request: IssueTokenRequest) -> Result<Caller, Status> {
        let issued = self
            .stranger()
            .tokens()
            .issue_token(request)
            .await?
            .into_inner();
        Ok(Caller {
            token: issued.token,
            principal_id: issued.principal_id,
            channel: self.channel.clone(),
        })
    }

    /// An organization with one project, and a user with `role` in the organization.
    pub async fn tenant(&self, org: &str, project: &str, user: &str, role: &str) -> Caller {
        let operator = self.operator().await;
        operator.create_org(org).await.unwrap();
        operator.create_project(org, project).await.unwrap();
        let id = operator.create_user(org, user).await.unwrap();
        operator
            .bind(&id, role, &format!("org/{org}"))
            .await
            .unwrap();
        self.sign_in(org, "", user, PASSWORD).await.unwrap()
    }
}

async fn serve(
    dir: &Path,
) -> (
    SocketAddr,
    CancellationToken,
    JoinHandle<anyhow::Result<()>>,
) {
    serve_with(own_settings(dir)).await
}

fn own_settings(dir: &Path) -> photon_program::Settings<iam::Settings> {
    let mut settings = photon_program::Settings::<iam::Settings>::new(iam::COMPONENT);
    settings.server.state_dir = dir.join("state");
    settings.server.metrics_listen = None;
    let credentials = dir.join("credentials");
    settings.component.credentials_dir = credentials.exists().then_some(credentials);
    settings.component.node = Some("host-1".into());
    settings
}

async fn serve_with(
    settings: photon_program::Settings<iam::Settings>,
) -> (
    SocketAddr,
    CancellationToken,
    JoinHandle<anyhow::Result<()>>,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(iam::run(settings, listener, shutdown.clone()));
    (address, shutdown, serving)
}

async fn connect(address: SocketAddr) -> Channel {
    // The listener is bound: the first call waits in its queue until it is served.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let first = IamTokenServiceClient::new(channel.clone())
        .get_jwks(GetJwksRequest {})
        .await;
    first.expect("IAM serves");
    channel
}

/// Somebody who calls, with a token or none.
#[derive(Clone)]
pub struct Caller {
    pub token: String,
    pub principal_id: String,
    channel: Channel,
}

/// What puts the token on each call.
pub type Bearer = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send>;
type Intercepted = tonic::service::interceptor::InterceptedService<Channel, Bearer>;

impl Caller {
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.into(),
            ..self.clone()
        }
    }

    fn bearer(&self) -> Bearer {
        let token = self.token.clone();
        Box::new(move |mut request| {
            if !token.is_empty() {
                let value = format!("Bearer {token}").parse().unwrap();
                request.metadata_mut().insert("authorization", value);
            }
            Ok(request)
        })
    }

    pub fn admin(&self) -> IamAdminServiceClient<Intercepted> {
        IamAdminServiceClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub fn tokens(&self) -> IamTokenServiceClient<Intercepted> {
        IamTokenServiceClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub fn authz(&self) -> IamAuthzServiceClient<Intercepted> {
        IamAuthzServiceClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    /// The event log of its organization, or of the system.
    pub async fn events(&self) -> Vec<Event> {
        let mut client = EventServiceClient::with_interceptor(self.channel.clone(), self.bearer());
        let list = ListEventsRequest {
            page_size: 1000,
            ..Default::default()
        };
        client.list_events(list).await.unwrap().into_inner().events
    }

    pub async fn create_org(&self, id: &str) -> Result<Organization, Status> {
        let request = CreateOrganizationRequest {
            id: id.into(),
            ..Default::default()
        };
        let done = self.admin().create_organization(request).await?;
        Ok(done.into_inner().organization.unwrap())
    }

    pub async fn create_project(&self, org: &str, id: &str) -> Result<Project, Status> {
        let request = CreateProjectRequest {
            org_id: org.into(),
            id: id.into(),
            ..Default::default()
        };
        Ok(self
            .admin()
            .create_project(request)
            .await?
            .into_inner()
            .project
            .unwrap())
    }

    /// A user with [`PASSWORD`]; its id.
    pub async fn create_user(&self, org: &str, name: &str) -> Result<String, Status> {
        let request = CreatePrincipalRequest {
            org_id: org.into(),
            name: name.into(),
            kind: PrincipalKind::User as i32,
            password: PASSWORD.into(),
            ..Default::default()
        };
        let done = self.admin().create_principal(request).await?;
        Ok(done.into_inner().principal.unwrap().id)
    }

    pub async fn create_service_account(&self, org: &str, name: &str) -> Result<String, Status> {
        let request = CreatePrincipalRequest {
            org_id: org.into(),
            name: name.into(),
            kind: PrincipalKind::ServiceAccount as i32,
            ..Default::default()
        };
        let done = self.admin().create_principal(request).await?;
        Ok(done.into_inner().principal.unwrap().id)
    }

    pub async fn bind(&self, principal: &str, role: &str, scope: &str) -> Result<Binding, Status> {
        let request = CreateBindingRequest {
            principal_id: principal.into(),
            role_id: role.into(),
            scope: scope.into(),
            ..Default::default()
        };
        Ok(self
            .admin()
            .create_binding(request)
            .await?
            .into_inner()
            .binding
            .unwrap())
    }

    /// A role with these actions, resources and conditions; its id.
    pub async fn create_role(
        &self,
        org: &str,
        name: &str,
        permissions: &[(&str, &str, &str)],
    ) -> Result<String, Status> {
        let request = CreateRoleRequest {
            org_id: org.into(),
            name: name.into(),
            permissions: permissions.iter().map(permission).collect(),
            ..Default::default()
        };
        Ok(self
            .admin()
            .create_role(request)
            .await?
            .into_inner()
            .role
            .unwrap()
            .id)
    }

    pub async fn whoami(&self) -> Result<WhoAmIResponse, Status> {
        Ok(self.tokens().who_am_i(WhoAmIRequest {}).await?.into_inner())
    }

    /// Asks about its own token, as the other servers do on its behalf.
    pub async fn may(&self, action: &str, resource: &str) -> Result<AuthorizeResponse, Status> {
        self.may_with(action, resource, &[]).await
    }

    pub async fn may_with(
        &self,
        action: &str,
        resource: &str,
        attributes: &[(&str, &str)],
    ) -> Result<AuthorizeResponse, Status> {
        let request = AuthorizeRequest {
            token: self.token.clone(),
            action: action.into(),
            resource: resource.into(),
            attributes: attributes
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
        };
        Ok(self.authz().authorize(request).await?.into_inner())
    }

    pub async fn allowed(&self, action: &str, resource: &str) -> bool {
        self.may(action, resource).await.unwrap().allowed
    }
}

pub fn permission((action, resource, condition): &(&str, &str, &str)) -> Permission {
    Permission {
        action: action.to_string(),
        resource: resource.to_string(),
        condition: condition.to_string(),
    }
}

/// The refusal, which must be of this kind.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> String {
    let status = result.expect_err("it was not refused");
    assert_eq!(status.code(), code, "{status}");
    status.message().to_owned()
}

/// Looks again and again until `done`, for at most five seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done().await {
        assert!(Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
