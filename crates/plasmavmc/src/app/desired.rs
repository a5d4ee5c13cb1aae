//! What a host is told: everything that should exist on it, then what changes.
//!
//! ```text
//! store ──watch of the host's own keys──► ids of the VMs that changed ──► read, with their images ──► Change
//! ```
//!
//! What a change costs does not depend on how many VMs the host has.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use flaredb::{Db, Revision, Watch};
use futures::FutureExt;
use photon_catalog::load;
use photon_resource::{Error, ImageId, VmId};

use crate::model::{Image, ImagePart, Vm};
use crate::store;
use crate::store::vm::Left;

/// Reads what hosts are told. Clones are the same.
#[derive(Clone)]
pub struct Desired {
    db: Db,
    store_epoch: Arc<str>,
}

/// A VM as its host is told of it.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// It should be so; with the images that it starts from.
    Placed(Box<Vm>, Vec<Image>),
    /// It was left when the host was given up, and must go.
    Left(Left),
}

/// What a host is told of its VMs, as of a revision.
#[derive(Clone, Debug)]
pub struct News {
    /// Never later than what it says: a VM that changed while this was read is told again at its change.
    pub revision: Revision,
    /// It is everything; else what has changed.
    pub whole: bool,
    /// VMs that are new or another.
    pub vms: Vec<Wanted>,
    /// VMs that the host hears of no more.
    pub removed: Vec<VmId>,
}

impl Desired {
    /// Reads from this store, whose revisions are of this epoch.
    pub fn new(db: Db, store_epoch: &str) -> Self {
        Self {
            db,
            store_epoch: store_epoch.into(),
        }
    }

    /// What revisions are of: those of another epoch say nothing of these.
    pub fn store_epoch(&self) -> &str {
        &self.store_epoch
    }

    /// Everything that should be on a host.
    async fn of(&self, node: &str) -> Result<News, Error> {
        let (ids, revision) = store::vm::vm_ids_on(&self.db, node).await?;
        let mut images = Images::default();
        let mut vms = Vec::with_capacity(ids.len());
        for id in ids {
            vms.extend(self.placed(node, id, &mut images).await?);
        }
        let left = store::vm::vms_left_on(&self.db, node).await?;
        vms.extend(left.into_iter().map(Wanted::Left));
        Ok(News {
            revision,
            whole: true,
            vms,
            removed: Vec::new(),
        })
    }

    /// What there is to tell of these VMs.
    async fn changed(
        &self,
        node: &str,
        ids: BTreeSet<VmId>,
        revision: Revision,
    ) -> Result<News, Error> {
        let mut images = Images::default();
        let (mut vms, mut removed) = (Vec::new(), Vec::new());
        for id in ids {
            if let Some(placed) = self.placed(node, id, &mut images).await? {
                vms.push(placed);
            } else if let Some(left) = store::vm::vm_left_get(&self.db, node, id).await? {
                vms.push(Wanted::Left(left));
            } else {
                removed.push(id);
            }
        }
        Ok(News {
            revision,
            whole: false,
            vms,
            removed,
        })
    }

    /// The VM, if the host is to hear of it.
    async fn placed(
        &self,
        node: &str,
        id: VmId,
        known: &mut Images,
    ) -> Result<Option<Wanted>, Error> {
        let Some(vm) = load::<Vm>(&self.db, &id).await? else {
            return Ok(None);
        };
        if vm.node != node || !vm.stage.is_on_host() {
            return Ok(None);
        }
        let mut images = Vec::new();
        for image in vm.images() {
            let found = match known.get(&image) {
                Some(found) => found.clone(),
                None => {
                    let found = load::<Image>(&self.db, &image).await?;
                    known.insert(image, found.clone());
                    found
                }
            };
            images.extend(found);
        }
        Ok(Some(Wanted::Placed(Box::new(vm), images)))
    }

    /// Begins to follow what a host is told.
    pub async fn watch(&self, node: &str) -> Result<DesiredWatch, Error> {
        // From before the first look: what changes between the two is told twice rather than never.
        let revision = self.db.revision().await?;
        let prefix = store::vm::host_prefix(node);
        Ok(DesiredWatch {
            desired: self.clone(),
            changes: self.db.watch(&prefix, revision).await?,
            node: node.to_owned(),
            told: None,
        })
    }

    /// The SHA-256 of an image's file, if a VM of the host starts from the image.
    ///
    /// Errors: `NotFound`.
    pub async fn file(
        &self,
        node: &str,
        image: ImageId,
        part: ImagePart,
    ) -> Result<(String, u64), Error> {
        let (ids, _) = store::vm::vm_ids_on(&self.db, node).await?;
        for id in ids {
            let vm: Option<Vm> = load(&self.db, &id).await?;
            if !vm.is_some_and(|vm| vm.images().contains(&image)) {
                continue;
            }
            let found: Option<Image> = load(&self.db, &image).await?;
            if let Some(file) = found.as_ref().and_then(|image| image.file(part)) {
                return Ok((file.sha256.clone(), file.size_bytes));
            }
        }
        Err(Error::not_found(ImageId::KIND, image))
    }
}

/// Images that were read for one telling: many VMs start from the same.
type Images = HashMap<ImageId, Option<Image>>;

/// Follows what one host is told.
pub struct DesiredWatch {
    desired: Desired,
    node: String,
    changes: Watch,
    told: Option<Revision>,
}

impl DesiredWatch {
    /// What the host is to be told next: everything at once the first time, then what changed. Of several changes that
    /// have happened by then, only what they lead to.
    pub async fn next(&mut self) -> Result<News, Error> {
        let Some(told) = self.told else {
            let everything = self.desired.of(&self.node).await?;
            self.told = Some(everything.revision);
            return Ok(everything);
        };
        loop {
            let mut revision = told;
            let mut ids = BTreeSet::new();
            self.change(&mut ids, &mut revision).await?;
            while let Some(more) = self.change(&mut ids, &mut revision).now_or_never() {
                more?;
            }
            // What was read already, with everything, is no news.
            if !ids.is_empty() {
                let news = self.desired.changed(&self.node, ids, revision).await?;
                self.told = Some(revision);
                return Ok(news);
            }
        }
    }

    /// Waits for the next commit that concerns the host, and adds what it is about.
    async fn change(
        &mut self,
        ids: &mut BTreeSet<VmId>,
        revision: &mut Revision,
    ) -> Result<(), Error> {
        let Some(changes) = self.changes.next().await else {
            return Err(Error::Unavailable(
                "the server is stopping: watch again".into(),
            ));
        };
        let told = self.told.unwrap_or_default();
        for change in changes? {
            if change.revision > told {
                *revision = change.revision.max(*revision);
                ids.extend(store::vm::vm_of_host_key(&self.node, &change.key));
            }
        }
        Ok(())
    }
}
