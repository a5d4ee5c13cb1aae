//! What a host is told: everything that should exist on it, whole.

use flaredb::Db;
use photon_api::plasmavmc::v1 as pb;
use photon_catalog::load;
use photon_resource::{Error, ImageId};

use crate::convert;
use crate::model::{Image, ImagePart, Vm};
use crate::store;

/// Reads what hosts are told. Clones are the same.
#[derive(Clone)]
pub struct Desired {
    db: Db,
    mtu: u32,
}

impl Desired {
    /// `mtu` is that of guests' interfaces.
    pub fn new(db: Db, mtu: u32) -> Self {
        Self { db, mtu }
    }

    /// All VMs of a host. Never newer than its revision says: a VM that changed while this read is read again
    /// at the change.
    pub async fn of(&self, node: &str) -> Result<pb::DesiredVms, Error> {
        let (ids, revision) = store::vm::vm_ids_on(&self.db, node).await?;
        let mut vms = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(vm) = load::<Vm>(&self.db, &id).await? else {
                continue;
            };
            if vm.node != node || !vm.stage.is_on_host() {
                continue;
            }
            let mut images = Vec::new();
            for image in vm.images() {
                images.extend(load::<Image>(&self.db, &image).await?);
            }
            vms.push(convert::desired_to_wire(&vm, &images, self.mtu));
        }
        let left = store::vm::vms_left_on(&self.db, node).await?;
        vms.extend(left.iter().map(convert::left_to_wire));
        Ok(pb::DesiredVms { revision, vms })
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
