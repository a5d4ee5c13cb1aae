//! Services that systemd runs for us: started, stopped and observed over its D-Bus interface
//! (`org.freedesktop.systemd1(5)`).
//!
//! Nothing here waits for a job: a call asks systemd for something and returns when systemd has accepted
//! it; what came of it is seen by observing again when [`UnitChanges`] says that something happened.

mod bus;
#[cfg(feature = "fake")]
mod fake;
mod service;
mod slice;

use std::time::SystemTime;

use async_trait::async_trait;

use crate::Result;

pub use bus::SystemdBus;
#[cfg(feature = "fake")]
pub use fake::FakeSystemd;
pub use service::{Limits, Restart, Sandbox, Task, TransientService};
pub use slice::nested_slice;

/// What a unit is doing (`ActiveState` of `org.freedesktop.systemd1.Unit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActiveState {
    /// Running, or exited with `RemainAfterExit=`; the sub-state tells.
    Active,
    /// Being started, or waiting for its automatic restart.
    Activating,
    /// Being stopped.
    Deactivating,
    /// Not running.
    Inactive,
    /// Ended against its will and not to be restarted.
    Failed,
}

/// A loaded service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Full name, `….service`.
    pub name: String,
    /// What it is doing.
    pub active: ActiveState,
    /// Finer, per type of unit: `running`, `exited`, `auto-restart`, `stop-sigterm`, …
    pub sub: String,
    /// Why it ended: `success`, `exit-code`, `signal`, `oom-kill`, `start-limit-hit`, …
    pub result: String,
    /// Exit status or signal number of the main process, once it has ended.
    pub exit_status: i32,
    /// `KEY=value`, as given at the start.
    pub environment: Vec<String>,
    /// When the main process was started last.
    pub started_at: Option<SystemTime>,
    /// A job that systemd has queued for it and not yet ended: `start`, `stop`, …
    pub job: Option<String>,
}

impl ServiceStatus {
    /// The value of an environment variable that the service was started with.
    pub fn variable(&self, key: &str) -> Option<&str> {
        self.environment
            .iter()
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }
}

/// Tells that units changed. Several changes may be told as one.
#[async_trait]
pub trait UnitChanges: Send {
    /// Waits for the next change. `false`: the connection is lost, ask for changes anew and observe.
    async fn changed(&mut self) -> bool;
}

/// Runs services. The production implementation is [`SystemdBus`].
#[async_trait]
pub trait ServiceManager: Send + Sync + 'static {
    /// Every loaded service whose name begins with `prefix`.
    async fn services(&self, prefix: &str) -> Result<Vec<ServiceStatus>>;

    /// Starts a transient service (`StartTransientUnit`). Refused when a unit of that name is loaded.
    async fn start_transient(&self, service: &TransientService) -> Result<()>;

    /// Starts a program that runs once. Refused when a unit of that name is loaded.
    async fn start_task(&self, task: &Task) -> Result<()>;

    /// Begins to stop a service: its stop command, then SIGTERM, then SIGKILL. Nothing happens to one that
    /// is not loaded or already being stopped.
    async fn stop(&self, unit: &str) -> Result<()>;

    /// Sends a signal to the main process. Nothing happens when there is none.
    async fn kill_main(&self, unit: &str, signal: i32) -> Result<()>;

    /// Lets systemd forget a failed service. Nothing happens when it is not loaded.
    async fn reset_failed(&self, unit: &str) -> Result<()>;

    /// Tells of changes to services whose name begins with `prefix`, from now on.
    async fn changes(&self, prefix: &str) -> Result<Box<dyn UnitChanges>>;
}

#[cfg(test)]
mod tests;
