//! Hosts in the store.

use flaredb::{Db, Error, Record, Transaction};
use photon_resource::{Page, PageRequest, Time};
use serde::{Deserialize, Serialize};

use super::vm::HypervisorRecord;
use crate::model::{Node, Size};

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    vcpus: u32,
    memory_mib: u64,
    accelerator: String,
    hypervisors: Vec<HypervisorRecord>,
    agent_version: String,
    /// As of the last change of anything else: a heartbeat alone is not stored.
    last_seen: Time,
}

impl Record for NodeRecord {
    const KIND: &'static str = "host";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize, Default)]
struct LoadRecord {
    vcpus: u32,
    memory_mib: u64,
}

impl Record for LoadRecord {
    const KIND: &'static str = "load of a host";
    const VERSION: u32 = 1;
}

const NODES_PREFIX: &str = "node/";

fn node_key(name: &str) -> String {
    format!("{NODES_PREFIX}{name}")
}

fn load_key(name: &str) -> String {
    format!("node-load/{name}")
}

fn into_node(name: &str, record: NodeRecord) -> Node {
    let hypervisors = record.hypervisors.into_iter();
    Node {
        name: name.to_owned(),
        vcpus: record.vcpus,
        memory_mib: record.memory_mib,
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
pub async fn load_get(db: &Db, name: &str) -> Result<Size, Error> {
    let load = db.get::<LoadRecord>(&load_key(name)).await?;
    Ok(size(load))
}

/// What VMs take of a host, for a change: nobody else can take of it at the same time.
pub async fn load_read(tx: &mut Transaction, name: &str) -> Result<Size, Error> {
    let load = tx.get::<LoadRecord>(&load_key(name)).await?;
    Ok(size(load))
}

fn size(load: Option<LoadRecord>) -> Size {
    let load = load.unwrap_or_default();
    Size {
        vcpus: load.vcpus,
        memory_mib: load.memory_mib,
    }
}

/// Takes `taken` of a host and gives `given` back.
pub async fn load_change(
    tx: &mut Transaction,
    name: &str,
    taken: Size,
    given: Size,
) -> Result<(), Error> {
    let used = load_read(tx, name).await?;
    let load = LoadRecord {
        vcpus: (used.vcpus + taken.vcpus).saturating_sub(given.vcpus),
        memory_mib: (used.memory_mib + taken.memory_mib).saturating_sub(given.memory_mib),
    };
    tx.put(&load_key(name), &load)
}
