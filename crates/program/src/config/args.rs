//! The flags and environment variables, and the merge.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::file::{self, File};
use super::{
    AgentSettings, ClientCertificates, Component, ComponentSettings, ConfigError, EndpointArgs,
    Invalid, ServerSettings, Settings, TlsFiles, default_metrics, default_state_dir,
};

/// The flags that servers and agents share. Each but `--config` and `--check-config` is also an environment
/// variable and a key of the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CommonArgs {
    /// TOML file with settings; flags and environment variables win over it
    #[arg(long, value_name = "FILE.toml", env = "PHOTON_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Check all settings and the files that they name, say what is wrong, and exit
    #[arg(long)]
    pub check_config: bool,
    /// Directory for state [default: $STATE_DIRECTORY, else /var/lib/photoncloud/NAME]
    #[arg(long, value_name = "DIR", env = "PHOTON_STATE_DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Loopback address and port of /metrics, or `off` [default: 127.0.0.1 and the gRPC port + 1000]
    #[arg(long, value_name = "ADDRESS:PORT", env = "PHOTON_METRICS_LISTEN")]
    pub metrics_listen: Option<String>,
    /// File with the secret of this program's own API key [default: $CREDENTIALS_DIRECTORY/identity]
    #[arg(long, value_name = "FILE", env = "PHOTON_CREDENTIAL_FILE")]
    pub credential_file: Option<PathBuf>,
    /// Where the servers are.
    #[command(flatten)]
    pub endpoints: EndpointArgs,
    /// PEM file of the authorities that other servers' certificates are checked with [default: the system's]
    #[arg(long, value_name = "FILE", env = "PHOTON_ENDPOINT_CA")]
    pub endpoint_ca: Option<PathBuf>,
    /// PEM certificate to show to other servers
    #[arg(long, value_name = "FILE", env = "PHOTON_ENDPOINT_CERTIFICATE")]
    pub endpoint_certificate: Option<PathBuf>,
    /// PEM private key of that certificate
    #[arg(long, value_name = "FILE", env = "PHOTON_ENDPOINT_KEY")]
    pub endpoint_key: Option<PathBuf>,
}

/// The flags of every server.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// Port of the gRPC API; 0: any free one
    #[arg(long, env = "PHOTON_PORT")]
    pub port: Option<u16>,
    /// Address to listen on; other than loopback only with TLS [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", env = "PHOTON_LISTEN")]
    pub listen: Option<IpAddr>,
    /// PEM certificate of the listener
    #[arg(long, value_name = "FILE", env = "PHOTON_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// PEM private key of the listener
    #[arg(long, value_name = "FILE", env = "PHOTON_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of the authorities that clients' certificates must come from
    #[arg(long, value_name = "FILE", env = "PHOTON_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate from these authorities [default: required]
    #[arg(long, value_name = "WHETHER", env = "PHOTON_TLS_CLIENT_CERTIFICATES")]
    pub tls_client_certificates: Option<ClientCertificates>,
    /// What agents have too.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What to do with the store; without it, serve.
    #[command(subcommand)]
    pub command: Option<StoreCommand>,
}

/// What operators do with the store of a server.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum StoreCommand {
    /// Copies the store to a file, while the server runs or not
    Backup {
        /// The file, which must not be there yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Puts a backup in the store's place; the server must be stopped
    Restore {
        /// The backup. It is checked first; the store that it replaces is kept beside it
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Checks the store and every chain of events in it, while the server runs or not
    Verify {
        /// A store or a backup [default: this server's store]
        #[arg(long, value_name = "FILE")]
        store: Option<PathBuf>,
    },
    /// Ends an upgrade: the store gets this version's schema, and the version before can't read it any more; the
    /// server must be stopped
    FinalizeSchema,
}

/// The flags of every agent.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AgentArgs {
    /// Name of this host [default: its host name]
    #[arg(long, value_name = "NAME", env = "PHOTON_NODE")]
    pub node: Option<String>,
    /// What servers have too.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl ServerArgs {
    /// Merges flags, environment (`env` gives a variable's value), file and defaults, and checks the result.
    /// Reads the file that `--config` names and looks whether other named files are there.
    pub fn load<S: ComponentSettings>(
        &self,
        component: Component,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings<S>, ConfigError> {
        let (file, own) = file::read::<S>(self.common.config.as_deref(), component)?;
        self.merge(file, own, component, env)
            .map_err(|invalid| self.common.because(invalid))
    }

    /// Where the store is, for commands that need nothing else: the files that a running server has from systemd are
    /// not there for them.
    pub fn store<S: ComponentSettings>(
        &self,
        component: Component,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<PathBuf, ConfigError> {
        let (file, _) = file::read::<S>(self.common.config.as_deref(), component)?;
        let dir = self.common.state_dir(&file, component, env);
        let dir = dir.map_err(|invalid| self.common.because(invalid))?;
        Ok(dir.join("flaredb.sqlite"))
    }

    fn merge<S: ComponentSettings>(
        &self,
        file: File,
        mut own: S,
        component: Component,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings<S>, Invalid> {
        if let Some(node) = &file.node {
            return Err(Invalid::new(
                "node",
                node,
                "this key only in an agent's file",
            ));
        }
        let mut settings = Settings::<S>::new(component);
        let server: &mut ServerSettings = &mut settings.server;
        if let Some(listen) = self.listen.or(file.listen) {
            server.listen = listen;
        }
        if let Some(port) = self.port.or(file.port) {
            server.port = port;
        }
        server.tls = tls_files(
            self.tls_certificate
                .as_ref()
                .or(file.tls.certificate.as_ref()),
            self.tls_key.as_ref().or(file.tls.key.as_ref()),
            self.tls_client_ca.as_ref().or(file.tls.client_ca.as_ref()),
            self.tls_client_certificates
                .or(file.tls.client_certificates),
        )?;
        if !server.listen.is_loopback() && server.tls.is_none() {
            return Err(Invalid::new(
                "listen",
                server.listen,
                "a loopback address, or tls.certificate and tls.key: \
                 a listener that others can reach must speak TLS",
            ));
        }
        super::limits::apply(&mut server.limits, &file.limits)?;
        super::events::apply(&mut server.events, &file.events)?;

        server.metrics_listen = self.common.metrics_listen(&file, server.port)?;
        server.state_dir = self.common.state_dir(&file, component, env)?;
        server.credential_file = self.common.credential_file(&file, env)?;
        server.endpoints = self.common.endpoints(&file)?;
        own.apply_env(env)?;
        own.validate()?;
        settings.component = own;
        Ok(settings)
    }
}

impl AgentArgs {
    /// As [`ServerArgs::load`].
    pub fn load<S: ComponentSettings>(
        &self,
        component: Component,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<AgentSettings<S>, ConfigError> {
        let (file, own) = file::read::<S>(self.common.config.as_deref(), component)?;
        self.merge(file, own, component, env)
            .map_err(|invalid| self.common.because(invalid))
    }

    fn merge<S: ComponentSettings>(
        &self,
        file: File,
        mut own: S,
        component: Component,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<AgentSettings<S>, Invalid> {
        let server_only = [
            ("listen", file.listen.map(|value| value.to_string())),
            ("port", file.port.map(|value| value.to_string())),
            (
                "tls.certificate",
                file.tls.certificate.as_deref().map(shown),
            ),
            ("tls.key", file.tls.key.as_deref().map(shown)),
            ("tls.client_ca", file.tls.client_ca.as_deref().map(shown)),
            (
                "tls.client_certificates",
                file.tls.client_certificates.map(|value| value.to_string()),
            ),
        ];
        for (key, value) in server_only {
            if let Some(value) = value {
                return Err(Invalid::new(key, value, "this key only in a server's file"));
            }
        }
        let node = match self.node.clone().or_else(|| file.node.clone()) {
            Some(node) => node,
            None => host_name()?,
        };
        photon_resource::validate_resource_name("node", &node)
            .map_err(|error| Invalid::new("node", &node, error.to_string()))?;
        own.apply_env(env)?;
        own.validate()?;
        Ok(AgentSettings {
            node,
            metrics_listen: self.common.metrics_listen(&file, component.port)?,
            state_dir: self.common.state_dir(&file, component, env)?,
            credential_file: self.common.credential_file(&file, env)?,
            endpoints: self.common.endpoints(&file)?,
            component: own,
        })
    }
}

impl CommonArgs {
    fn because(&self, invalid: Invalid) -> ConfigError {
        let origin = match &self.config {
            Some(path) => format!("flags, environment and {}", path.display()),
            None => "flags and environment".to_owned(),
        };
        ConfigError::Invalid { origin, invalid }
    }

    fn metrics_listen(&self, file: &File, port: u16) -> Result<Option<SocketAddr>, Invalid> {
        let text = match self
            .metrics_listen
            .as_ref()
            .or(file.metrics_listen.as_ref())
        {
            None => return Ok(default_metrics(port)),
            Some(text) if text == "off" => return Ok(None),
            Some(text) => text,
        };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
            _ => Err(Invalid::new(
                "metrics_listen",
                text,
                "a loopback address with a port such as '127.0.0.1:51080', or 'off': \
                 metrics are plain HTTP and must not be reachable from outside",
            )),
        }
    }

    fn state_dir(
        &self,
        file: &File,
        component: Component,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<PathBuf, Invalid> {
        let dir = match self.state_dir.as_ref().or(file.state_dir.as_ref()) {
            Some(dir) => dir.clone(),
            // systemd.exec(5): several directories are separated by colons; ours is the first.
            None => match env("STATE_DIRECTORY") {
                Some(dirs) => dirs.split(':').next().unwrap_or_default().into(),
                None => default_state_dir(component),
            },
        };
        if dir.is_absolute() {
            Ok(dir)
        } else {
            Err(Invalid::new("state_dir", dir.display(), "an absolute path"))
        }
    }

    fn credential_file(
        &self,
        file: &File,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<PathBuf>, Invalid> {
        if let Some(path) = self
            .credential_file
            .as_ref()
            .or(file.credential_file.as_ref())
        {
            return readable("credential_file", path).map(Some);
        }
        let given = env("CREDENTIALS_DIRECTORY").map(|dir| PathBuf::from(dir).join("identity"));
        Ok(given.filter(|path| has_content(path)))
    }

    fn endpoints(&self, file: &File) -> Result<super::Endpoints, Invalid> {
        let section = &file.endpoints;
        let path = |key, flag: &Option<PathBuf>, file: &Option<PathBuf>| {
            flag.as_ref()
                .or(file.as_ref())
                .map(|path| readable(key, path))
                .transpose()
        };
        let mut endpoints = section.urls(&self.endpoints);
        endpoints.ca = path("endpoints.ca", &self.endpoint_ca, &section.ca)?;
        endpoints.certificate = path(
            "endpoints.certificate",
            &self.endpoint_certificate,
            &section.certificate,
        )?;
        endpoints.key = path("endpoints.key", &self.endpoint_key, &section.key)?;
        endpoints.validate()?;
        Ok(endpoints)
    }
}

fn tls_files(
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
    client_ca: Option<&PathBuf>,
    client_certificates: Option<ClientCertificates>,
) -> Result<Option<TlsFiles>, Invalid> {
    if let (None, Some(whether)) = (client_ca, client_certificates) {
        return Err(Invalid::new(
            "tls.client_certificates",
            whether,
            "tls.client_ca beside it: the authorities that they must come from",
        ));
    }
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => TlsFiles {
            certificate: readable("tls.certificate", certificate)?,
            key: readable("tls.key", key)?,
            client_ca: client_ca
                .map(|path| readable("tls.client_ca", path))
                .transpose()?,
            client_certificates: client_certificates.unwrap_or_default(),
        },
        (None, None) => match client_ca {
            None => return Ok(None),
            Some(path) => {
                return Err(Invalid::new(
                    "tls.client_ca",
                    path.display(),
                    "tls.certificate and tls.key beside it",
                ));
            }
        },
        (Some(path), None) => {
            return Err(Invalid::new(
                "tls.certificate",
                path.display(),
                "tls.key beside it",
            ));
        }
        (None, Some(path)) => {
            return Err(Invalid::new(
                "tls.key",
                path.display(),
                "tls.certificate beside it",
            ));
        }
    };
    // Wrong content is found here too, so that --check-config tells.
    crate::tls::check_listener(&files)?;
    Ok(Some(files))
}

fn readable(key: &str, path: &Path) -> Result<PathBuf, Invalid> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(Invalid::new(
            key,
            path.display(),
            format!("a file that can be read ({error})"),
        )),
    }
}

/// Whether the credential was given. systemd gives an empty line in place of an API key that is not on the host,
/// because a unit has no other way to do without a file (systemd.exec(5), SetCredential=). What can't be read is
/// there: using it tells why.
fn has_content(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(bytes) => !bytes.trim_ascii().is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn host_name() -> Result<String, Invalid> {
    // A domain is not part of a node's name.
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    match name.trim().split('.').next() {
        Some(host) if !host.is_empty() => Ok(host.to_owned()),
        _ => Err(Invalid::new(
            "node",
            name.trim(),
            "a name, because this host has none",
        )),
    }
}
