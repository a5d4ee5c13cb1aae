//! One command's connections: which services, as whom, in which scope.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::context::{self, Config, Context};
use crate::error::Failure;

/// Where and as whom. Each flag overrides the environment, which overrides the context.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// The context to use instead of the current one.
    #[arg(
        long,
        global = true,
        env = "PHOTON_CONTEXT",
        help_heading = "Connection"
    )]
    pub context: Option<String>,
    /// URL of IAM. Default: the context's, else http://127.0.0.1:50080.
    #[arg(long, global = true, env = "IAM_ENDPOINT", help_heading = "Connection")]
    pub iam_endpoint: Option<String>,
    /// URL of PrismNET. Default: the context's, else http://127.0.0.1:50081.
    #[arg(
        long,
        global = true,
        env = "PRISMNET_ENDPOINT",
        help_heading = "Connection"
    )]
    pub prismnet_endpoint: Option<String>,
    /// URL of PlasmaVMC. Default: the context's, else http://127.0.0.1:50082.
    #[arg(
        long,
        global = true,
        env = "PLASMAVMC_ENDPOINT",
        help_heading = "Connection"
    )]
    pub plasmavmc_endpoint: Option<String>,
    /// URL of the provisioner. Default: the context's, else http://127.0.0.1:50089.
    #[arg(
        long,
        global = true,
        env = "PROVISIONER_ENDPOINT",
        help_heading = "Connection"
    )]
    pub provisioner_endpoint: Option<String>,
    /// PEM file with the certificate authority of https endpoints. Default: the system's.
    #[arg(
        long,
        global = true,
        env = "PHOTON_CA_FILE",
        help_heading = "Connection"
    )]
    pub ca_file: Option<PathBuf>,
    /// The organization that the command is about. Default: the context's, else the token's.
    #[arg(long, global = true, env = "PHOTON_ORG", help_heading = "Connection")]
    pub org: Option<String>,
    /// The project that the command is about. Default: the context's, else the token's.
    #[arg(
        long,
        global = true,
        env = "PHOTON_PROJECT",
        help_heading = "Connection"
    )]
    pub project: Option<String>,
}

impl Connection {
    /// Name and content of the context in use, with flags and environment laid over it.
    pub fn resolve(&self) -> Result<(String, Context), Failure> {
        let config = Config::load()?;
        let name = self.context.clone().unwrap_or(config.current.clone());
        if self.context.is_some() && !config.contexts.contains_key(&name) {
            let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
            return Err(Failure::Local(format!(
                "there is no context '{name}' (there is: {}); make it with `photon context set {name}`",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        }
        let kept = config.context(&name);
        let context = Context {
            iam: self.iam_endpoint.clone().or(kept.iam),
            prismnet: self.prismnet_endpoint.clone().or(kept.prismnet),
            plasmavmc: self.plasmavmc_endpoint.clone().or(kept.plasmavmc),
            provisioner: self.provisioner_endpoint.clone().or(kept.provisioner),
            ca_file: self.ca_file.clone().or(kept.ca_file),
            org: self.org.clone().or(kept.org),
            project: self.project.clone().or(kept.project),
            principal: kept.principal,
        };
        Ok((name, context))
    }
}

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Identities, tokens, authorization.
    Iam,
    /// Networks.
    Prismnet,
    /// Images and VMs.
    Plasmavmc,
    /// Machines. A cloud of one host has none.
    Provisioner,
}

impl Service {
    /// Those that every cloud has.
    pub const ALL: [Self; 3] = [Self::Iam, Self::Prismnet, Self::Plasmavmc];

    /// As environment variables spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iam => "IAM",
            Self::Prismnet => "PRISMNET",
            Self::Plasmavmc => "PLASMAVMC",
            Self::Provisioner => "PROVISIONER",
        }
    }

    /// Where it is in this context.
    pub fn endpoint(self, context: &Context) -> String {
        let (set, default) = match self {
            Self::Iam => (&context.iam, "http://127.0.0.1:50080"),
            Self::Prismnet => (&context.prismnet, "http://127.0.0.1:50081"),
            Self::Plasmavmc => (&context.plasmavmc, "http://127.0.0.1:50082"),
            Self::Provisioner => (&context.provisioner, "http://127.0.0.1:50089"),
        };
        set.clone().unwrap_or_else(|| default.to_owned())
    }
}

/// Puts the token into every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A channel that carries the token.
pub type Api = InterceptedService<Channel, Bearer>;

/// The connections of one command.
pub struct Session {
    /// Name of the context in use.
    pub context_name: String,
    /// The context, with flags and environment laid over it.
    pub context: Context,
    bearer: Bearer,
    channels: Mutex<BTreeMap<Service, Channel>>,
}

impl Session {
    /// Reads the context and its token (`PHOTON_TOKEN` overrides it); connects nowhere yet.
    pub fn open(connection: &Connection) -> Result<Self, Failure> {
        let (context_name, context) = connection.resolve()?;
        let token = match std::env::var("PHOTON_TOKEN") {
            Ok(token) if !token.is_empty() => Some(token),
            _ => context::load_token(&context_name)?,
        };
        Self::with_token(context_name, context, token)
    }

    /// A session with this token, or with none.
    pub fn with_token(
        context_name: String,
        context: Context,
        token: Option<String>,
    ) -> Result<Self, Failure> {
        let bearer = match token {
            None => None,
            Some(token) => {
                let mut value = MetadataValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| Failure::Local("the token has characters that no token has; sign in with `photon login`".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            context_name,
            context,
            bearer: Bearer(bearer),
            channels: Mutex::new(BTreeMap::new()),
        })
    }

    /// The organization that the command is about; empty: the token's.
    pub fn org(&self) -> String {
        self.context.org.clone().unwrap_or_default()
    }

    /// The project that the command is about; empty: the token's.
    pub fn project(&self) -> String {
        self.context.project.clone().unwrap_or_default()
    }

    /// A connected channel with the token on it.
    pub async fn api(&self, service: Service) -> Result<Api, Failure> {
        let kept = self
            .channels
            .lock()
            .map(|channels| channels.get(&service).cloned());
        if let Ok(Some(channel)) = kept {
            return Ok(InterceptedService::new(channel, self.bearer.clone()));
        }
        let channel = connect(service, &self.context).await?;
        if let Ok(mut channels) = self.channels.lock() {
            channels.insert(service, channel.clone());
        }
        Ok(InterceptedService::new(channel, self.bearer.clone()))
    }

    /// Tokens.
    pub async fn tokens(&self) -> Result<IamTokenServiceClient<Api>, Failure> {
        Ok(IamTokenServiceClient::new(self.api(Service::Iam).await?))
    }

    /// Identities, roles, bindings.
    pub async fn admin(&self) -> Result<IamAdminServiceClient<Api>, Failure> {
        Ok(IamAdminServiceClient::new(self.api(Service::Iam).await?))
    }

    /// VPCs.
    pub async fn vpcs(&self) -> Result<VpcServiceClient<Api>, Failure> {
        Ok(VpcServiceClient::new(self.api(Service::Prismnet).await?))
    }

    /// Subnets.
    pub async fn subnets(&self) -> Result<SubnetServiceClient<Api>, Failure> {
        Ok(SubnetServiceClient::new(self.api(Service::Prismnet).await?))
    }

    /// Ports.
    pub async fn ports(&self) -> Result<PortServiceClient<Api>, Failure> {
        Ok(PortServiceClient::new(self.api(Service::Prismnet).await?))
    }

    /// Security groups.
    pub async fn security_groups(&self) -> Result<SecurityGroupServiceClient<Api>, Failure> {
        Ok(SecurityGroupServiceClient::new(
            self.api(Service::Prismnet).await?,
        ))
    }

    /// Images.
    pub async fn images(&self) -> Result<ImageServiceClient<Api>, Failure> {
        Ok(ImageServiceClient::new(self.api(Service::Plasmavmc).await?))
    }

    /// VMs.
    pub async fn vms(&self) -> Result<VmServiceClient<Api>, Failure> {
        Ok(VmServiceClient::new(self.api(Service::Plasmavmc).await?))
    }

    /// Hosts.
    pub async fn nodes(&self) -> Result<NodeServiceClient<Api>, Failure> {
        Ok(NodeServiceClient::new(self.api(Service::Plasmavmc).await?))
    }

    /// Machines.
    pub async fn machines(&self) -> Result<MachineServiceClient<Api>, Failure> {
        Ok(MachineServiceClient::new(
            self.api(Service::Provisioner).await?,
        ))
    }

    /// The event log of one service.
    pub async fn events(&self, service: Service) -> Result<EventServiceClient<Api>, Failure> {
        Ok(EventServiceClient::new(self.api(service).await?))
    }
}

async fn connect(service: Service, context: &Context) -> Result<Channel, Failure> {
    let url = service.endpoint(context);
    let unreachable = |error: &dyn std::error::Error| {
        // The outermost text is only "transport error"; the innermost says what the matter is.
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Failure::Unreachable {
            service: service.name(),
            endpoint: url.clone(),
            cause: cause.to_string(),
        }
    };
    let mut endpoint = Endpoint::from_shared(url.clone())
        .map_err(|error| {
            Failure::Local(format!(
                "'{url}' is not an http:// or https:// URL: {error}"
            ))
        })?
        .connect_timeout(Duration::from_secs(5))
        .user_agent(concat!("photon/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| unreachable(&error))?;
    if url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new().with_native_roots();
        if let Some(path) = &context.ca_file {
            let pem = std::fs::read(path).map_err(|error| Failure::file("read", path, error))?;
            tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        }
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| unreachable(&error))?;
    }
    endpoint
        .connect()
        .await
        .map_err(|error| unreachable(&error))
}
