//! Streams that follow the store.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use flaredb::{Db, Revision};
use photon_catalog::{Feed, Follower, News};
use photon_resource::{Error, OrgId, ProjectId, Scope, VmId};

use crate::model::Vm;

/// What WatchVm follows: one reader of the store, however many watch. Clones share it.
#[derive(Clone)]
pub struct Watches {
    follower: Follower<Vm>,
}

/// Follows one VM, or all of a scope. It keeps of each what tells whether it has changed, and no VM.
pub struct VmWatch {
    feed: Feed<Vm>,
    /// It ends with the only VM that it follows.
    ends: bool,
    /// It says when all that were there have been told.
    tells_all_told: bool,
    /// Those that were told.
    known: HashMap<VmId, Known>,
    /// Told first.
    first: Option<Vm>,
}

/// What there is to tell of a VM.
#[derive(Debug)]
pub enum Told {
    /// As it is now.
    Now(Box<Vm>),
    /// It is gone.
    Gone(Gone),
    /// All that were there have been told.
    AllTold,
}

/// What is left to tell of a VM that is gone.
#[derive(Debug)]
pub struct Gone {
    pub id: VmId,
    pub name: String,
    pub org_id: OrgId,
    pub project_id: ProjectId,
}

struct Known {
    name: String,
    org_id: OrgId,
    project_id: ProjectId,
    look: u64,
}

impl Known {
    fn of(vm: &Vm) -> Self {
        let mut look = DefaultHasher::new();
        // What its owner wants has a count of its own, and its status is a few short texts.
        (vm.change, vm.meta.revision, format!("{:?}", vm.status)).hash(&mut look);
        Self {
            name: vm.meta.name.clone(),
            org_id: vm.meta.org_id.clone(),
            project_id: vm.meta.project_id.clone(),
            look: look.finish(),
        }
    }
}

impl Watches {
    /// Of the VMs in `db`.
    pub fn new(db: Db) -> Self {
        Self {
            follower: Follower::new(db),
        }
    }

    /// Follows all VMs of a scope: first all that there are; then, if asked for, it says that these were all.
    pub async fn vms(&self, scope: Scope, tells_all_told: bool) -> Result<VmWatch, Error> {
        Ok(VmWatch {
            feed: self.follower.feed(scope, None).await?,
            ends: false,
            tells_all_told,
            known: HashMap::new(),
            first: None,
        })
    }

    /// Follows one VM until it is gone: first as it is, which was read at this revision or later.
    pub async fn vm(&self, vm: Vm, since: Revision) -> Result<VmWatch, Error> {
        let feed = self.follower.feed(vm.meta.scope(), Some(since)).await?;
        Ok(VmWatch {
            feed: feed.only(vm.id),
            ends: true,
            tells_all_told: false,
            known: HashMap::new(),
            first: Some(vm),
        })
    }
}

impl VmWatch {
    /// The next thing to tell; `None` when the only VM is gone. Dropping the future loses nothing.
    ///
    /// Errors: the store failed.
    pub async fn next(&mut self) -> Result<Option<Told>, Error> {
        if let Some(first) = self.first.take() {
            self.known.insert(first.id, Known::of(&first));
            return Ok(Some(Told::Now(Box::new(first))));
        }
        loop {
            if self.ends && self.known.is_empty() {
                return Ok(None);
            }
            match self.feed.next().await?.0 {
                News::Now(vm) => {
                    let now = Known::of(&vm);
                    let look = now.look;
                    let before = self.known.insert(vm.id, now);
                    if before.is_none_or(|before| before.look != look) {
                        return Ok(Some(Told::Now(Box::new(vm))));
                    }
                }
                News::Gone(id) => {
                    if let Some(known) = self.known.remove(&id) {
                        return Ok(Some(Told::Gone(Gone {
                            id,
                            name: known.name,
                            org_id: known.org_id,
                            project_id: known.project_id,
                        })));
                    }
                }
                News::Synced if self.tells_all_told => return Ok(Some(Told::AllTold)),
                News::Synced => {}
            }
        }
    }
}
