//! VMs in the store.

use std::collections::HashSet;

use flaredb::{Db, Error, Revision, Transaction, decode};
use photon_resource::{OrgId, PortId, ProjectId, Scope, VmId};
use serde::{Deserialize, Serialize};

use super::IdRecord;
use crate::model::Vm;

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

/// What a watcher of one VM follows.
pub fn vm_prefix(id: VmId) -> String {
    format!("vm/{id}/")
}

/// What a watcher of all VMs follows.
pub const VMS_PREFIX: &str = "vm/";

/// The VM that a change under [`VMS_PREFIX`] is about.
pub fn vm_of_key(key: &str) -> Option<VmId> {
    key.strip_prefix(VMS_PREFIX)?
        .split('/')
        .next()?
        .parse()
        .ok()
}

/// What a host's stream follows.
pub fn host_prefix(node: &str) -> String {
    format!("vm-on/{node}/")
}

/// Under [`host_prefix`], so that the host hears of it.
fn left_prefix(node: &str) -> String {
    format!("{}left/", host_prefix(node))
}

fn desired_key(id: VmId) -> String {
    format!("vm/{id}/desired")
}

fn status_key(id: VmId) -> String {
    format!("vm/{id}/status")
}

fn name_key(org: &OrgId, project: &ProjectId, name: &str) -> String {
    format!("vm-name/{org}/{project}/{name}")
}

fn list_prefix(scope: &Scope) -> String {
    match scope {
        Scope::System => "vm-in/".to_owned(),
        Scope::Org(org) => format!("vm-in/{org}/"),
        Scope::Project(org, project) => format!("vm-in/{org}/{project}/"),
    }
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

/// The VM as of one revision of the store, which is given with it.
pub async fn vm_get(db: &Db, id: VmId) -> Result<(Option<Vm>, Revision), Error> {
    let scan = db.scan_raw(&vm_prefix(id), None, 2).await?;
    let (mut desired, mut status) = (None, None);
    for item in &scan.items {
        if item.key == desired_key(id) {
            desired = Some(decode::<DesiredRecord>(&item.key, &item.value)?);
        } else if item.key == status_key(id) {
            status = Some(decode::<StatusRecord>(&item.key, &item.value)?);
        }
    }
    let vm = desired.map(|desired| desired.into_vm(id, status));
    Ok((vm, scan.revision))
}

/// The VM for a change, with the revision of the last change of what is wanted of it.
pub async fn vm_read(tx: &mut Transaction, id: VmId) -> Result<Option<(Vm, Revision)>, Error> {
    let desired = tx
        .get_with_revision::<DesiredRecord>(&desired_key(id))
        .await?;
    let Some((desired, revision)) = desired else {
        return Ok(None);
    };
    let status = tx.get::<StatusRecord>(&status_key(id)).await?;
    Ok(Some((desired.into_vm(id, status), revision)))
}

/// The VM of this name.
pub async fn vm_by_name(
    db: &Db,
    org: &OrgId,
    project: &ProjectId,
    name: &str,
) -> Result<Option<VmId>, Error> {
    let entry = db
        .get::<IdRecord<VmId>>(&name_key(org, project, name))
        .await?;
    Ok(entry.map(|entry| entry.id))
}

/// What of a new VM is taken already.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The project has a VM of this name.
    Name,
    /// Another VM has the port.
    Port(PortId, VmId),
    /// Another VM has the unix user that follows from the id: make another id.
    Uid,
}

/// Adds a VM. What is refused as taken must not be committed.
pub async fn vm_insert(tx: &mut Transaction, vm: &Vm) -> Result<Result<(), Taken>, Error> {
    let name = name_key(&vm.org_id, &vm.project_id, &vm.name);
    if tx.get::<IdRecord<VmId>>(&name).await?.is_some() {
        return Ok(Err(Taken::Name));
    }
    let uid = uid_key(vm.id);
    if tx.get::<IdRecord<VmId>>(&uid).await?.is_some() {
        return Ok(Err(Taken::Uid));
    }
    let entry = IdRecord { id: vm.id };
    for interface in &vm.spec.network {
        let key = port_key(interface.port_id);
        if let Some(other) = tx.get::<IdRecord<VmId>>(&key).await? {
            return Ok(Err(Taken::Port(interface.port_id, other.id)));
        }
        tx.put(&key, &entry)?;
    }
    for image in vm.images() {
        super::image::image_user_add(tx, image, vm.id).await?;
    }
    tx.put(&name, &entry)?;
    tx.put(&uid, &entry)?;
    tx.put(&format!("{}{}", list_prefix(&vm.scope()), vm.id), &entry)?;
    write(tx, vm, 1)?;
    Ok(Ok(()))
}

/// Stores a changed VM that was read in this transaction as `before`.
///
/// `Err(Taken::Name)` if its new name is another's.
pub async fn vm_update(
    tx: &mut Transaction,
    before: &Vm,
    after: &Vm,
) -> Result<Result<(), Taken>, Error> {
    if after.name != before.name {
        let name = name_key(&after.org_id, &after.project_id, &after.name);
        if tx.get::<IdRecord<VmId>>(&name).await?.is_some() {
            return Ok(Err(Taken::Name));
        }
        tx.delete(&name_key(&before.org_id, &before.project_id, &before.name));
        tx.put(&name, &IdRecord { id: after.id })?;
    }
    let stored = tx.get::<DesiredRecord>(&desired_key(after.id)).await?;
    let change = stored.map_or(0, |stored| stored.change) + 1;
    write(tx, after, change)?;
    Ok(Ok(()))
}

/// Stores what a host reported, and nothing else: the owner's changes at the same time do not conflict.
pub fn vm_update_status(tx: &mut Transaction, vm: &Vm) -> Result<(), Error> {
    tx.put(&status_key(vm.id), &StatusRecord::of(&vm.status))
}

fn write(tx: &mut Transaction, vm: &Vm, change: u64) -> Result<(), Error> {
    tx.put(&desired_key(vm.id), &DesiredRecord::of(vm, change))?;
    tx.put(&status_key(vm.id), &StatusRecord::of(&vm.status))?;
    let on_host = format!("{}{}", host_prefix(&vm.node), vm.id);
    if vm.stage.is_on_host() {
        tx.put(&on_host, &OnHostRecord { change })?;
    } else {
        tx.delete(&on_host);
    }
    if vm.stage.is_servers() {
        tx.put(&work_key(vm.id), &IdRecord { id: vm.id })?;
    } else {
        tx.delete(&work_key(vm.id));
    }
    Ok(())
}

/// Notes that a VM may still be on its host, which was given up.
pub fn vm_leave(tx: &mut Transaction, vm: &Vm) -> Result<(), Error> {
    let record = LeftRecord {
        org: vm.org_id.clone(),
        project: vm.project_id.clone(),
        name: vm.name.clone(),
    };
    tx.put(&format!("{}{}", left_prefix(&vm.node), vm.id), &record)
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
    tx.delete(&desired_key(vm.id));
    tx.delete(&status_key(vm.id));
    tx.delete(&name_key(&vm.org_id, &vm.project_id, &vm.name));
    tx.delete(&format!("{}{}", list_prefix(&vm.scope()), vm.id));
    tx.delete(&format!("{}{}", host_prefix(&vm.node), vm.id));
    tx.delete(&work_key(vm.id));
    tx.delete(&uid_key(vm.id));
    for interface in &vm.spec.network {
        tx.delete(&port_key(interface.port_id));
    }
    for image in vm.images() {
        super::image::image_user_remove(tx, image, vm.id);
    }
}

/// Ids of the VMs of a scope in the order of lists: at most `limit` after the list key `after`.
/// Gives each with its list key, and whether there are more.
pub async fn vm_ids_in(
    db: &Db,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<(String, VmId)>, bool), Error> {
    let page = db
        .page::<IdRecord<VmId>>(&list_prefix(scope), after, limit)
        .await?;
    let ids = page.items.into_iter().map(|(key, entry)| (key, entry.id));
    Ok((ids.collect(), page.more))
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
    let found = db.scan::<IdRecord<VmId>>("vm-work/").await?;
    Ok(found.into_iter().map(|(_, entry)| entry.id).collect())
}

/// Keeps for repeated calls why the VM's creation was undone.
pub fn vm_refused_put(
    tx: &mut Transaction,
    id: VmId,
    reason: &str,
    lease: flaredb::LeaseId,
) -> Result<(), Error> {
    let reason = reason.to_owned();
    tx.put_with_lease(&refused_key(id), &RefusedRecord { reason }, lease)
}

/// Why the VM's creation was undone, if it was.
pub async fn vm_refused_get(db: &Db, id: VmId) -> Result<Option<String>, Error> {
    let record = db.get::<RefusedRecord>(&refused_key(id)).await?;
    Ok(record.map(|record| record.reason))
}

/// The bytes that digests in events are of.
pub fn vm_bytes(vm: &Vm) -> Result<Vec<u8>, Error> {
    flaredb::encode(&desired_key(vm.id), &DesiredRecord::of(vm, 0))
}

/// The distinct ids among what a watch told of.
pub fn changed_vms(changes: &[flaredb::Change]) -> HashSet<VmId> {
    changes
        .iter()
        .filter_map(|change| vm_of_key(&change.key))
        .collect()
}
