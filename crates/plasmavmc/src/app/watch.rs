//! Streams that follow the store, and streams that end when their caller's right does.

use std::collections::HashMap;
use std::time::Duration;

use flaredb::{Db, Watch};
use futures::FutureExt;
use photon_api::plasmavmc::v1;
use photon_resource::{Caller, Error, ResourceName, VmId};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::access::vm_attributes;
use super::{Access, Desired, Reference, list};
use crate::model::Vm;
use crate::{convert, store};

/// How soon the loss of a right ends an open stream.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long an open stream goes on while IAM can't be asked, so that its restart ends nobody's console.
const UNASKED_AT_MOST: Duration = Duration::from_secs(10);

/// Watches over a long call's right to go on. Dropped with the call.
pub struct Supervision {
    lost: oneshot::Receiver<Error>,
    _task: AbortOnDropHandle<()>,
}

impl Supervision {
    /// `caller` was permitted `action` on `resource`, which has `attributes`, just now.
    pub fn new(
        access: Access,
        caller: Caller,
        action: &'static str,
        resource: ResourceName,
        attributes: Vec<(String, String)>,
    ) -> Self {
        let (told, lost) = oneshot::channel();
        let task = tokio::spawn(async move {
            let error = ask_until_lost(&access, &caller, action, &resource, &attributes).await;
            // The call has ended by itself.
            let _ = told.send(error);
        });
        Self {
            lost,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Returns when the right is lost (the token was revoked or ended, the role was taken away), with why.
    /// Dropping the future loses nothing.
    pub async fn lost(&mut self) -> Error {
        let told = (&mut self.lost).await;
        told.unwrap_or_else(|_| Error::internal("the supervision of a call has ended"))
    }
}

async fn ask_until_lost(
    access: &Access,
    caller: &Caller,
    action: &str,
    resource: &ResourceName,
    attributes: &[(String, String)],
) -> Error {
    let mut permitted = Instant::now();
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        match access.ask(caller, action, resource, attributes).await {
            Ok(()) => permitted = Instant::now(),
            Err(Error::Unavailable(_)) if permitted.elapsed() < UNASKED_AT_MOST => {}
            Err(error) => return error,
        }
    }
}

/// What WatchVm and WatchDesired follow. Clones are the same.
#[derive(Clone)]
pub struct Watches {
    db: Db,
    access: Access,
    desired: Desired,
}

/// Follows one VM, or all of a scope.
pub struct VmWatch {
    db: Db,
    changes: Watch,
    /// `None`: all of the scope.
    only: Option<VmId>,
    scope: photon_resource::Scope,
    /// As they were last told.
    known: HashMap<VmId, Vm>,
    waiting: Vec<v1::WatchVmResponse>,
    ended: bool,
    pub supervision: Supervision,
}

impl Watches {
    pub fn new(db: Db, access: Access, desired: Desired) -> Self {
        Self {
            db,
            access,
            desired,
        }
    }

    /// Begins to follow the VM that is meant, or without an id all of the project.
    pub async fn vms(
        &self,
        caller: &Caller,
        request: &v1::WatchVmRequest,
    ) -> Result<VmWatch, Error> {
        const ACTION: &str = "compute:instances:watch";
        let (only, scope, resource, attributes) = if request.id.is_empty() {
            let scope = list::scope(caller, &request.org_id, &request.project_id)?;
            let all = ResourceName::any(scope.clone(), Vm::KIND);
            self.access.ask(caller, ACTION, &all, &[]).await?;
            (None, scope, all, Vec::new())
        } else {
            let reference = Reference {
                id: &request.id,
                org_id: &request.org_id,
                project_id: &request.project_id,
            };
            let vm = self.access.vm(caller, ACTION, reference).await?;
            let attributes = vm_attributes(&vm);
            (Some(vm.id), vm.scope(), vm.resource_name(), attributes)
        };
        // From before the first look: what changes between the two is told twice rather than never.
        let revision = self.db.revision().await?;
        let prefix = only.map_or(store::vm::VMS_PREFIX.to_owned(), store::vm::vm_prefix);
        let changes = self.db.watch(&prefix, revision).await?;
        let mut ids = Vec::new();
        match only {
            Some(id) => ids.push(id),
            None => {
                let (found, _) = store::vm::vm_ids_in(&self.db, &scope, None, usize::MAX).await?;
                ids.extend(found.into_iter().map(|(_, id)| id));
            }
        }
        let mut watch = VmWatch {
            db: self.db.clone(),
            changes,
            only,
            scope,
            known: HashMap::new(),
            waiting: Vec::new(),
            ended: false,
            supervision: Supervision::new(
                self.access.clone(),
                caller.clone(),
                ACTION,
                resource,
                attributes,
            ),
        };
        for id in ids {
            watch.look(id).await?;
        }
        if only.is_some() && watch.known.is_empty() {
            return Err(Error::not_found(Vm::NOUN, &request.id));
        }
        watch.waiting.reverse();
        Ok(watch)
    }

    /// Begins to follow what a host is told.
    pub async fn desired(&self, node: &str) -> Result<DesiredWatch, Error> {
        let revision = self.db.revision().await?;
        let changes = self
            .db
            .watch(&store::vm::host_prefix(node), revision)
            .await?;
        Ok(DesiredWatch {
            desired: self.desired.clone(),
            node: node.to_owned(),
            changes,
            told: None,
        })
    }
}

impl VmWatch {
    /// The next thing to tell; `None` when the only VM is gone.
    ///
    /// Errors: the caller's right was lost, or the store failed.
    pub async fn next(&mut self) -> Result<Option<v1::WatchVmResponse>, Error> {
        loop {
            if let Some(told) = self.waiting.pop() {
                return Ok(Some(told));
            }
            if self.ended {
                return Ok(None);
            }
            let changes = tokio::select! {
                changes = self.changes.next() => changes,
                error = self.supervision.lost() => return Err(error),
            };
            let Some(changes) = changes.transpose()? else {
                return Err(Error::Unavailable(
                    "the server is stopping: watch again".into(),
                ));
            };
            for id in store::vm::changed_vms(&changes) {
                self.look(id).await?;
            }
            self.waiting.reverse();
        }
    }

    /// Reads a VM that may have changed, and notes what is to be told of it.
    async fn look(&mut self, id: VmId) -> Result<(), Error> {
        match store::vm::vm_get(&self.db, id).await?.0 {
            Some(vm) if self.scope.contains(&vm.scope()) => {
                if self.known.get(&id) != Some(&vm) {
                    self.waiting.push(v1::WatchVmResponse {
                        vm: Some(convert::vm_to_wire(&vm)),
                        deleted: false,
                    });
                    self.known.insert(id, vm);
                }
            }
            Some(_) => {}
            None => {
                if let Some(vm) = self.known.remove(&id) {
                    self.ended = self.only.is_some();
                    self.waiting.push(v1::WatchVmResponse {
                        vm: Some(convert::vm_to_wire(&vm)),
                        deleted: true,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Follows what one host is told.
pub struct DesiredWatch {
    desired: Desired,
    node: String,
    changes: Watch,
    told: Option<flaredb::Revision>,
}

impl DesiredWatch {
    /// What the host is to be told next: at once the first time, then after a change. Of several changes that have
    /// happened by then, only what they lead to.
    pub async fn next(&mut self) -> Result<v1::DesiredVms, Error> {
        loop {
            if self.told.is_some() {
                let mut newest = self.change().await?;
                while let Some(more) = self.change().now_or_never() {
                    newest = more?;
                }
                // Read already, with what was told last.
                if self.told.is_some_and(|told| newest <= told) {
                    continue;
                }
            }
            let desired = self.desired.of(&self.node).await?;
            self.told = Some(desired.revision);
            return Ok(desired);
        }
    }

    /// The revision of the next change.
    async fn change(&mut self) -> Result<flaredb::Revision, Error> {
        match self.changes.next().await {
            Some(changes) => {
                let changes = changes?;
                Ok(changes
                    .iter()
                    .map(|change| change.revision)
                    .max()
                    .unwrap_or(0))
            }
            None => Err(Error::Unavailable(
                "the server is stopping: watch again".into(),
            )),
        }
    }
}
