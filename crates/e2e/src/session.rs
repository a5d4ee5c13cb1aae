//! Signing in, and calls that carry what that gave.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{IssueTokenRequest, issue_token_request::Credential};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// The first operator's name, as bootstrap makes it.
pub const OPERATOR: &str = "operator";

/// A server that takes longer to accept a connection is as good as away.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before it is asked whether it lives, and how long it has to answer. A
/// host that lost its power says no goodbye.
const ALIVE: Duration = Duration::from_secs(20);

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
    pub(crate) iam: Channel,
    pub(crate) prismnet: Channel,
    pub(crate) plasmavmc: Channel,
}

impl Channels {
    /// To IAM, PrismNET and PlasmaVMC at these URLs.
    pub fn at(urls: [String; 3]) -> Result<Self> {
        Self::trusting(urls, None)
    }

    /// The same; `https` servers must have their certificate of this authority (a PEM file). Without one, of
    /// those that the machine trusts.
    pub fn trusting(urls: [String; 3], ca: Option<&PathBuf>) -> Result<Self> {
        let mut tls = ClientTlsConfig::new().with_native_roots();
        if let Some(path) = ca {
            let pem = std::fs::read(path)
                .with_context(|| format!("cannot read the CA {}", path.display()))?;
            tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        }
        let lazy = |url: String| -> Result<Channel> {
            // Not `new`: that looks for the machine's authorities at once, of which there may be none.
            let mut endpoint = Endpoint::from_shared(url.clone())
                .with_context(|| format!("`{url}` is no http:// or https:// URL"))?
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(ALIVE)
                .keep_alive_timeout(ALIVE);
            if url.starts_with("https://") {
                endpoint = endpoint.tls_config(tls.clone())?;
            }
            Ok(endpoint.connect_lazy())
        };
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
    pub(crate) channels: Channels,
    pub(crate) bearer: Bearer,
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

    /// The same, about another organization's project: for an operator, who may look everywhere.
    pub fn within(&self, org: &str, project: &str) -> Self {
        Session {
            org: org.into(),
            project: project.into(),
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

    pub fn admin(&self) -> IamAdminServiceClient<Authorized> {
        IamAdminServiceClient::with_interceptor(self.channels.iam.clone(), self.bearer.clone())
    }
}
