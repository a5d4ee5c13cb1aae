//! What the server itself does for a VM: attach its ports before its host hears of it, detach them when the
//! host is done with it, and delete those that were made with it; the same for each interface that comes and goes meanwhile.
//!
//! Each step looks at the record, does what its stage asks for, and may be repeated: after a crash anywhere
//! the next pass goes on from the record. One task at a time works on a VM, so that a detach never overtakes
//! an attach.

mod changes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chainfire::Ledger;
use flaredb::Db;
use futures::StreamExt;
use futures::future::join_all;
use photon_catalog::{Actor, Change, Stored, commit_own, commit_unrecorded, load};
use photon_reconcile::{Driver, Plan, Reconciler, Signal, Timing};
use photon_resource::{Error, PortId, VmId};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::changes::{Attaching, Detached, Explain, Place, Remove, TakenBack, Undo};
use super::NewPorts;
use crate::COMPONENT;
use crate::model::phase::Stage;
use crate::model::{Interface, Port, Vm};
use crate::prismnet::{NotAttached, Ports};
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
    new_ports: NewPorts,
    locks: Arc<Mutex<HashMap<VmId, Weak<tokio::sync::Mutex<()>>>>>,
    leftovers: Signal,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Saga {
    /// At `shutdown` it stops where it is, as in a crash.
    pub fn new(db: Db, ledger: Ledger, ports: Ports, shutdown: CancellationToken) -> Self {
        Self {
            new_ports: NewPorts::new(db.clone(), ports.clone()),
            db,
            ledger,
            ports,
            locks: Arc::default(),
            leftovers: Signal::new(),
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// Attaches the ports of a VM that was just accepted. Answers as soon as they are, or the VM was refused: what is
    /// left, to hand it to its host, goes on, as all does when the caller stops waiting. What fails is tried again in
    /// the background.
    pub async fn attach_ports(&self, id: VmId) -> Result<Progress, Error> {
        let (attached, settled) = oneshot::channel();
        let working = self.start(id, Some(attached));
        match settled.await {
            Ok(()) => Ok(Progress::Settled),
            // They never were.
            Err(_) => working.await.map_err(Error::internal)?,
        }
    }

    /// The ports that new VMs bring along.
    pub fn new_ports(&self) -> &NewPorts {
        &self.new_ports
    }

    /// Nobody else works on the VM until this is dropped.
    pub async fn alone(&self, id: VmId) -> OwnedMutexGuard<()> {
        self.lock_of(id).lock_owned().await
    }

    /// Notes that a port is about to be attached to a VM that is there; what does not come of it is taken back.
    ///
    /// Errors: `FailedPrecondition` when another VM has it.
    pub async fn note_attaching(&self, id: VmId, port_id: PortId) -> Result<(), Error> {
        commit_unrecorded(&self.db, &mut Attaching { id, port_id }).await
    }

    /// Does all that the server has to do for the VM now, without waiting; what fails is tried again in the background.
    pub fn begin(&self, id: VmId) {
        drop(self.start(id, None));
    }

    fn start(
        &self,
        id: VmId,
        attached: Option<oneshot::Sender<()>>,
    ) -> JoinHandle<Result<Progress, Error>> {
        let this = self.clone();
        self.tasks
            .spawn(photon_program::request_id::carry(async move {
                let working = this.advance_alone(id, attached);
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

    /// Says by `attached` when its ports are, which is before its host is told of it.
    async fn advance_alone(
        &self,
        id: VmId,
        mut attached: Option<oneshot::Sender<()>>,
    ) -> Result<Progress, Error> {
        let lock = self.lock_of(id);
        let _alone = lock.lock().await;
        self.take_back(id).await?;
        let mut refused = None;
        loop {
            let Some(vm) = load::<Vm>(&self.db, &id).await? else {
                return Ok(refused.map_or(Progress::Removed, Progress::Refused));
            };
            match vm.stage {
                Stage::Placed if vm.has_ports_to_detach() => {
                    if let Err(error) = self.detach_left(&vm).await {
                        self.explain(id, "a port is not detached yet", &error)
                            .await?;
                        return Err(error);
                    }
                }
                Stage::Placed | Stage::Removing => return Ok(Progress::Settled),
                Stage::Attaching => match self.attach(&vm).await {
                    Ok(ports) => {
                        if let Some(attached) = attached.take() {
                            // Whoever asked may have stopped waiting.
                            let _ = attached.send(());
                        }
                        self.place(id, ports).await?;
                    }
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
        let attached = vm.spec.network.iter();
        let attached = attached.map(|interface| self.attach_one(vm, interface));
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

    /// Attaches the port of one interface. A second time changes nothing.
    pub async fn attach_one(&self, vm: &Vm, interface: &Interface) -> Result<Port, NotAttached> {
        let attached = self.ports.attach(interface.port_id, vm.id, &vm.node);
        let port = attached.await?;
        Ok(Port {
            port_id: interface.port_id,
            interface_id: interface.id.clone(),
            mac_address: port.mac_address,
            interface_name: port.interface_name,
            addressing: port.addressing,
        })
    }

    /// Detaches what its host has no more.
    async fn detach_left(&self, vm: &Vm) -> Result<(), Error> {
        let id = vm.id;
        for port_id in vm.ports_to_detach() {
            self.ports.detach(port_id, id).await?;
            self.commit("update", &mut Detached { id, port_id }).await?;
        }
        Ok(())
    }

    /// Takes back what was begun of an interface, and came to nothing: the call was refused, or the server crashed in it.
    async fn take_back(&self, id: VmId) -> Result<(), Error> {
        for port_id in store::vm::vm_attaching(&self.db, id).await? {
            let vm = load::<Vm>(&self.db, &id).await?;
            if !vm.is_some_and(|vm| vm.port_ids().contains(&port_id)) {
                self.ports.detach(port_id, id).await?;
            }
            let mut taken_back = TakenBack { id, port_id };
            commit_unrecorded(&self.db, &mut taken_back).await?;
        }
        Ok(())
    }

    /// Detaches its ports, and deletes those that were made with it.
    async fn detach(&self, vm: &Vm) -> Result<(), Error> {
        let detached = vm.port_ids().into_iter();
        let detached = detached.map(|port| self.ports.detach(port, vm.id));
        join_all(detached)
            .await
            .into_iter()
            .collect::<Result<(), Error>>()?;
        let deleted = vm.ports_to_delete().map(|port| self.ports.delete(port));
        join_all(deleted).await.into_iter().collect()
    }

    async fn place(&self, id: VmId, ports: Vec<Port>) -> Result<(), Error> {
        self.commit("update", &mut Place { id, ports }).await
    }

    /// Shows the VM's owner what it waits for.
    async fn explain(&self, id: VmId, what: &str, error: &Error) -> Result<(), Error> {
        let message = format!("{what}: {error}");
        commit_unrecorded(&self.db, &mut Explain { id, message }).await
    }

    async fn undo(&self, id: VmId, reason: &str) -> Result<(), Error> {
        let lease = self.db.lease_grant(REFUSAL_KEPT).await?;
        self.commit("update", &mut Undo { id, reason, lease }).await
    }

    async fn remove(&self, id: VmId) -> Result<(), Error> {
        self.commit("delete", &mut Remove { id }).await
    }

    /// As the server itself, which finishes what a caller has begun; that call has its own event.
    async fn commit(&self, verb: &str, change: &mut impl Change<Value = ()>) -> Result<(), Error> {
        let actor = Actor::server(format!("{}-server", COMPONENT.name));
        commit_own(
            &self.db,
            &self.ledger,
            &actor,
            &Vm::KIND.action(verb),
            change,
        )
        .await
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

/// All VMs for which the server has something to do, and ports of VMs that were not made.
struct Leftovers(Saga);

struct Work {
    vms: Vec<VmId>,
    new_ports: Vec<(Uuid, store::new_ports::NewPorts)>,
}

impl Plan for Work {
    fn is_empty(&self) -> bool {
        self.vms.is_empty() && self.new_ports.is_empty()
    }

    fn summary(&self) -> String {
        format!(
            "settle the ports of {} VMs, remove those of {} that were not made",
            self.vms.len(),
            self.new_ports.len()
        )
    }
}

#[async_trait]
impl Reconciler for Leftovers {
    type Observed = (Vec<VmId>, Vec<(Uuid, store::new_ports::NewPorts)>);
    type Plan = Work;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Self::Observed>, Error> {
        let vms = store::vm::vm_ids_with_work(&self.0.db).await?;
        Ok(Some((vms, self.0.new_ports.left().await?)))
    }

    fn plan(&self, (vms, new_ports): &Self::Observed) -> Work {
        Work {
            vms: vms.clone(),
            new_ports: new_ports.clone(),
        }
    }

    async fn apply(&mut self, plan: &Work) -> Result<(), Error> {
        let saga = &self.0;
        let mut done: Vec<Result<(), Error>> = futures::stream::iter(plan.vms.clone())
            .map(async |id| saga.advance_alone(id, None).await.map(drop))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        // One tenant's that can't be removed keep no other's.
        for (id, ports) in &plan.new_ports {
            done.push(saga.new_ports.settle(*id, ports).await);
        }
        done.into_iter().collect()
    }
}
