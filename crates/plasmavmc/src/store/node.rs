//! Hosts in the store.

use flaredb::{Db, Error, Record, Transaction};
use photon_resource::{Page, PageRequest, Time};
use serde::{Deserialize, Serialize};

use super::vm::HypervisorRecord;
use crate::model::{Load, Node, Overhead};

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    vcpus: u32,
    memory_mib: u64,
    accelerator: String,
    hypervisors: Vec<HypervisorRecord>,
    agent_version: String,
    #[serde(default)]
    overhead: OverheadRecord,
    #[serde(default)]
    disk_bytes: u64,
    /// As of the last change of anything else: a heartbeat alone is not stored.
    last_seen: Time,
}

#[derive(Serialize, Deserialize, Default)]
struct OverheadRecord {
    per_vm_mib: u32,
    per_vcpu_mib: u32,
    per_gib_mib: u32,
}

impl Record for NodeRecord {
    const KIND: &'static str = "host";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize, Default)]
struct LoadRecord {
    vcpus: u32,
    memory_mib: u64,
    /// `None`: written by a release that counted no more; see [`loads_complete`].
    #[serde(default)]
    more: Option<MoreRecord>,
}

#[derive(Serialize, Deserialize, Default)]
struct MoreRecord {
    vms: u32,
    disk_bytes: u64,
}

impl Record for LoadRecord {
    const KIND: &'static str = "load of a host";
    const VERSION: u32 = 1;
}

impl From<LoadRecord> for Load {
    fn from(record: LoadRecord) -> Self {
        let more = record.more.unwrap_or_default();
        Self {
            vms: more.vms,
            vcpus: record.vcpus,
            memory_mib: record.memory_mib,
            disk_bytes: more.disk_bytes,
        }
    }
}

impl From<Load> for LoadRecord {
    fn from(load: Load) -> Self {
        Self {
            vcpus: load.vcpus,
            memory_mib: load.memory_mib,
            more: Some(MoreRecord {
                vms: load.vms,
                disk_bytes: load.disk_bytes,
            }),
        }
    }
}

const NODES_PREFIX: &str = "node/";

fn node_key(name: &str) -> String {
    format!("{NODES_PREFIX}{name}")
}

const LOADS_PREFIX: &str = "node-load/";

fn load_key(name: &str) -> String {
    format!("{LOADS_PREFIX}{name}")
}

fn into_node(name: &str, record: NodeRecord) -> Node {
    let hypervisors = record.hypervisors.into_iter();
    Node {
        name: name.to_owned(),
        vcpus: record.vcpus,
        memory_mib: record.memory_mib,
        overhead: Overhead {
            per_vm_mib: record.overhead.per_vm_mib,
            per_vcpu_mib: record.overhead.per_vcpu_mib,
            per_gib_mib: record.overhead.per_gib_mib,
        },
        disk_bytes: record.disk_bytes,
        accelerator: record.accelerator,
        hypervisors: hypervisors.map(HypervisorRecord::into_hypervisor).collect(),
        agent_version: record.agent_version,
        last_seen: record.last_seen,
    }
}

/// One host.
pub async fn node_read(tx: &mut Transaction, name: &str) -> Result<Option<Node>, Error> {
    let record = tx.get::<NodeRecord>(&node_key(name)).await?;
    Ok(record.map(|record| into_node(name, record)))
}

/// Stores a host, new or changed.
pub fn node_put(tx: &mut Transaction, node: &Node) -> Result<(), Error> {
    let record = NodeRecord {
        vcpus: node.vcpus,
        memory_mib: node.memory_mib,
        overhead: OverheadRecord {
            per_vm_mib: node.overhead.per_vm_mib,
            per_vcpu_mib: node.overhead.per_vcpu_mib,
            per_gib_mib: node.overhead.per_gib_mib,
        },
        disk_bytes: node.disk_bytes,
        accelerator: node.accelerator.clone(),
        hypervisors: node
            .hypervisors
            .iter()
            .map(|hypervisor| HypervisorRecord::of(*hypervisor))
            .collect(),
        agent_version: node.agent_version.clone(),
        last_seen: node.last_seen,
    };
    tx.put(&node_key(&node.name), &record)
}

/// One page of the hosts, by name.
pub async fn node_page(
    db: &Db,
    request: &PageRequest,
) -> Result<Page<Node>, photon_resource::Error> {
    let after = request.after_in(NODES_PREFIX)?;
    let page = db
        .page::<NodeRecord>(NODES_PREFIX, after, request.size)
        .await?;
    let next_page_token = match page.items.last() {
        Some((key, _)) if page.more => PageRequest::token(key),
        _ => String::new(),
    };
    let nodes = page
        .items
        .into_iter()
        .map(|(key, record)| into_node(&key[NODES_PREFIX.len()..], record));
    Ok(Page {
        items: nodes.collect(),
        next_page_token,
    })
}

/// What VMs take of a host.
pub async fn load_get(db: &Db, name: &str) -> Result<Load, Error> {
    let load = db.get::<LoadRecord>(&load_key(name)).await?;
    Ok(load.unwrap_or_default().into())
}

/// What VMs take of a host, for a change: nobody else can take of it at the same time.
pub async fn load_read(tx: &mut Transaction, name: &str) -> Result<Load, Error> {
    let load = tx.get::<LoadRecord>(&load_key(name)).await?;
    Ok(load.unwrap_or_default().into())
}

/// Takes `taken` of a host and gives `given` back.
pub async fn load_change(
    tx: &mut Transaction,
    name: &str,
    taken: Load,
    given: Load,
) -> Result<(), Error> {
    let load = load_read(tx, name).await?.and(taken).without(given);
    tx.put(&load_key(name), &LoadRecord::from(load))
}

/// Counts what the VMs take of those hosts of which an earlier release counted less. To be done before there are calls.
pub async fn loads_complete(db: &Db) -> Result<(), photon_resource::Error> {
    let known = db.scan::<LoadRecord>(LOADS_PREFIX).await?;
    let counted_less = known.into_iter().filter(|(_, it)| it.more.is_none());
    let keys: Vec<String> = counted_less.map(|(key, _)| key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let loads = super::vm::loads(db).await?;
    for key in keys {
        let load = loads.get(&key[LOADS_PREFIX.len()..]).copied();
        let mut tx = db.begin();
        tx.put(&key, &LoadRecord::from(load.unwrap_or_default()))?;
        let _ = tx.commit().await?;
    }
    Ok(())
}
