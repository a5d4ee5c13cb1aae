//! Hosts in the store.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use flaredb::{Change, Db, Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

use crate::model::{GatewayHost, Node};

/// Table of hosts: their names are the ids.
pub(super) const TABLE: &str = "node";

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    tunnel_address: Ipv4Addr,
}

impl Record for NodeRecord {
    const KIND: &'static str = "host";
    const VERSION: u32 = 1;
}

impl NodeRecord {
    fn into_node(self, name: &str) -> Node {
        Node {
            name: name.to_owned(),
            tunnel_address: self.tunnel_address,
        }
    }
}

/// Where a host's record is.
pub fn node_key(name: &str) -> String {
    format!("{TABLE}/{name}")
}

/// One host; `None`: it has not said yet where it is, or another has its address now.
pub async fn node_read(tx: &mut Transaction, name: &str) -> Result<Option<Node>, Error> {
    let record: Option<NodeRecord> = tx.get(&node_key(name)).await?;
    Ok(record.map(|record| record.into_node(name)))
}

/// Stores a host, new or changed.
pub fn node_put(tx: &mut Transaction, node: &Node) -> Result<(), Error> {
    let record = NodeRecord {
        tunnel_address: node.tunnel_address,
    };
    tx.put(&node_key(&node.name), &record)?;
    Ok(())
}

/// Removes a host whose address another has.
pub fn node_delete(tx: &mut Transaction, name: &str) {
    tx.delete(&node_key(name));
}

/// All hosts.
pub(super) async fn nodes(db: &Db) -> Result<Vec<Node>, Error> {
    let prefix = node_key("");
    let records = db.scan::<NodeRecord>(&prefix).await?;
    let nodes = records.into_iter();
    Ok(nodes
        .map(|(key, record)| record.into_node(&key[prefix.len()..]))
        .collect())
}

/// The host `name` as it is after a change of its record.
pub(super) fn node_changed(name: &str, change: &Change) -> Result<Option<Node>, Error> {
    let record = change.record::<NodeRecord>()?;
    Ok(record.map(|record| record.into_node(name)))
}

/// Table of hosts with interfaces in external networks.
pub(super) const GATEWAY_TABLE: &str = "gateway-host";

#[derive(Serialize, Deserialize)]
struct GatewayHostRecord {
    external_networks: BTreeSet<String>,
}

impl Record for GatewayHostRecord {
    const KIND: &'static str = "host of gateways";
    const VERSION: u32 = 1;
}

impl GatewayHostRecord {
    fn into_host(self, name: &str) -> GatewayHost {
        GatewayHost {
            name: name.to_owned(),
            external_networks: self.external_networks,
        }
    }
}

/// Where the record of such a host is.
pub fn gateway_host_key(name: &str) -> String {
    format!("{GATEWAY_TABLE}/{name}")
}

/// Which external networks a host has interfaces in; `None`: in none.
pub async fn gateway_host_read(
    tx: &mut Transaction,
    name: &str,
) -> Result<Option<GatewayHost>, Error> {
    let record: Option<GatewayHostRecord> = tx.get(&gateway_host_key(name)).await?;
    Ok(record.map(|record| record.into_host(name)))
}

/// Stores it; a host without such interfaces has no record.
pub fn gateway_host_put(tx: &mut Transaction, host: &GatewayHost) -> Result<(), Error> {
    let key = gateway_host_key(&host.name);
    if host.external_networks.is_empty() {
        tx.delete(&key);
        return Ok(());
    }
    let record = GatewayHostRecord {
        external_networks: host.external_networks.clone(),
    };
    tx.put(&key, &record)?;
    Ok(())
}

/// All such hosts.
pub(super) async fn gateway_hosts(db: &Db) -> Result<Vec<GatewayHost>, Error> {
    let prefix = gateway_host_key("");
    let records = db.scan::<GatewayHostRecord>(&prefix).await?;
    let hosts = records.into_iter();
    Ok(hosts
        .map(|(key, record)| record.into_host(&key[prefix.len()..]))
        .collect())
}

/// The host `name` as it is after a change of its record.
pub(super) fn gateway_host_changed(
    name: &str,
    change: &Change,
) -> Result<Option<GatewayHost>, Error> {
    let record = change.record::<GatewayHostRecord>()?;
    Ok(record.map(|record| record.into_host(name)))
}
