//! VMs in the store.

use std::collections::HashMap;

use async_trait::async_trait;
use flaredb::{Db, KeyValue, Revision, Transaction, decode};
use photon_catalog::feed::Changed;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, Reference, Stored, insert, remove, replace};
use photon_resource::{Error, Kind, OrgId, PortId, ProjectId, Scope, VmId};
use serde::{Deserialize, Serialize};

use super::image::users_of_image;
use crate::model::{Load, Size, Vm, kind};

mod record;
#[cfg(test)]
mod tests;

pub(super) use record::HypervisorRecord;
use record::{DesiredRecord, StatusRecord};

/// One more with each change, so that rewriting it is a change.
#[derive(Serialize, Deserialize)]
struct OnHostRecord {
    change: u64,
}

impl flaredb::Record for OnHostRecord {
    const KIND: &'static str = "VM on a host";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct RefusedRecord {
    reason: String,
}

impl flaredb::Record for RefusedRecord {
    const KIND: &'static str = "refused VM";
    const VERSION: u32 = 1;
}

/// What was on a host that was given up.
#[derive(Serialize, Deserialize)]
struct LeftRecord {
    org: OrgId,
    project: ProjectId,
    name: String,
}

impl flaredb::Record for LeftRecord {
    const KIND: &'static str = "VM left on a lost host";
    const VERSION: u32 = 1;
}

/// A VM that is gone for its owner, and may still be on a host that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub id: VmId,
    pub org_id: OrgId,
    pub project_id: ProjectId,
    pub name: String,
}

impl Left {
    fn of(id: VmId, record: LeftRecord) -> Self {
        Self {
            id,
            org_id: record.org,
            project_id: record.project,
            name: record.name,
        }
    }
}

/// What a host's stream follows.
pub fn host_prefix(node: &str) -> String {
    format!("vm-on/{node}/")
}

/// The VM that a change under [`host_prefix`] is about.
pub fn vm_of_host_key(node: &str, key: &str) -> Option<VmId> {
    let rest = key.strip_prefix(&host_prefix(node))?;
    rest.strip_prefix("left/").unwrap_or(rest).parse().ok()
}

/// Under [`host_prefix`], so that the host hears of it.
fn left_prefix(node: &str) -> String {
    format!("{}left/", host_prefix(node))
}

fn status_key(id: &VmId) -> String {
    format!("vm/{id}/status")
}

fn work_key(id: VmId) -> String {
    format!("vm-work/{id}")
}

fn uid_key(id: VmId) -> String {
    format!("vm-uid/{}", id.unix_uid())
}

fn port_key(port: PortId) -> String {
    format!("vm-port/{port}")
}

fn refused_key(id: VmId) -> String {
    format!("vm-refused/{id}")
}

#[async_trait]
impl Stored for Vm {
    type Id = VmId;
    type Record = DesiredRecord;
    const TABLE: &'static str = "vm";
    const KIND: Kind = kind::VMS;

    fn id(&self) -> VmId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        let Size { vcpus, memory_mib } = self.spec.size;
        let disks = self.spec.disks.iter();
        vec![
            ("vms", 1),
            ("vcpus", vcpus.into()),
            ("memory_mib", memory_mib),
            ("disk_bytes", disks.map(|disk| disk.size_bytes).sum()),
        ]
    }

    fn further_attributes(&self) -> Vec<(String, String)> {
        vec![("node".to_owned(), self.node.clone())]
    }

    fn restore(id: VmId, record: DesiredRecord) -> Result<Self, Error> {
        Ok(record.into_vm(id, None))
    }

    fn key(id: &VmId) -> String {
        format!("vm/{id}/desired")
    }

    fn keys(id: &VmId) -> Vec<String> {
        vec![Self::key(id), status_key(id)]
    }

    fn assemble(id: VmId, parts: Vec<Option<KeyValue>>) -> Result<Option<Self>, Error> {
        let mut parts = parts.into_iter();
        let (desired, status) = (parts.next().flatten(), parts.next().flatten());
        let Some(desired) = desired else {
            return Ok(None);
        };
        let desired: DesiredRecord = decode(&desired.key, &desired.value)?;
        let status = status.map(|status| decode::<StatusRecord>(&status.key, &status.value));
        Ok(Some(desired.into_vm(id, status.transpose()?)))
    }

    fn id_of_key(key: &str) -> Option<VmId> {
        let (id, _) = key.strip_prefix("vm/")?.split_once('/')?;
        id.parse().ok()
    }

    fn changed(id: &VmId, change: &flaredb::Change) -> Result<Changed<Self>, Error> {
        let gone = change.value.is_none() && change.key == Self::key(id);
        Ok(if gone { Changed::Gone } else { Changed::Part })
    }

    async fn read(tx: &mut Transaction, id: &VmId) -> Result<Option<Self>, Error> {
        Ok(vm_read(tx, *id).await?.map(|(vm, _)| vm))
    }

    /// With what follows from its stage: whether its host hears of it, and whether the server has work to do.
    fn write(&self, tx: &mut Transaction) -> Result<(), Error> {
        let desired = DesiredRecord::from(self);
        let change = desired.change;
        tx.put(&Self::key(&self.id), &desired)?;
        vm_update_status(tx, self)?;
        let on_host = format!("{}{}", host_prefix(&self.node), self.id);
        if self.stage.is_on_host() {
            tx.put(&on_host, &OnHostRecord { change })?;
        } else {
            tx.delete(&on_host);
        }
        if self.stage.is_servers() {
            tx.put(&work_key(self.id), &Reference::to(self.id))?;
        } else {
            tx.delete(&work_key(self.id));
        }
        Ok(())
    }
}

/// The VM for a change, with the revision of the last change of what is wanted of it.
pub async fn vm_read(tx: &mut Transaction, id: VmId) -> Result<Option<(Vm, Revision)>, Error> {
    let desired = tx.get_with_revision::<DesiredRecord>(&Vm::key(&id)).await?;
    let Some((desired, revision)) = desired else {
        return Ok(None);
    };
    let status = tx.get::<StatusRecord>(&status_key(&id)).await?;
    Ok(Some((desired.into_vm(id, status), revision)))
}

/// Whether another VM has the unix user that follows from this id: then it can be nobody's.
pub async fn vm_id_is_taken(tx: &mut Transaction, id: VmId) -> Result<bool, Error> {
    Ok(tx.get::<Reference>(&uid_key(id)).await?.is_some())
}

/// Adds a VM whose id [`vm_id_is_taken`] said to be free.
///
/// Errors: `AlreadyExists` when the name is taken; `FailedPrecondition` when another VM has a port.
pub async fn vm_create(tx: &mut Transaction, vm: &Vm) -> Result<(), Error> {
    insert(tx, vm).await?;
    let entry = Reference::to(vm.id);
    tx.put(&uid_key(vm.id), &entry)?;
    for interface in &vm.spec.network {
        let port = interface.port_id;
        if let Some(other) = tx.get::<Reference>(&port_key(port)).await? {
            return Err(Error::FailedPrecondition(format!(
                "port {port} can't be attached: VM {} has it; delete that VM, or use another port",
                other.id
            )));
        }
        tx.put(&port_key(port), &entry)?;
    }
    for image in vm.images() {
        users_of_image(image).add(tx, vm.id)?;
    }
    Ok(())
}

/// Stores a changed VM that was read in this transaction as `before`. Errors: `AlreadyExists` when its new name is
/// taken.
pub async fn vm_update(tx: &mut Transaction, before: &Vm, after: &Vm) -> Result<(), Error> {
    replace(tx, before, after).await
}

/// Stores what a host reported, and nothing else: the owner's changes at the same time do not conflict.
pub fn vm_update_status(tx: &mut Transaction, vm: &Vm) -> Result<(), Error> {
    tx.put(&status_key(&vm.id), &StatusRecord::of(&vm.status))?;
    Ok(())
}

/// Notes that a VM may still be on its host, which was given up.
pub fn vm_leave(tx: &mut Transaction, vm: &Vm) -> Result<(), Error> {
    let record = LeftRecord {
        org: vm.meta.org_id.clone(),
        project: vm.meta.project_id.clone(),
        name: vm.meta.name.clone(),
    };
    tx.put(&format!("{}{}", left_prefix(&vm.node), vm.id), &record)?;
    Ok(())
}

/// What was left on a host that was given up.
pub async fn vms_left_on(db: &Db, node: &str) -> Result<Vec<Left>, Error> {
    let prefix = left_prefix(node);
    let found = db.scan::<LeftRecord>(&prefix).await?;
    let left = found
        .into_iter()
        .filter_map(|(key, record)| Some(Left::of(key[prefix.len()..].parse().ok()?, record)));
    Ok(left.collect())
}

/// What was left of a VM on a host that was given up, if it was.
pub async fn vm_left_get(db: &Db, node: &str, id: VmId) -> Result<Option<Left>, Error> {
    let key = format!("{}{id}", left_prefix(node));
    let record = db.get::<LeftRecord>(&key).await?;
    Ok(record.map(|record| Left::of(id, record)))
}

/// Takes the note back, if there is one: the host has removed the VM.
pub async fn vm_left_remove(
    tx: &mut Transaction,
    node: &str,
    id: VmId,
) -> Result<Option<Left>, Error> {
    let key = format!("{}{id}", left_prefix(node));
    let Some(record) = tx.get::<LeftRecord>(&key).await? else {
        return Ok(None);
    };
    tx.delete(&key);
    Ok(Some(Left::of(id, record)))
}

/// Removes all of a VM's records.
pub fn vm_remove(tx: &mut Transaction, vm: &Vm) {
    remove(tx, vm);
    tx.delete(&format!("{}{}", host_prefix(&vm.node), vm.id));
    tx.delete(&work_key(vm.id));
    tx.delete(&uid_key(vm.id));
    for interface in &vm.spec.network {
        tx.delete(&port_key(interface.port_id));
    }
    for image in vm.images() {
        users_of_image(image).remove(tx, vm.id);
    }
}

/// What all VMs take of their hosts, counted one by one.
pub async fn loads(db: &Db) -> Result<HashMap<String, Load>, Error> {
    const AT_ONCE: usize = 500;
    let mut loads: HashMap<String, Load> = HashMap::new();
    let mut after: Option<String> = None;
    loop {
        let scan = db.scan_raw("vm/", after.as_deref(), AT_ONCE).await?;
        for item in &scan.items {
            let Some(id) = Vm::id_of_key(&item.key).filter(|id| item.key == Vm::key(id)) else {
                continue;
            };
            let vm = decode::<DesiredRecord>(&item.key, &item.value)?.into_vm(id, None);
            let load = loads.entry(vm.node).or_default();
            *load = load.and(vm.spec.load());
        }
        match scan.items.last() {
            Some(last) if scan.items.len() == AT_ONCE => after = Some(last.key.clone()),
            _ => return Ok(loads),
        }
    }
}

/// Ids of the VMs that a host is told of, as of the revision that is given with them.
pub async fn vm_ids_on(db: &Db, node: &str) -> Result<(Vec<VmId>, Revision), Error> {
    let prefix = host_prefix(node);
    let scan = db.scan_raw(&prefix, None, usize::MAX).await?;
    let ids = scan
        .items
        .iter()
        .filter_map(|item| item.key[prefix.len()..].parse().ok());
    Ok((ids.collect(), scan.revision))
}

/// VMs for which the server has work to do.
pub async fn vm_ids_with_work(db: &Db) -> Result<Vec<VmId>, Error> {
    let found = db.scan::<Reference>("vm-work/").await?;
    found
        .into_iter()
        .map(|(_, entry)| entry.id.parse())
        .collect()
}

/// Keeps for repeated calls why the VM's creation was undone.
pub fn vm_refused_put(
    tx: &mut Transaction,
    id: VmId,
    reason: &str,
    lease: flaredb::LeaseId,
) -> Result<(), Error> {
    let reason = reason.to_owned();
    tx.put_with_lease(&refused_key(id), &RefusedRecord { reason }, lease)?;
    Ok(())
}

/// Why the VM's creation was undone, if it was.
pub async fn vm_refused_get(db: &Db, id: VmId) -> Result<Option<String>, Error> {
    let record = db.get::<RefusedRecord>(&refused_key(id)).await?;
    Ok(record.map(|record| record.reason))
}
