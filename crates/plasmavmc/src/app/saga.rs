//! What the server itself does for a VM: attach its ports before its host hears of it, detach them when the
//! host is done with it.
//!
//! Each step looks at the record, does what its stage asks for, and may be repeated: after a crash anywhere
//! the next pass goes on from the record. One task at a time works on a VM, so that a detach never overtakes
//! an attach.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chainfire::{Digest, Ledger, NewEvent, Outcome};
use flaredb::{Committed, Db, Transaction};
use futures::StreamExt;
use futures::future::join_all;
use photon_reconcile::{Driver, Plan, Reconciler, Signal, Timing};
use photon_resource::{Error, VmId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::port::{NotAttached, Ports};
use crate::COMPONENT;
use crate::model::{Port, Size, Vm};
use crate::phase::{Command, Stage};
use crate::store;

/// How long a repeated call learns that a creation was undone; as long as answers are kept.
const REFUSAL_KEPT: Duration = Duration::from_secs(25 * 3600);
/// VMs that are worked on at the same time in a pass.
const CONCURRENCY: usize = 16;

/// How far a VM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The server has nothing to do for it; its host may have.
    Settled,
    /// Its creation was undone, for this reason.
    Refused(String),
    /// There is no such VM any more.
    Removed,
}

/// Works on VMs. Clones are the same.
#[derive(Clone)]
pub struct Saga {
    db: Db,
    ledger: Ledger,
    ports: Ports,
    locks: Arc<Mutex<HashMap<VmId, Weak<tokio::sync::Mutex<()>>>>>,
    leftovers: Signal,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Saga {
    /// At `shutdown` it stops where it is, as in a crash.
    pub fn new(db: Db, ledger: Ledger, ports: Ports, shutdown: CancellationToken) -> Self {
        Self {
            db,
            ledger,
            ports,
            locks: Arc::default(),
            leftovers: Signal::new(),
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// Does all that the server has to do for the VM now. It goes on when the caller stops waiting; what fails
    /// is tried again in the background.
    pub async fn advance(&self, id: VmId) -> Result<Progress, Error> {
        self.begin(id).await.map_err(Error::internal)?
    }

    /// As [`advance`](Self::advance), without waiting.
    pub fn begin(&self, id: VmId) -> JoinHandle<Result<Progress, Error>> {
        let this = self.clone();
        self.tasks
            .spawn(photon_program::request_id::carry(async move {
                let working = this.advance_alone(id);
                let done = match this.shutdown.run_until_cancelled(working).await {
                    Some(done) => done,
                    None => Err(Error::Unavailable("the server is stopping".to_owned())),
                };
                if let Err(error) = &done {
                    tracing::warn!(vm = %id, %error, "ports are not settled yet; trying again");
                    this.leftovers.notify();
                }
                done
            }))
    }

    async fn advance_alone(&self, id: VmId) -> Result<Progress, Error> {
        let lock = self.lock_of(id);
        let _alone = lock.lock().await;
        let mut refused = None;
        loop {
            let Some(vm) = store::vm::vm_get(&self.db, id).await?.0 else {
                return Ok(refused.map_or(Progress::Removed, Progress::Refused));
            };
            match vm.stage {
                Stage::Placed | Stage::Removing => return Ok(Progress::Settled),
                Stage::Attaching => match self.attach(&vm).await {
                    Ok(ports) => self.place(id, ports).await?,
                    Err(NotAttached::Refused(reason)) => {
                        self.undo(id, &reason).await?;
                        refused = Some(reason);
                    }
                    Err(NotAttached::Failed(error)) => {
                        self.explain(id, "its ports are not attached yet", &error)
                            .await?;
                        return Err(error);
                    }
                },
                Stage::Releasing => {
                    if let Err(error) = self.detach(&vm).await {
                        self.explain(id, "its ports are not detached yet", &error)
                            .await?;
                        return Err(error);
                    }
                    self.remove(id).await?;
                }
            }
        }
    }

    /// One lock for each VM that is being worked on.
    fn lock_of(&self, id: VmId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&id).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(id, Arc::downgrade(&lock));
        lock
    }

    async fn attach(&self, vm: &Vm) -> Result<Vec<Port>, NotAttached> {
        let attached = vm.spec.network.iter().map(|interface| async move {
            let port = self
                .ports
                .attach(interface.port_id, vm.id, &vm.node)
                .await?;
            Ok(Port {
                port_id: interface.port_id,
                interface_id: interface.id.clone(),
                mac_address: port.mac_address,
                interface_name: port.interface_name,
            })
        });
        let (mut ports, mut failed) = (Vec::new(), None);
        for result in join_all(attached).await {
            match result {
                Ok(port) => ports.push(port),
                // One that is refused decides, whatever the others say.
                Err(refused @ NotAttached::Refused(_)) => return Err(refused),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(ports), Err)
    }

    async fn detach(&self, vm: &Vm) -> Result<(), Error> {
        let detached = vm.spec.network.iter();
        let detached = detached.map(|interface| self.ports.detach(interface.port_id, vm.id));
        join_all(detached).await.into_iter().collect()
    }

    async fn place(&self, id: VmId, ports: Vec<Port>) -> Result<(), Error> {
        self.change(id, Stage::Attaching, |vm| {
            vm.stage = Stage::Placed;
            vm.ports = ports.clone();
            vm.status.message.clear();
            format!("its ports are attached: handed to host {}", vm.node)
        })
        .await
    }

    /// Shows the VM's owner what it waits for.
    async fn explain(&self, id: VmId, what: &str, error: &Error) -> Result<(), Error> {
        let message = format!("{what}: {error}");
        loop {
            let mut tx = self.db.begin();
            let Some((mut vm, _)) = store::vm::vm_read(&mut tx, id).await? else {
                return Ok(());
            };
            if !vm.stage.is_servers() || vm.status.message == message {
                return Ok(());
            }
            vm.status.message = message.clone();
            store::vm::vm_update_status(&mut tx, &vm)?;
            if matches!(tx.commit().await?, Committed::Done(_)) {
                return Ok(());
            }
        }
    }

    async fn undo(&self, id: VmId, reason: &str) -> Result<(), Error> {
        let lease = self.db.lease_grant(REFUSAL_KEPT).await?;
        loop {
            let mut tx = self.db.begin();
            let Some((before, _)) = store::vm::vm_read(&mut tx, id).await? else {
                return Ok(());
            };
            if before.stage != Stage::Attaching {
                return Ok(());
            }
            let mut after = before.clone();
            after.command(Command::Delete)?;
            after.status.message = reason.to_owned();
            store::vm::vm_refused_put(&mut tx, id, reason, lease)?;
            if self.commit(tx, &before, Some(&after), reason).await? {
                return Ok(());
            }
        }
    }

    async fn remove(&self, id: VmId) -> Result<(), Error> {
        loop {
            let mut tx = self.db.begin();
            let Some((vm, _)) = store::vm::vm_read(&mut tx, id).await? else {
                return Ok(());
            };
            if vm.stage != Stage::Releasing {
                return Ok(());
            }
            store::vm::vm_remove(&mut tx, &vm);
            let size = vm.spec.size;
            store::node::load_change(&mut tx, &vm.node, Size::default(), size).await?;
            let reason = "its ports are detached: removed";
            if self.commit(tx, &vm, None, reason).await? {
                return Ok(());
            }
        }
    }

    /// Changes a VM that is still in `stage`; `change` says why, for the event.
    async fn change(
        &self,
        id: VmId,
        stage: Stage,
        change: impl Fn(&mut Vm) -> String,
    ) -> Result<(), Error> {
        loop {
            let mut tx = self.db.begin();
            let Some((before, _)) = store::vm::vm_read(&mut tx, id).await? else {
                return Ok(());
            };
            if before.stage != stage {
                return Ok(());
            }
            let mut after = before.clone();
            let reason = change(&mut after);
            if self.commit(tx, &before, Some(&after), &reason).await? {
                return Ok(());
            }
        }
    }

    /// Commits with an event. False: somebody else was first.
    async fn commit(
        &self,
        mut tx: Transaction,
        before: &Vm,
        after: Option<&Vm>,
        reason: &str,
    ) -> Result<bool, Error> {
        let digest = |vm: &Vm| store::vm::vm_bytes(vm).map(|bytes| Digest::of(&bytes));
        let action = match after {
            Some(after) => {
                if store::vm::vm_update(&mut tx, before, after).await?.is_err() {
                    return Err(Error::internal("a stage's change does not rename"));
                }
                "compute:instances:update"
            }
            None => "compute:instances:delete",
        };
        let event = NewEvent {
            org_id: Some(before.org_id.clone()),
            project_id: Some(before.project_id.clone()),
            // The server itself, which finishes what a caller has begun; that call has its own event.
            principal_id: None,
            principal_name: format!("{}-server", COMPONENT.name),
            source: "local".to_owned(),
            action: action.to_owned(),
            resource: before.resource_name().to_string(),
            outcome: Outcome::Success,
            reason: reason.to_owned(),
            request_id: String::new(),
            before_digest: Some(digest(before)?),
            after_digest: after.map(digest).transpose()?,
        };
        let committed = self.ledger.commit(tx, event).await?;
        Ok(matches!(committed, Committed::Done(_)))
    }

    /// Works on everything that is left, until the shutdown: at the start what a crash left, later what failed.
    /// Returns when nothing is being worked on any more.
    pub async fn run(self) {
        let (shutdown, tasks) = (self.shutdown.clone(), self.tasks.clone());
        let timing = Timing {
            every: Duration::from_secs(30),
            retry_first: Duration::from_millis(100),
            retry_most: Duration::from_secs(2),
        };
        let signal = self.leftovers.clone();
        let driver = Driver::new("vm-ports", Leftovers(self), timing, signal);
        let working = driver.run(CancellationToken::new());
        shutdown.run_until_cancelled(working).await;
        tasks.close();
        tasks.wait().await;
    }
}

/// All VMs for which the server has something to do.
struct Leftovers(Saga);

struct Work(Vec<VmId>);

impl Plan for Work {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn summary(&self) -> String {
        format!("settle the ports of {} VMs", self.0.len())
    }
}

#[async_trait]
impl Reconciler for Leftovers {
    type Observed = Vec<VmId>;
    type Plan = Work;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Self::Observed>, Error> {
        Ok(Some(store::vm::vm_ids_with_work(&self.0.db).await?))
    }

    fn plan(&self, observed: &Self::Observed) -> Work {
        Work(observed.clone())
    }

    async fn apply(&mut self, plan: &Work) -> Result<(), Error> {
        let saga = &self.0;
        let done: Vec<Result<Progress, Error>> = futures::stream::iter(plan.0.clone())
            .map(|id| saga.advance_alone(id))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        done.into_iter().try_for_each(|result| result.map(|_| ()))
    }
}
