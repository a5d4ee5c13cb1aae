//! IAM, PrismNET and PlasmaVMC as processes of the machine: their programs, their stores on disk, gRPC over the loopback.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use photon_api::components::{IAM, PLASMAVMC, PRISMNET};

use super::stage::Process;
use super::unit::Unit;
use crate::rack::network::Namespace;
use photon_e2e::{Account, Channels, OPERATOR, Session, onboard};

/// Where the servers are, in the run's own namespace.
pub fn urls() -> [String; 3] {
    [&IAM, &PRISMNET, &PLASMAVMC].map(|component| component.default_endpoint.to_owned())
}

/// The host that they are told to be on, whose agents have credentials.
pub const NODE: &str = "bench";

/// Whether the servers answer `/metrics`, at their usual ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metrics {
    On,
    Off,
}

/// How much the servers do for one who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// What they do without settings.
    Usual,
    /// As much as they can, which is what is measured: the client is one tenant that is never slowed, and has no end.
    Open,
}

impl Limits {
    /// A file of settings for a program in `directory`; `None`: it needs none.
    fn settings(self, directory: &Path, program: &str) -> Result<Option<PathBuf>> {
        if self == Limits::Usual {
            return Ok(None);
        }
        let share = "calls_per_second = 1048576\nburst = 1048576\n";
        let mut text = format!(
            "[limits]\nwritten_kib = 1048576\nwritten_kib_per_second = 1048576\n\
             [limits.principal]\n{share}[limits.organization]\n{share}"
        );
        let (component, counted): (_, &[&str]) = match program {
            "prismnet-server" => ("prismnet", &["ports"]),
            "plasmavmc-server" => ("plasmavmc", &["vms", "vcpus", "memory_mib"]),
            _ => ("", &[]),
        };
        for whose in ["project", "organization"]
            .iter()
            .filter(|_| !counted.is_empty())
        {
            text += &format!("[{component}.quota.{whose}]\n");
            for name in counted {
                text += &format!("{name} = 1000000000\n");
            }
        }
        let path = directory.join(format!("{program}.toml"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(path))
    }
}

pub struct Servers {
    programs: Programs,
    pub iam: Process,
    pub prismnet: Process,
    pub iam_state: PathBuf,
    pub namespace: Namespace,
    pub operator: Session,
    /// The administrator of an organization, signed in to its project.
    pub tenant: Session,
}

impl Servers {
    /// Starts the programs of `bin` with everything of theirs below `directory`.
    ///
    /// # Errors
    /// When one does not start, with the end of its log.
    pub async fn start(
        bin: &Path,
        directory: &Path,
        namespace: &Namespace,
        metrics: Metrics,
        limits: Limits,
    ) -> Result<Self> {
        let credentials = directory.join("credentials");
        let made = Command::new(bin.join("iam-server"))
            .args(["bootstrap", "--credentials-dir"])
            .arg(&credentials)
            .stdout(Stdio::null())
            .status()
            .context("cannot start iam-server")?;
        if !made.success() {
            bail!("iam-server bootstrap failed ({made})");
        }
        let programs = Programs {
            bin: bin.to_owned(),
            directory: directory.to_owned(),
            namespace: namespace.clone(),
            credentials,
            metrics,
            limits,
        };
        let iam = programs.start("iam-server", "iam", None).await?;
        let key = Some("prismnet-server.key");
        let prismnet = programs.start("prismnet-server", "prismnet", key).await?;
        iam.listens(IAM.port).await?;
        prismnet.listens(PRISMNET.port).await?;

        let channels = Channels::at(urls())?;
        let password = programs.credential("operator-password")?;
        let operator = sign_in(&channels, OPERATOR, "", "", &password).await?;
        let tenant = tenant(&operator, &channels).await?;
        Ok(Servers {
            programs,
            iam,
            prismnet,
            iam_state: directory.join("iam"),
            namespace: namespace.clone(),
            operator,
            tenant,
        })
    }
}

impl Servers {
    /// Starts PlasmaVMC too.
    pub async fn plasmavmc(&self) -> Result<Process> {
        let key = Some("plasmavmc-server.key");
        let programs = &self.programs;
        let plasmavmc = programs.start("plasmavmc-server", "plasmavmc", key).await?;
        plasmavmc.listens(PLASMAVMC.port).await?;
        Ok(plasmavmc)
    }

    /// A secret that the cloud was made with.
    pub fn credential(&self, name: &str) -> Result<String> {
        self.programs.credential(name)
    }
}

/// What programs are started with.
struct Programs {
    bin: PathBuf,
    directory: PathBuf,
    namespace: Namespace,
    credentials: PathBuf,
    metrics: Metrics,
    limits: Limits,
}

impl Programs {
    async fn start(&self, name: &str, state: &str, key: Option<&str>) -> Result<Process> {
        let mut command = self.namespace.command(self.bin.join(name));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CREDENTIALS_DIRECTORY", &self.credentials)
            .env("PHOTON_NODE", NODE)
            .envs(Unit::of(name)?.environment())
            .arg("--state-dir")
            .arg(self.directory.join(state));
        if let Some(settings) = self.limits.settings(&self.directory, name)? {
            command.arg("--config").arg(settings);
        }
        if self.metrics == Metrics::Off {
            command.args(["--metrics-listen", "off"]);
        }
        if let Some(key) = key {
            command
                .arg("--credential-file")
                .arg(self.credentials.join(key));
        }
        Process::start(name, command, &self.directory).await
    }

    fn credential(&self, name: &str) -> Result<String> {
        let path = self.credentials.join(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }
}

/// Makes an organization with a project, and signs its administrator in.
pub async fn tenant(operator: &Session, channels: &Channels) -> Result<Session> {
    let account = Account::new("acme")?;
    onboard(operator, &account).await?;
    let (org, project) = (&account.org, &account.project);
    Session::open(channels, &account.user, org, project, &account.password).await
}

/// Signs in to an IAM that may have just been started.
async fn sign_in(
    channels: &Channels,
    principal: &str,
    org: &str,
    project: &str,
    password: &str,
) -> Result<Session> {
    let attempts = 50;
    for _ in 1..attempts {
        if let Ok(session) = Session::open(channels, principal, org, project, password).await {
            return Ok(session);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Session::open(channels, principal, org, project, password).await
}
