//! Installations: approved machines that have reported themselves are given to the installer, which systemd runs, so
//! that it goes on whatever happens to this program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chainfire::Ledger;
use flaredb::Db;
use photon_catalog::{Effect, commit_own, work};
use photon_host::durable;
use photon_host::systemd::{ActiveState, ServiceManager, ServiceStatus, Task};
use photon_reconcile::{Plan, Reconciler, Signal};
use photon_resource::Error;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::change::{now, provisioner, put};
use crate::model::{Event, Machine, MachineId, State};
use crate::plan::{self, Observed, Step, Unit};
use crate::settings::Installer;
use crate::store::{self, Token};
use crate::{Settings, log};

/// What every installer's unit is called, before the machine's id.
pub const UNIT_PREFIX: &str = "photon-install-";
/// How much of an installer's output is kept with a failure, in bytes.
const LOG_TAIL: u64 = 4096;
/// How long to wait before listening to systemd again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// Where installations keep their files.
#[derive(Clone, Debug)]
pub struct Installations {
    state_dir: PathBuf,
}

impl Installations {
    /// Below the server's state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
        }
    }

    /// What the installer of a machine writes.
    pub fn log(&self, id: MachineId) -> PathBuf {
        self.state_dir.join("logs").join(format!("{id}.log"))
    }

    fn directories(&self) -> PathBuf {
        self.state_dir.join("install")
    }

    fn directory(&self, id: MachineId) -> PathBuf {
        self.directories().join(id.to_string())
    }
}

/// The unit that installs a machine.
pub fn unit_name(id: MachineId) -> String {
    format!("{UNIT_PREFIX}{id}.service")
}

fn machine_of(unit: &str) -> Option<MachineId> {
    let id = unit.strip_prefix(UNIT_PREFIX)?;
    id.strip_suffix(".service")?.parse().ok()
}

/// What a new host must know to enrol.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The cluster's certificate authority, PEM.
    pub ca_pem: String,
    /// URL of this server.
    pub endpoint: String,
}

/// Drives installations.
pub struct InstallReconciler {
    db: Db,
    ledger: Ledger,
    systemd: Arc<dyn ServiceManager>,
    files: Installations,
    installer: Option<Installer>,
    invitation: Invitation,
    token_life: Duration,
    limit: Duration,
    wake: Signal,
}

/// What has to be done.
pub struct Steps(Vec<Step>);

impl Plan for Steps {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn summary(&self) -> String {
        let steps: Vec<String> = self.0.iter().map(Step::describe).collect();
        steps.join("; ")
    }
}

impl InstallReconciler {
    /// `wake` is the signal of this reconciler's own driver.
    pub fn new(
        db: Db,
        ledger: Ledger,
        systemd: Arc<dyn ServiceManager>,
        files: Installations,
        settings: &Settings,
        invitation: Invitation,
        wake: Signal,
    ) -> Self {
        let minutes = |minutes: u32| Duration::from_secs(u64::from(minutes) * 60);
        Self {
            db,
            ledger,
            systemd,
            files,
            installer: settings.installer(),
            invitation,
            token_life: minutes(settings.token_minutes),
            limit: minutes(settings.install_minutes),
            wake,
        }
    }

    /// Asks for a pass whenever a unit of an installer changes, until `shutdown`.
    pub async fn listen(
        systemd: Arc<dyn ServiceManager>,
        wake: Signal,
        shutdown: CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            match systemd.changes(UNIT_PREFIX).await {
                Ok(mut changes) => {
                    // What has changed before we listened.
                    wake.notify();
                    loop {
                        tokio::select! {
                            () = shutdown.cancelled() => return,
                            heard = changes.changed() => match heard {
                                true => wake.notify(),
                                false => break,
                            },
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "systemd's changes can't be heard yet"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
            }
        }
    }

    async fn step(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Start(id) => self.start(*id).await,
            Step::Installed(id) => {
                self.change(*id, "provision:machines:installed", |machine| {
                    machine.installed_at = Some(now());
                    Ok(())
                })
                .await?;
                self.forget(*id).await
            }
            Step::Fail(id, why) => {
                let tail = log::tail(&self.files.log(*id), LOG_TAIL);
                self.change(*id, "provision:machines:fail", |machine| {
                    machine.apply(Event::Fail, now())?;
                    machine.reason.clone_from(why);
                    machine.log_tail.clone_from(&tail);
                    Ok(())
                })
                .await
            }
            Step::Stop(id) => self.systemd.stop(&unit_name(*id)).await.map_err(on_host),
            Step::Forget(id) => self.forget(*id).await,
        }
    }

    /// Begins the installation of a machine. Its state is durable before anything touches the machine: a crash in
    /// between leaves an installation that was interrupted, never one that nobody knows of.
    async fn start(&self, id: MachineId) -> Result<(), Error> {
        let Some(installer) = &self.installer else {
            return Ok(());
        };
        let directory = self.files.directory(id);
        let secret = random_token()?;
        let prepared = self.prepare(&directory, &secret);
        prepared.map_err(|error| Error::internal(format!("{}: {error:#}", directory.display())))?;
        // So that nobody reads the last installation's output as this one's.
        durable::remove(&self.files.log(id)).map_err(on_host)?;
        let Some(machine) = self.take(id, &secret).await? else {
            return Ok(());
        };
        let task = self.task(installer, &machine, &directory)?;
        tracing::info!(machine = %id, name = machine.called(), unit = task.name, "the installation begins");
        if let Err(error) = self.systemd.start_task(&task).await {
            let why = format!("the installer could not be started: {error}");
            return Box::pin(self.step(&Step::Fail(id, why))).await;
        }
        Ok(())
    }

    /// The files that only this installation gets.
    fn prepare(&self, directory: &Path, secret: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::DirBuilderExt;

        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        let make = |path: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
        };
        let extra = directory.join("extra");
        let pki = extra.join("var/lib/photoncloud/pki");
        make(&pki)?;
        // These are the host's own directories afterwards: /etc and /var must be everybody's to enter.
        let etc = extra.join("etc/photoncloud");
        std::fs::create_dir_all(&etc)?;
        for path in [
            "",
            "var",
            "var/lib",
            "var/lib/photoncloud",
            "etc",
            "etc/photoncloud",
        ] {
            open_to_all(&extra.join(path))?;
        }
        durable::write(
            &pki.join("ca.pem"),
            self.invitation.ca_pem.as_bytes(),
            0o644,
        )?;
        durable::write(
            &pki.join("join-token"),
            format!("{secret}\n").as_bytes(),
            0o600,
        )?;
        let endpoint = format!("{}\n", self.invitation.endpoint);
        durable::write(
            &etc.join("provisioner-endpoint"),
            endpoint.as_bytes(),
            0o644,
        )?;
        Ok(())
    }

    /// Takes an approved machine for installation, with the token; `None`: it is not approved any more.
    async fn take(&self, id: MachineId, secret: &str) -> Result<Option<Machine>, Error> {
        let digest = hex::encode(Sha256::digest(secret.as_bytes()));
        let state = (id, digest, self.token_life);
        let mut change = work(state, |(id, digest, life), tx| {
            Box::pin(async move {
                let before = store::machine_read(tx, *id).await?;
                let Some(before) = before.filter(|it| it.state == State::Approved) else {
                    return Ok(Effect::nothing(None));
                };
                let mut after = before.clone();
                let now = now();
                after.apply(Event::Start, now)?;
                after.token = Some(digest.clone());
                let token = Token {
                    machine: *id,
                    expires_at: now + *life,
                    used: None,
                };
                store::token_put(tx, digest, &token)?;
                Ok(put(tx, Some(&before), after).await?.map(Some))
            })
        });
        let (actor, action) = (provisioner(), "provision:machines:install");
        commit_own(&self.db, &self.ledger, &actor, action, &mut change).await
    }

    fn task(
        &self,
        installer: &Installer,
        machine: &Machine,
        directory: &Path,
    ) -> Result<Task, Error> {
        let name = machine.called();
        let address = machine
            .reported_address
            .ok_or_else(|| Error::FailedPrecondition(format!("'{name}' has no address")))?;
        let logs = self.files.log(machine.id);
        if let Some(parent) = logs.parent() {
            use std::os::unix::fs::DirBuilderExt;
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent);
            made.map_err(Error::internal)?;
        }
        let exec_start = [
            installer.program.display().to_string(),
            "--flake".into(),
            format!("{}#{name}", installer.flake),
            "--target-host".into(),
            format!("root@{address}"),
            "--extra-files".into(),
            directory.join("extra").display().to_string(),
            "--phases".into(),
            "disko,install,reboot".into(),
            "-i".into(),
            installer.ssh_key.display().to_string(),
        ];
        let mut environment = vec![
            ("HOME".to_owned(), "/root".to_owned()),
            ("NIX_REMOTE".to_owned(), "daemon".to_owned()),
        ];
        if !machine.hardware.ssh_host_key.is_empty() {
            // The key that the machine told with its last report, for an installer that looks at it.
            let known = directory.join("known_hosts");
            let line = format!("{address} {}\n", machine.hardware.ssh_host_key);
            durable::write(&known, line.as_bytes(), 0o600).map_err(on_host)?;
            environment.push(("PHOTON_KNOWN_HOSTS".into(), known.display().to_string()));
        }
        Ok(Task {
            name: unit_name(machine.id),
            description: format!("Installation of {name} ({})", machine.id),
            exec_start: exec_start.into(),
            environment,
            output: logs,
            limit: self.limit,
        })
    }

    /// Lets systemd forget the unit, and removes what only its installer was given.
    async fn forget(&self, id: MachineId) -> Result<(), Error> {
        let unit = unit_name(id);
        // One that ended well is stopped, one that failed is reset; the other call changes nothing.
        self.systemd.stop(&unit).await.map_err(on_host)?;
        self.systemd.reset_failed(&unit).await.map_err(on_host)?;
        let directory = self.files.directory(id);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::internal(format!("{}: {error}", directory.display())))
            }
            _ => Ok(()),
        }
    }

    /// Changes a machine that is being installed; one that is not any more is left alone.
    async fn change(
        &self,
        id: MachineId,
        action: &str,
        change: impl Fn(&mut Machine) -> Result<(), Error> + Send + Sync,
    ) -> Result<(), Error> {
        let state = (id, &change);
        let mut change = work(state, |(id, change), tx| {
            Box::pin(async move {
                let before = store::machine_read(tx, *id).await?;
                let Some(before) = before.filter(|it| it.state == State::Installing) else {
                    return Ok(Effect::nothing(None));
                };
                let mut after = before.clone();
                change(&mut after)?;
                after.updated_at = now();
                Ok(put(tx, Some(&before), after).await?.map(Some))
            })
        });
        let actor = provisioner();
        let changed = commit_own(&self.db, &self.ledger, &actor, action, &mut change);
        if let Some(after) = changed.await? {
            tracing::info!(machine = %id, state = %after.state, reason = after.reason, action, "machine changed");
            self.wake.notify();
        }
        Ok(())
    }
}

#[async_trait]
impl Reconciler for InstallReconciler {
    type Observed = Observed;
    type Plan = Steps;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Observed>, Error> {
        // Units first: a machine that is seen to be installing has had its unit started before, or never gets one.
        let units = self.systemd.services(UNIT_PREFIX).await.map_err(on_host)?;
        let units = units
            .iter()
            .filter_map(|status| Some((machine_of(&status.name)?, observed(status)?)))
            .collect();
        Ok(Some(Observed {
            now: now(),
            units,
            directories: directories(&self.files.directories()),
            machines: store::machine_all(&self.db).await?,
            can_install: self.installer.is_some(),
            limit: self.limit,
        }))
    }

    fn plan(&self, observed: &Observed) -> Steps {
        Steps(plan::plan(observed))
    }

    /// One machine's trouble must not hold up the others: all steps are tried, the first failure is told.
    async fn apply(&mut self, steps: &Steps) -> Result<(), Error> {
        let mut first = Ok(());
        for step in &steps.0 {
            if let Err(error) = self.step(step).await {
                // What the caller of an RPC would not be told is for this log.
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(step = step.describe(), %error, cause, "a step failed");
                first = first.and(Err(error));
            }
        }
        first
    }
}

/// What a unit does; `None`: nothing of it is left.
fn observed(status: &ServiceStatus) -> Option<Unit> {
    match status.active {
        ActiveState::Active if status.sub == "exited" => Some(Unit::Done),
        ActiveState::Active | ActiveState::Activating | ActiveState::Deactivating => {
            Some(Unit::Running)
        }
        ActiveState::Failed => Some(Unit::Failed(failure(status))),
        ActiveState::Inactive => status.job.is_some().then_some(Unit::Running),
    }
}

/// Why an installer failed, for people.
fn failure(status: &ServiceStatus) -> String {
    let number = status.exit_status;
    match status.result.as_str() {
        // systemd.exec(5), "Process exit codes".
        "exit-code" if (200..=243).contains(&number) => {
            format!("the installer could not be started by systemd (status {number})")
        }
        "exit-code" => format!("the installer ended with status {number}"),
        "signal" | "core-dump" => format!("the installer was ended by signal {number}"),
        "oom-kill" => "the installer needed more memory than there is".to_owned(),
        "timeout" => "the installer took too long".to_owned(),
        other => format!("the installer failed ({other})"),
    }
}

/// Machines for which there is a directory.
fn directories(path: &Path) -> Vec<MachineId> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn open_to_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// 256 random bits, as hex.
pub(super) fn random_token() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the kernel gives no random numbers"))?;
    Ok(hex::encode(bytes))
}

fn on_host(error: photon_host::Error) -> Error {
    Error::internal(error)
}
