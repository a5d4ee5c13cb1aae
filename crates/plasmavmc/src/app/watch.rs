//! Streams that follow the store.

use std::collections::HashMap;

use flaredb::Db;
use photon_catalog::{Feed, News};
use photon_resource::{Error, Scope, VmId};

use crate::model::Vm;

/// What WatchVm follows. Clones are the same.
#[derive(Clone)]
pub struct Watches {
    db: Db,
}

/// Follows one VM, or all of a scope.
pub struct VmWatch {
    feed: Feed<Vm>,
    /// It ends with the only VM that it follows.
    ends: bool,
    /// As they were last told: the end of one tells what it was.
    known: HashMap<VmId, Vm>,
    /// Told first.
    first: Option<Vm>,
}

/// What there is to tell of a VM.
#[derive(Debug)]
pub enum Told {
    /// As it is now.
    Now(Vm),
    /// It is gone; as it was last told.
    Gone(Vm),
}

impl Watches {
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Follows all VMs of a scope: first all that there are.
    pub async fn vms(&self, scope: Scope) -> Result<VmWatch, Error> {
        Ok(VmWatch {
            feed: Feed::start(self.db.clone(), scope, None).await?,
            ends: false,
            known: HashMap::new(),
            first: None,
        })
    }

    /// Follows one VM until it is gone: first as it is, which was read at this revision or later.
    pub async fn vm(&self, vm: Vm, since: flaredb::Revision) -> Result<VmWatch, Error> {
        let feed = Feed::start(self.db.clone(), vm.meta.scope(), Some(since)).await?;
        Ok(VmWatch {
            feed: feed.only(vm.id),
            ends: true,
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
            self.known.insert(first.id, first.clone());
            return Ok(Some(Told::Now(first)));
        }
        loop {
            if self.ends && self.known.is_empty() {
                return Ok(None);
            }
            match self.feed.next().await?.0 {
                News::Now(vm) => {
                    if self.known.get(&vm.id) != Some(&vm) {
                        self.known.insert(vm.id, vm.clone());
                        return Ok(Some(Told::Now(vm)));
                    }
                }
                News::Gone(id) => {
                    if let Some(vm) = self.known.remove(&id) {
                        return Ok(Some(Told::Gone(vm)));
                    }
                }
                News::Synced => {}
            }
        }
    }
}
