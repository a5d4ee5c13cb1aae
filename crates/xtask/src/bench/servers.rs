//! IAM and PrismNET as processes of the machine: their programs, their stores on disk, gRPC over the loopback.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use photon_api::components::{IAM, PLASMAVMC, PRISMNET};

use super::stage::Process;
use crate::rack::network::Namespace;
use photon_e2e::{Account, Channels, OPERATOR, Session, onboard};

/// Where the servers are, in the run's own namespace.
pub fn urls() -> [String; 3] {
    [&IAM, &PRISMNET, &PLASMAVMC].map(|component| component.default_endpoint.to_owned())
}

pub struct Servers {
    pub iam: Process,
    pub prismnet: Process,
    pub iam_state: PathBuf,
    pub namespace: Namespace,
    /// The administrator of an organization, signed in to its project.
    pub tenant: Session,
}

impl Servers {
    /// Starts the programs of `bin` with everything of theirs below `directory`.
    pub async fn start(bin: &Path, directory: &Path, namespace: &Namespace) -> Result<Self> {
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
        let command = |program: &str, state: &str| {
            let mut command = namespace.command(bin.join(program));
            command
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("CREDENTIALS_DIRECTORY", &credentials)
                .env("PHOTON_NODE", "bench")
                .args(["--metrics-listen", "off", "--state-dir"])
                .arg(directory.join(state));
            command
        };
        let iam = Process::start("iam-server", command("iam-server", "iam"), directory).await?;
        let mut prismnet = command("prismnet-server", "prismnet");
        prismnet
            .arg("--credential-file")
            .arg(credentials.join("prismnet-server.key"));
        let prismnet = Process::start("prismnet-server", prismnet, directory).await?;
        iam.listens(IAM.port).await?;
        prismnet.listens(PRISMNET.port).await?;

        let channels = Channels::at(urls())?;
        let password = std::fs::read_to_string(credentials.join("operator-password"))?;
        let operator = sign_in(&channels, OPERATOR, "", "", password.trim()).await?;
        let tenant = tenant(&operator, &channels).await?;
        Ok(Servers {
            iam,
            prismnet,
            iam_state: directory.join("iam"),
            namespace: namespace.clone(),
            tenant,
        })
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
