//! systemd without a machine: keeps what was started, and changes it only as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{ActiveState, ServiceManager, ServiceStatus, TransientService, UnitChanges};
use crate::{Error, Result};

/// A [`ServiceManager`] in memory. Clones share their units.
#[derive(Clone)]
pub struct FakeSystemd {
    units: Arc<Mutex<BTreeMap<String, Unit>>>,
    changes: watch::Sender<u64>,
}

struct Unit {
    service: TransientService,
    status: ServiceStatus,
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
        self.units().get(unit).map(|unit| unit.service.clone())
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
        let mut units = self.units();
        if units.contains_key(&service.name) {
            return Err(Error::Answer {
                what: "systemd",
                reason: format!("unit {} was already loaded", service.name),
            });
        }
        let status = ServiceStatus {
            name: service.name.clone(),
            active: ActiveState::Active,
            sub: "running".to_owned(),
            result: "success".to_owned(),
            exit_status: 0,
            environment: service
                .environment
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
            started_at: Some(SystemTime::now()),
            job: None,
        };
        let service = service.clone();
        units.insert(service.name.clone(), Unit { service, status });
        drop(units);
        self.tell();
        Ok(())
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
