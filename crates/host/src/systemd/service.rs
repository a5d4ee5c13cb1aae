//! A transient service, and the unit properties that it becomes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::Variant;

/// When systemd starts the service again by itself (`Restart=`, systemd.service(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// After an unclean exit.
    OnFailure,
    /// Whenever it ends and was not stopped.
    Always,
}

/// What the service may use at most (systemd.resource-control(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `MemoryMax=`, in bytes.
    pub memory_bytes: u64,
    /// `CPUQuota=`: processors' worth of time.
    pub cpus: u32,
    /// `CPUWeight=`, 1 to 10000; the default is 100.
    pub cpu_weight: u64,
    /// `IOWeight=`, 1 to 10000; the default is 100.
    pub io_weight: u64,
    /// `TasksMax=`.
    pub tasks: u64,
    /// `OOMScoreAdjust=`, -1000 to 1000: who is killed when the host has no memory left; the more, the sooner.
    pub oom_score_adjust: i32,
}

/// What the service can see and touch. Everything that is not named here is out of its reach: it has no
/// capabilities, no network sockets, only its own devices, and the file system is read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Device nodes that it may read and write.
    pub devices: Vec<PathBuf>,
    /// Directories that it may write to, at the same place; must exist at the start.
    pub writable: Vec<PathBuf>,
    /// Paths that it may read below `/var` or `/run`, the rest of which is hidden from it. One that is missing
    /// at the start is left out.
    pub readable: Vec<PathBuf>,
    /// A directory that systemd makes below `/run` for as long as it runs, relative to `/run`.
    pub runtime_directory: String,
    /// Refuse memory that is writable and executable. A program that generates code needs it.
    pub deny_write_execute: bool,
}

/// A service that exists only while it is wanted (`StartTransientUnit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransientService {
    /// Full name, `….service`.
    pub name: String,
    /// For people.
    pub description: String,
    /// The slice that it belongs to; see [`super::nested_slice`].
    pub slice: String,
    /// Name of the user and group that it runs as.
    pub user: String,
    /// Program (absolute path) and arguments.
    pub exec_start: Vec<String>,
    /// Program (absolute path) and arguments of what ends it in good order; it may take `stop_timeout`.
    pub exec_stop: Option<Vec<String>>,
    /// Given to its processes, and read back by [`super::ServiceStatus::variable`]. Not for secrets.
    pub environment: Vec<(String, String)>,
    /// Units that are started before it and stopped after it, if they are.
    pub after: Vec<String>,
    /// When it is started again.
    pub restart: Restart,
    /// Keep the unit, as `active (exited)`, when the main process ends by itself without an error.
    pub remain_after_exit: bool,
    /// How long stopping may take before SIGKILL.
    pub stop_timeout: Duration,
    /// What it may use.
    pub limits: Limits,
    /// What it can reach.
    pub sandbox: Sandbox,
}

/// A program that systemd runs once for us, in the background and as root: it goes on when we are restarted, and what
/// came of it is kept until it is stopped or forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Full name, `….service`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Program (absolute path) and arguments. Not for secrets.
    pub exec_start: Vec<String>,
    /// Given to its processes. Not for secrets.
    pub environment: Vec<(String, String)>,
    /// File that its output and errors go to, made anew; its directory must exist.
    pub output: PathBuf,
    /// How long it may take before it is ended.
    pub limit: Duration,
}

impl Task {
    /// The unit's properties, as `StartTransientUnit` takes them.
    pub fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        let environment: Vec<String> = self
            .environment
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        vec![
            ("Description", self.description.clone().into()),
            ("Type", "exec".into()),
            ("ExecStartEx", command(&self.exec_start)),
            ("Environment", environment.into()),
            ("Restart", "no".into()),
            // That it ended well is seen by this alone; a failure is kept without.
            ("RemainAfterExit", true.into()),
            ("RuntimeMaxUSec", micros(self.limit)),
            ("TimeoutStopUSec", micros(Duration::from_secs(10))),
            ("StandardInput", "null".into()),
            (
                "StandardOutputFileToTruncate",
                self.output.display().to_string().into(),
            ),
            ("StandardError", "inherit".into()),
            ("UMask", 0o077_u32.into()),
            ("LimitCORE", 0_u64.into()),
            ("PrivateTmp", true.into()),
            ("ProtectKernelTunables", true.into()),
            ("ProtectKernelModules", true.into()),
            ("ProtectKernelLogs", true.into()),
            ("ProtectClock", true.into()),
            ("LockPersonality", true.into()),
            ("RestrictRealtime", true.into()),
            ("RestrictSUIDSGID", true.into()),
        ]
    }
}

/// Restarts within [`START_LIMIT_INTERVAL`] before systemd gives up (`StartLimitBurst=`).
const START_LIMIT_BURST: u32 = 5;
const START_LIMIT_INTERVAL: Duration = Duration::from_secs(60);
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Address families as in `<sys/socket.h>`.
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

impl TransientService {
    /// The unit's properties, as `StartTransientUnit` takes them.
    pub fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        let mut properties = self.lifecycle();
        properties.extend(self.limits.properties());
        properties.extend(self.sandbox.properties());
        properties
    }

    fn lifecycle(&self) -> Vec<(&'static str, Variant<'static>)> {
        let mut properties: Vec<(&'static str, Variant<'static>)> = vec![
            ("Description", self.description.clone().into()),
            ("Slice", self.slice.clone().into()),
            ("After", self.after.clone().into()),
            // The start is over when the program has been executed, so that a missing program is an error
            // of the start.
            ("Type", "exec".into()),
            ("User", self.user.clone().into()),
            ("Group", self.user.clone().into()),
            ("ExecStartEx", command(&self.exec_start)),
            (
                "Environment",
                self.environment
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect::<Vec<_>>()
                    .into(),
            ),
            (
                "Restart",
                match self.restart {
                    Restart::No => "no",
                    Restart::OnFailure => "on-failure",
                    Restart::Always => "always",
                }
                .into(),
            ),
            ("RestartUSec", micros(RESTART_DELAY)),
            ("StartLimitIntervalUSec", micros(START_LIMIT_INTERVAL)),
            ("StartLimitBurst", START_LIMIT_BURST.into()),
            ("RemainAfterExit", self.remain_after_exit.into()),
            ("TimeoutStopUSec", micros(self.stop_timeout)),
            // SIGTERM to the main process alone; what is left gets SIGKILL.
            ("KillMode", "mixed".into()),
            ("OOMPolicy", "stop".into()),
            ("StandardInput", "null".into()),
            ("StandardOutput", "journal".into()),
            ("StandardError", "journal".into()),
        ];
        if let Some(stop) = &self.exec_stop {
            properties.push(("ExecStopEx", command(stop)));
        }
        properties
    }
}

impl Limits {
    fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        vec![
            ("MemoryMax", self.memory_bytes.into()),
            ("MemorySwapMax", 0_u64.into()),
            (
                "CPUQuotaPerSecUSec",
                (u64::from(self.cpus) * 1_000_000).into(),
            ),
            ("CPUWeight", self.cpu_weight.into()),
            ("IOWeight", self.io_weight.into()),
            ("TasksMax", self.tasks.into()),
            ("OOMScoreAdjust", self.oom_score_adjust.into()),
            ("LimitCORE", 0_u64.into()),
        ]
    }
}

impl Sandbox {
    fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        let runtime = Path::new("/run").join(&self.runtime_directory);
        let writable = self.writable.iter().chain([&runtime]).chain(&self.devices);
        let mut properties: Vec<(&'static str, Variant<'static>)> = vec![
            (
                "RuntimeDirectory",
                vec![self.runtime_directory.clone()].into(),
            ),
            ("RuntimeDirectoryMode", 0o700_u32.into()),
            ("UMask", 0o077_u32.into()),
            // Files: the system read-only; of /var and /run only what is bound below.
            ("ProtectSystem", "strict".into()),
            ("ProtectHome", "yes".into()),
            ("PrivateTmp", true.into()),
            (
                "TemporaryFileSystem",
                vec![("/var", "ro"), ("/run", "ro")].into(),
            ),
            ("BindPaths", binds(writable, false)),
            ("BindReadOnlyPaths", binds(self.readable.iter(), true)),
            // Devices: a /dev with pseudo devices alone, the named ones bound into it.
            ("PrivateDevices", true.into()),
            ("DevicePolicy", "closed".into()),
            (
                "DeviceAllow",
                self.devices
                    .iter()
                    .map(|device| (device.display().to_string(), "rw"))
                    .collect::<Vec<_>>()
                    .into(),
            ),
            // Privileges: none, and no way to any.
            ("CapabilityBoundingSet", 0_u64.into()),
            ("AmbientCapabilities", 0_u64.into()),
            ("NoNewPrivileges", true.into()),
            ("PrivateUsers", true.into()),
            ("RestrictSUIDSGID", true.into()),
            ("RestrictNamespaces", 0_u64.into()),
            ("RestrictRealtime", true.into()),
            ("LockPersonality", true.into()),
            ("KeyringMode", "private".into()),
            ("RemoveIPC", true.into()),
            ("PrivateIPC", true.into()),
            ("MemoryDenyWriteExecute", self.deny_write_execute.into()),
            // The kernel.
            ("ProtectKernelTunables", true.into()),
            ("ProtectKernelModules", true.into()),
            ("ProtectKernelLogs", true.into()),
            ("ProtectControlGroups", true.into()),
            ("ProtectClock", true.into()),
            ("ProtectHostname", true.into()),
            ("ProtectProc", "invisible".into()),
            ("ProcSubset", "pid".into()),
            ("SystemCallArchitectures", vec!["native"].into()),
            // systemd applies the lists in the order of the properties: first what is allowed, then what
            // of it is not.
            ("SystemCallFilter", (true, vec!["@system-service"]).into()),
            (
                "SystemCallFilter",
                (false, vec!["@privileged", "@resources"]).into(),
            ),
            ("SystemCallErrorNumber", libc_eperm().into()),
            // The network: none of its own. Frames go through the TAP, which is no socket.
            ("RestrictAddressFamilies", (true, vec!["AF_UNIX"]).into()),
            (
                "IPAddressDeny",
                vec![
                    (AF_INET, vec![0_u8; 4], 0_u32),
                    (AF_INET6, vec![0_u8; 16], 0_u32),
                ]
                .into(),
            ),
        ];
        properties.retain(|(name, _)| *name != "BindReadOnlyPaths" || !self.readable.is_empty());
        properties
    }
}

/// `EPERM`: what a filtered system call answers, so that a program which only tries goes on.
fn libc_eperm() -> i32 {
    nix::errno::Errno::EPERM as i32
}

/// A command whose words reach the program as they are: a tenant's text may be one of them. Without the flag systemd
/// puts a variable in the place of `${NAME}`, and leaves a word out that is the name of one which is not set
/// (systemd.service(5), "Command lines"). `%` stands for something in unit files alone.
fn command(argv: &[String]) -> Variant<'static> {
    let program = argv.first().cloned().unwrap_or_default();
    vec![(program, argv.to_vec(), vec!["no-env-expand"])].into()
}

fn micros(duration: Duration) -> Variant<'static> {
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .into()
}

/// Source, destination, whether a missing source is ignored, mount flags (`MS_REC`).
fn binds<'a>(paths: impl Iterator<Item = &'a PathBuf>, missing_is_fine: bool) -> Variant<'static> {
    const MS_REC: u64 = 16384;
    paths
        .map(|path| {
            let path = path.display().to_string();
            (path.clone(), path, missing_is_fine, MS_REC)
        })
        .collect::<Vec<_>>()
        .into()
}
