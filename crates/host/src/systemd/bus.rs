//! systemd on the system bus.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::SelectAll;
use tokio::sync::Mutex;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, Variant, fdo, message};

use super::{ActiveState, ServiceManager, ServiceStatus, Task, TransientService, UnitChanges};
use crate::{Error, Result};

/// Longest time that systemd may take to answer: a host that is booting is slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Signals that may wait for us: systemd tells of every unit's changes.
const SIGNALS_QUEUED: usize = 1024;

/// One row of `ListUnitsByPatterns`: name, description, load state, active state, sub-state, followed unit,
/// object path, job id, job type, job path.
type UnitRow = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);
type Property<'a> = (&'a str, Variant<'a>);
/// Units to be made along with the transient one; we never need any.
type Auxiliary<'a> = (&'a str, Vec<Property<'a>>);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<UnitRow>>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        auxiliary: &[Auxiliary<'_>],
    ) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1"
)]
trait Service {
    #[zbus(property)]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn exec_main_status(&self) -> zbus::Result<i32>;
    #[zbus(property)]
    fn environment(&self) -> zbus::Result<Vec<String>>;
    /// Microseconds since the epoch; 0 when it never ran.
    #[zbus(property)]
    fn exec_main_start_timestamp(&self) -> zbus::Result<u64>;
}

/// systemd on the system bus. Connects when it is first needed, and anew after the connection was lost.
#[derive(Debug, Default)]
pub struct SystemdBus {
    connection: Mutex<Option<Connection>>,
}

impl SystemdBus {
    async fn call<F, T>(&self, call: &'static str, method: F) -> Result<T>
    where
        F: AsyncFnOnce(Connection) -> zbus::Result<T>,
    {
        let connection = {
            let mut held = self.connection.lock().await;
            match &*held {
                Some(connection) => connection.clone(),
                None => {
                    let connection = Connection::system()
                        .await
                        .map_err(|source| Error::DBus { call, source })?;
                    *held = Some(connection.clone());
                    connection
                }
            }
        };
        let result = match tokio::time::timeout(ANSWER_LIMIT, method(connection)).await {
            Ok(result) => result.map_err(|source| Error::DBus { call, source }),
            Err(_) => Err(Error::TimedOut {
                what: format!("D-Bus call {call}"),
                limit: ANSWER_LIMIT,
            }),
        };
        match &result {
            // systemd itself answered: the connection is good.
            Ok(_)
            | Err(Error::DBus {
                source: zbus::Error::MethodError(..),
                ..
            }) => {}
            Err(_) => *self.connection.lock().await = None,
        }
        result
    }
}

impl SystemdBus {
    async fn start_made(&self, name: &str, properties: Vec<Property<'static>>) -> Result<()> {
        self.call("systemd1.Manager.StartTransientUnit", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            // "fail": never replace a job that somebody else has queued for this unit.
            manager
                .start_transient_unit(name, "fail", &properties, &[])
                .await
                .map(drop)
        })
        .await
    }
}

impl SystemdBus {
    /// Starts a unit that has a file; nothing happens to one that is active.
    ///
    /// Errors: systemd does not take the job.
    pub async fn start(&self, unit: &str) -> Result<()> {
        self.call("systemd1.Manager.StartUnit", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            manager.start_unit(unit, "replace").await.map(drop)
        })
        .await
    }

    /// Starts a unit that has a file, or starts it again.
    ///
    /// Errors: systemd does not take the job.
    pub async fn restart(&self, unit: &str) -> Result<()> {
        self.call("systemd1.Manager.RestartUnit", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            manager.restart_unit(unit, "replace").await.map(drop)
        })
        .await
    }
}

/// Whether systemd says that there is no such unit.
fn no_such_unit(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..)
        if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit")
}

/// Takes "there is no such unit" for success.
fn gone_is_fine<T>(result: zbus::Result<T>) -> zbus::Result<()> {
    match result {
        Err(error) if no_such_unit(&error) => Ok(()),
        other => other.map(drop),
    }
}

#[async_trait]
impl ServiceManager for SystemdBus {
    async fn services(&self, prefix: &str) -> Result<Vec<ServiceStatus>> {
        let pattern = format!("{prefix}*.service");
        self.call("systemd1.Manager.ListUnitsByPatterns", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            let rows = manager.list_units_by_patterns(&[], &[&pattern]).await?;
            let statuses = rows
                .into_iter()
                .filter(|row| row.2 != "not-found")
                .map(|row| status(&connection, row));
            let statuses = futures::future::try_join_all(statuses).await?;
            Ok(statuses.into_iter().flatten().collect())
        })
        .await
    }

    async fn start_transient(&self, service: &TransientService) -> Result<()> {
        self.start_made(&service.name, service.properties()).await
    }

    async fn start_task(&self, task: &Task) -> Result<()> {
        self.start_made(&task.name, task.properties()).await
    }

    async fn stop(&self, unit: &str) -> Result<()> {
        self.call("systemd1.Manager.StopUnit", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            gone_is_fine(manager.stop_unit(unit, "replace").await)
        })
        .await
    }

    async fn kill_main(&self, unit: &str, signal: i32) -> Result<()> {
        self.call("systemd1.Manager.KillUnit", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            match manager.kill_unit(unit, "main", signal).await {
                Err(zbus::Error::MethodError(name, ..))
                    if name.as_str() == "org.freedesktop.systemd1.NoSuchProcess" =>
                {
                    Ok(())
                }
                other => gone_is_fine(other),
            }
        })
        .await
    }

    async fn reset_failed(&self, unit: &str) -> Result<()> {
        self.call("systemd1.Manager.ResetFailedUnit", async |connection| {
            let manager = ManagerProxy::new(&connection).await?;
            gone_is_fine(manager.reset_failed_unit(unit).await)
        })
        .await
    }

    async fn changes(&self, prefix: &str) -> Result<Box<dyn UnitChanges>> {
        self.call("systemd1.Manager.Subscribe", async |connection| {
            let mut streams = SelectAll::new();
            for rule in [
                MatchRule::builder()
                    .msg_type(message::Type::Signal)
                    .sender("org.freedesktop.systemd1")
                    .interface("org.freedesktop.systemd1.Manager")
                    .build()?,
                MatchRule::builder()
                    .msg_type(message::Type::Signal)
                    .sender("org.freedesktop.systemd1")
                    .interface("org.freedesktop.DBus.Properties")
                    .member("PropertiesChanged")
                    .path_namespace("/org/freedesktop/systemd1/unit")
                    .build()?,
            ] {
                let queue = NonZeroUsize::new(SIGNALS_QUEUED);
                streams.push(MessageStream::for_match_rule(rule, &connection, queue).await?);
            }
            // Without a subscriber systemd sends no signals.
            ManagerProxy::new(&connection).await?.subscribe().await?;
            Ok(Box::new(BusChanges {
                streams,
                prefix: prefix.to_owned(),
                path_prefix: format!("/org/freedesktop/systemd1/unit/{}", bus_label(prefix)),
            }) as Box<dyn UnitChanges>)
        })
        .await
    }
}

/// A unit's row and its service properties; `None` when it went away meanwhile.
async fn status(connection: &Connection, row: UnitRow) -> zbus::Result<Option<ServiceStatus>> {
    let (name, _, _, active, sub, _, path, job_id, job_type, _) = row;
    let service = ServiceProxy::builder(connection)
        .path(path)
        // Each pass reads what is true now; a cache would cost a match rule per unit.
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    let read = tokio::try_join!(
        service.result(),
        service.exec_main_status(),
        service.environment(),
        service.exec_main_start_timestamp(),
    );
    let (result, exit_status, environment, started) = match read {
        Ok(read) => read,
        Err(error) if vanished(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(ServiceStatus {
        name,
        active: match active.as_str() {
            "active" | "reloading" | "refreshing" => ActiveState::Active,
            "activating" => ActiveState::Activating,
            "deactivating" => ActiveState::Deactivating,
            "failed" => ActiveState::Failed,
            _ => ActiveState::Inactive,
        },
        sub,
        result,
        exit_status,
        environment,
        started_at: (started > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_micros(started)),
        job: (job_id > 0).then_some(job_type),
    }))
}

fn vanished(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => matches!(
            **error,
            fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_)
        ),
        error => no_such_unit(error),
    }
}

/// A unit's name as systemd writes it into an object path (`sd_bus_path_encode(3)`).
fn bus_label(name: &str) -> String {
    name.bytes().fold(String::new(), |mut label, byte| {
        if byte.is_ascii_alphanumeric() {
            label.push(char::from(byte));
        } else {
            label.push_str(&format!("_{byte:02x}"));
        }
        label
    })
}

struct BusChanges {
    streams: SelectAll<MessageStream>,
    prefix: String,
    path_prefix: String,
}

impl BusChanges {
    /// Whether the signal is about one of our units.
    fn concerns(&self, message: &message::Message) -> bool {
        let header = message.header();
        let Some(member) = header.member() else {
            return false;
        };
        match member.as_str() {
            "PropertiesChanged" => header
                .path()
                .is_some_and(|path| path.as_str().starts_with(&self.path_prefix)),
            // Job id, job path, unit, result.
            "JobRemoved" => message
                .body()
                .deserialize::<(u32, OwnedObjectPath, String, String)>()
                .is_ok_and(|(_, _, unit, _)| unit.starts_with(&self.prefix)),
            "UnitNew" | "UnitRemoved" => message
                .body()
                .deserialize::<(String, OwnedObjectPath)>()
                .is_ok_and(|(unit, _)| unit.starts_with(&self.prefix)),
            // systemd was reloaded or executed anew: anything may have changed.
            "Reloading" => true,
            _ => false,
        }
    }
}

#[async_trait]
impl UnitChanges for BusChanges {
    async fn changed(&mut self) -> bool {
        loop {
            match self.streams.next().await {
                Some(Ok(message)) if self.concerns(&message) => return true,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "the signals of systemd are lost");
                    return false;
                }
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn object_paths_are_encoded_as_systemd_does() {
        assert_eq!(
            super::bus_label("photon-vm-6f.service"),
            "photon_2dvm_2d6f_2eservice"
        );
    }
}
