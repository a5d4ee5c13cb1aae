//! systemd without a machine: keeps what was started, and changes it only as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{ActiveState, ServiceManager, ServiceStatus, Task, TransientService, UnitChanges};
use crate::{Error, Result};

/// A [`ServiceManager`] in memory. Clones share their units.
#[derive(Clone)]
pub struct FakeSystemd {
    units: Arc<Mutex<BTreeMap<String, Unit>>>,
    changes: watch::Sender<u64>,
}

struct Unit {
    started: Started,
    status: ServiceStatus,
}

#[derive(Clone)]
enum Started {
    Service(Box<TransientService>),
    Task(Task),
}

impl Default for FakeSystemd {
    fn default() -> Self {
        Self {
            units: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl FakeSystemd {
    /// No units.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a unit was started with.
    pub fn service(&self, unit: &str) -> Option<TransientService> {
        match self.units().get(unit)?.started.clone() {
            Started::Service(service) => Some(*service),
            Started::Task(_) => None,
        }
    }

    /// What a task was started with.
    pub fn task(&self, unit: &str) -> Option<Task> {
        match self.units().get(unit)?.started.clone() {
            Started::Task(task) => Some(task),
            Started::Service(_) => None,
        }
    }

    /// The main process of a unit ends by itself with this status (0: in good order).
    pub fn exits(&self, unit: &str, exit_status: i32) {
        if let Some(found) = self.units().get_mut(unit) {
            let status = &mut found.status;
            status.exit_status = exit_status;
            if exit_status == 0 {
                status.active = ActiveState::Active;
                status.sub = "exited".to_owned();
            } else {
                status.active = ActiveState::Failed;
                status.sub = "failed".to_owned();
                status.result = "exit-code".to_owned();
            }
        }
        self.tell();
    }

    /// The stop that was begun has ended: the unit is gone.
    pub fn stopped(&self, unit: &str) {
        self.units().remove(unit);
        self.tell();
    }

    /// The machine lost its power: no unit is left.
    pub fn power_cut(&self) {
        self.units().clear();
        self.tell();
    }

    fn start(&self, name: &str, environment: &[(String, String)], started: Started) -> Result<()> {
        let mut units = self.units();
        if units.contains_key(name) {
            return Err(Error::Answer {
                what: "systemd",
                reason: format!("unit {name} was already loaded"),
            });
        }
        let status = ServiceStatus {
            name: name.to_owned(),
            active: ActiveState::Active,
            sub: "running".to_owned(),
            result: "success".to_owned(),
            exit_status: 0,
            environment: environment
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
            started_at: Some(SystemTime::now()),
            job: None,
        };
        units.insert(name.to_owned(), Unit { started, status });
        drop(units);
        self.tell();
        Ok(())
    }

    fn units(&self) -> MutexGuard<'_, BTreeMap<String, Unit>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl ServiceManager for FakeSystemd {
    async fn services(&self, prefix: &str) -> Result<Vec<ServiceStatus>> {
        Ok(self
            .units()
            .values()
            .filter(|unit| unit.status.name.starts_with(prefix))
            .map(|unit| unit.status.clone())
            .collect())
    }

    async fn start_transient(&self, service: &TransientService) -> Result<()> {
        let started = Started::Service(Box::new(service.clone()));
        self.start(&service.name, &service.environment, started)
    }

    async fn start_task(&self, task: &Task) -> Result<()> {
        self.start(&task.name, &task.environment, Started::Task(task.clone()))
    }

    async fn stop(&self, unit: &str) -> Result<()> {
        let mut units = self.units();
        if let Some(found) = units.get_mut(unit) {
            if found.status.sub == "exited" {
                units.remove(unit);
            } else {
                found.status.active = ActiveState::Deactivating;
                found.status.sub = "stop".to_owned();
            }
        }
        drop(units);
        self.tell();
        Ok(())
    }

    async fn kill_main(&self, unit: &str, _signal: i32) -> Result<()> {
        let mut units = self.units();
        if let Some(found) = units.get_mut(unit) {
            if found.status.active == ActiveState::Deactivating {
                units.remove(unit);
            } else {
                found.status.active = ActiveState::Failed;
                found.status.sub = "failed".to_owned();
                found.status.result = "signal".to_owned();
            }
        }
        drop(units);
        self.tell();
        Ok(())
    }

    async fn reset_failed(&self, unit: &str) -> Result<()> {
        let mut units = self.units();
        if units
            .get(unit)
            .is_some_and(|unit| unit.status.active == ActiveState::Failed)
        {
            units.remove(unit);
        }
        drop(units);
        self.tell();
        Ok(())
    }

    async fn changes(&self, _prefix: &str) -> Result<Box<dyn UnitChanges>> {
        Ok(Box::new(FakeChanges(self.changes.subscribe())))
    }
}

struct FakeChanges(watch::Receiver<u64>);

#[async_trait]
impl UnitChanges for FakeChanges {
    async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
