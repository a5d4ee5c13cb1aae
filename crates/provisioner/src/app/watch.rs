//! Following machines, and what their installers write.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use flaredb::{Db, Watch};
use photon_resource::{Caller, Error, ResourceName, Scope};
use photon_service::Guard;
use tokio::time::Instant;

use super::{Installations, Machines};
use crate::log::Follower;
use crate::model::{Machine, MachineId};
use crate::store;

const ACTION: &str = "provision:machines:watch";
/// How often a file that an installer writes is looked at while somebody follows it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked whether the caller still may, and for how long no answer is borne.
const ASKED_EVERY: Duration = Duration::from_secs(30);
const UNASKED_AT_MOST: Duration = Duration::from_secs(300);

/// What is told of a machine.
#[derive(Debug, Default)]
pub struct Told {
    /// As it is now; `None`: unchanged.
    pub machine: Option<Machine>,
    /// What its installer has written.
    pub log: String,
    /// The log is of a new installation.
    pub log_restarted: bool,
}

/// Follows one machine, or all.
pub struct MachineWatch {
    db: Db,
    guard: Guard,
    caller: Caller,
    resource: ResourceName,
    changes: Watch,
    /// `None`: all.
    only: Option<MachineId>,
    known: HashMap<MachineId, Machine>,
    waiting: VecDeque<Told>,
    log: Option<(u32, Follower)>,
    files: Installations,
    asked: Instant,
    permitted: Instant,
}

impl MachineWatch {
    /// Begins to follow the machine that `text` names; all of them if it is empty.
    pub async fn start(
        db: Db,
        guard: Guard,
        machines: &Machines,
        files: Installations,
        caller: Caller,
        text: &str,
    ) -> Result<Self, Error> {
        let (only, resource) = if text.is_empty() {
            let all = ResourceName::any(Scope::System, Machine::KIND);
            guard.authorize(&caller, ACTION, &all, &[]).await?;
            (None, all)
        } else {
            let machine = machines.find(&caller, ACTION, text).await?;
            (Some(machine.id), machine.resource_name())
        };
        // From before the first look: what changes between the two is told twice rather than never.
        let revision = db.revision().await?;
        let prefix = match only {
            Some(id) => format!("{}{id}", store::MACHINES_PREFIX),
            None => store::MACHINES_PREFIX.to_owned(),
        };
        let changes = db.watch(&prefix, revision).await?;
        let mut watch = Self {
            db,
            guard,
            caller,
            resource,
            changes,
            only,
            known: HashMap::new(),
            waiting: VecDeque::new(),
            log: None,
            files,
            asked: Instant::now(),
            permitted: Instant::now(),
        };
        let ids = match only {
            Some(id) => vec![id],
            None => {
                let machines = store::machine_all(&watch.db).await?;
                machines.into_iter().map(|machine| machine.id).collect()
            }
        };
        for id in ids {
            watch.look(id).await?;
        }
        Ok(watch)
    }

    /// The next thing to tell.
    ///
    /// Errors: the caller's right was lost, the store failed, or the server stops.
    pub async fn next(&mut self) -> Result<Told, Error> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Ok(told);
            }
            if let Some(told) = self.written().await? {
                return Ok(told);
            }
            let pause = if self.log.is_some() {
                LOOK_EVERY
            } else {
                ASKED_EVERY
            };
            let changes = tokio::select! {
                changes = self.changes.next() => changes,
                () = tokio::time::sleep(pause) => {
                    self.ask().await?;
                    continue;
                }
            };
            let Some(changes) = changes.transpose()? else {
                return Err(Error::Unavailable(
                    "the server is stopping: watch again".into(),
                ));
            };
            for change in &changes {
                if let Some(id) = change.key.strip_prefix(store::MACHINES_PREFIX) {
                    self.look(id.parse().map_err(Error::internal)?).await?;
                }
            }
            self.ask().await?;
        }
    }

    /// Reads a machine that may have changed.
    async fn look(&mut self, id: MachineId) -> Result<(), Error> {
        let Some(machine) = store::machine_get(&self.db, id).await? else {
            return Ok(());
        };
        if self.known.get(&id) == Some(&machine) {
            return Ok(());
        }
        let mut told = Told::default();
        let installations = machine.installations;
        if self.only.is_some() && installations > 0 {
            let begun = self.log.as_ref().map(|(of, _)| *of);
            if begun != Some(installations) {
                self.log = Some((installations, Follower::new(self.files.log(id))));
                told.log_restarted = begun.is_some();
            }
        }
        self.known.insert(id, machine.clone());
        told.machine = Some(machine);
        self.waiting.push_back(told);
        Ok(())
    }

    /// What the installer has written since the last look.
    async fn written(&mut self) -> Result<Option<Told>, Error> {
        let Some((of, mut follower)) = self.log.take() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let more = follower.more();
            (follower, more)
        });
        let (follower, more) = read.await.map_err(Error::internal)?;
        self.log = Some((of, follower));
        let log = more.map_err(Error::internal)?;
        Ok((!log.is_empty()).then(|| Told {
            log,
            ..Told::default()
        }))
    }

    /// Now and then, whether the caller still may.
    async fn ask(&mut self) -> Result<(), Error> {
        if self.asked.elapsed() < ASKED_EVERY {
            return Ok(());
        }
        self.asked = Instant::now();
        match self
            .guard
            .authorize(&self.caller, ACTION, &self.resource, &[])
            .await
        {
            Ok(()) => {
                self.permitted = Instant::now();
                Ok(())
            }
            Err(Error::Unavailable(_)) if self.permitted.elapsed() < UNASKED_AT_MOST => Ok(()),
            Err(error) => Err(error),
        }
    }
}
