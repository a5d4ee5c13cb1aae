//! The tenant path as an API client walks it: sign in, network, VM, console.

pub mod console;
pub mod network;
pub mod vm;

use anyhow::{Context, Result};
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{
    CreateBindingRequest, CreateOrganizationRequest, CreatePrincipalRequest, CreateProjectRequest,
    IssueTokenRequest, PrincipalKind, issue_token_request::Credential,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::photoncloud::Endpoints;

/// The first operator's name, as bootstrap makes it.
pub const OPERATOR: &str = "operator";

/// Puts the bearer token into every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel whose calls carry a token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Connections to the three servers. They are made when first used, and again when lost.
#[derive(Clone)]
pub struct Channels {
    iam: Channel,
    prismnet: Channel,
    plasmavmc: Channel,
}

impl Channels {
    pub fn to(endpoints: &Endpoints) -> Result<Self> {
        Self::at([endpoints.iam(), endpoints.prismnet(), endpoints.plasmavmc()])
    }

    /// To IAM, PrismNET and PlasmaVMC at these URLs.
    pub fn at(urls: [String; 3]) -> Result<Self> {
        let lazy = |url: String| -> Result<Channel> { Ok(Endpoint::new(url)?.connect_lazy()) };
        let [iam, prismnet, plasmavmc] = urls;
        Ok(Channels {
            iam: lazy(iam)?,
            prismnet: lazy(prismnet)?,
            plasmavmc: lazy(plasmavmc)?,
        })
    }
}

/// Someone who signed in.
#[derive(Clone)]
pub struct Session {
    channels: Channels,
    bearer: Bearer,
    /// Empty for the system.
    pub org: String,
    pub project: String,
    /// Seconds since the epoch.
    pub expires_at: i64,
}

impl Session {
    /// Signs in with a password.
    pub async fn open(
        channels: &Channels,
        principal: &str,
        org: &str,
        project: &str,
        password: &str,
    ) -> Result<Self> {
        let answer = IamTokenServiceClient::new(channels.iam.clone())
            .issue_token(IssueTokenRequest {
                principal_id: principal.into(),
                org_id: org.into(),
                project_id: project.into(),
                credential: Some(Credential::Password(password.into())),
                ttl_seconds: 0,
            })
            .await
            .with_context(|| format!("{principal} cannot sign in"))?
            .into_inner();
        let value = format!("Bearer {}", answer.token)
            .parse()
            .context("the token is not ASCII")?;
        Ok(Session {
            channels: channels.clone(),
            bearer: Bearer(value),
            org: org.into(),
            project: project.into(),
            expires_at: answer.expires_at.map_or(0, |time| time.seconds),
        })
    }

    /// The same token over connections of its own, as another client's would be.
    pub fn over(&self, channels: &Channels) -> Self {
        Session {
            channels: channels.clone(),
            ..self.clone()
        }
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        // It was made of ASCII, with this in front.
        let header = self.bearer.0.to_str().unwrap_or_default();
        header.trim_start_matches("Bearer ")
    }

    pub fn authz(&self) -> IamAuthzServiceClient<Authorized> {
        IamAuthzServiceClient::with_interceptor(self.channels.iam.clone(), self.bearer.clone())
    }

    fn admin(&self) -> IamAdminServiceClient<Authorized> {
        IamAdminServiceClient::with_interceptor(self.channels.iam.clone(), self.bearer.clone())
    }
}

/// Who a tenant is to be. The same password is good for one demo, not for a cloud.
#[derive(Clone, Debug)]
pub struct Account {
    pub org: String,
    pub project: String,
    pub user: String,
    pub password: String,
}

impl Account {
    /// With a password of its own that nobody can guess.
    pub fn new(org: &str) -> Result<Self> {
        let mut random = [0_u8; 12];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
        Ok(Account {
            org: org.into(),
            project: "web".into(),
            user: "admin".into(),
            password: random.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// As the operator: makes the organization, its project, and a user who administers the organization.
pub async fn onboard(operator: &Session, account: &Account) -> Result<()> {
    let mut admin = operator.admin();
    let org = &account.org;
    admin
        .create_organization(CreateOrganizationRequest {
            id: org.clone(),
            name: org.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create the organization {org}"))?;
    admin
        .create_project(CreateProjectRequest {
            org_id: org.clone(),
            id: account.project.clone(),
            name: account.project.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create a project in {org}"))?;
    let principal = admin
        .create_principal(CreatePrincipalRequest {
            org_id: org.clone(),
            name: account.user.clone(),
            kind: PrincipalKind::User.into(),
            password: account.password.clone(),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot create a user in {org}"))?
        .into_inner()
        .principal
        .context("CreatePrincipal answered without the principal")?;
    admin
        .create_binding(CreateBindingRequest {
            principal_id: principal.id,
            role_id: "OrgAdmin".into(),
            scope: format!("org/{org}"),
            ..Default::default()
        })
        .await
        .with_context(|| format!("cannot bind a role in {org}"))?;
    Ok(())
}
