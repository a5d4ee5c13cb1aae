//! Where a host's end of the tunnels is, as its certificate says, and which external networks it has interfaces in, as it says
//! itself.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use flaredb::Transaction;
use photon_catalog::{Change, Effect, commit};
use photon_resource::Error;
use photon_service::Mutation;

use super::Nodes;
use crate::model::{GatewayHost, Node};
use crate::store;

impl Nodes {
    /// Takes in that `node` is reached at `tunnel_address`; stored, and an event, only if that is news. Another host that had
    /// the address has it no more: its record goes, so that there are never more than hosts with an address of their own.
    ///
    /// Errors: those of the store.
    pub async fn register(
        &self,
        mutation: Mutation,
        node: &str,
        tunnel_address: Ipv4Addr,
    ) -> Result<(), Error> {
        self.followed.settled(&self.db).await?;
        let node = Node {
            name: node.to_owned(),
            tunnel_address,
        };
        let known: BTreeSet<String> = self.read().nodes_at(tunnel_address);
        if known == BTreeSet::from([node.name.clone()]) {
            return Ok(());
        }
        let mut change = Register { node, known };
        commit(&self.db, mutation, &mut change, |()| ()).await?;
        let Node { name, .. } = change.node;
        tracing::info!(node = name, %tunnel_address, "host registered");
        Ok(())
    }

    /// Takes in which external networks a host has interfaces in; stored, and an event, only if that is news.
    ///
    /// Errors: `InvalidArgument`, those of the store.
    pub async fn register_external(
        &self,
        mutation: Mutation,
        host: GatewayHost,
    ) -> Result<(), Error> {
        host.validate()?;
        self.followed.settled(&self.db).await?;
        if self.read().external_networks_of(&host.name) == host.external_networks {
            return Ok(());
        }
        let mut change = RegisterExternal { host };
        commit(&self.db, mutation, &mut change, |()| ()).await?;
        let GatewayHost {
            name,
            external_networks,
        } = change.host;
        tracing::info!(
            node = name,
            ?external_networks,
            "external networks of a host"
        );
        Ok(())
    }
}

struct RegisterExternal {
    host: GatewayHost,
}

#[async_trait]
impl Change for RegisterExternal {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let name = &self.host.name;
        let before = store::gateway_host_read(tx, name).await?;
        let before = before.map(|it| it.external_networks).unwrap_or_default();
        if before == self.host.external_networks {
            return Ok(Effect::nothing(()));
        }
        store::gateway_host_put(tx, &self.host)?;
        let resource = Node::resource_name(name);
        let key = store::gateway_host_key(name);
        Ok(Effect::at(resource, key, ()))
    }
}

struct Register {
    node: Node,
    /// Hosts that had the address when it was looked.
    known: BTreeSet<String>,
}

#[async_trait]
impl Change for Register {
    type Value = ();

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<()>, Error> {
        let name = &self.node.name;
        let before = store::node_read(tx, name).await?;
        let mut gone = false;
        for other in self.known.iter().filter(|other| *other != name) {
            let theirs = store::node_read(tx, other).await?;
            if theirs.is_some_and(|it| it.tunnel_address == self.node.tunnel_address) {
                store::node_delete(tx, other);
                gone = true;
            }
        }
        if !gone && before.as_ref() == Some(&self.node) {
            return Ok(Effect::nothing(()));
        }
        store::node_put(tx, &self.node)?;
        let resource = Node::resource_name(name);
        Ok(Effect::at(resource, store::node_key(name), ()))
    }
}
