//! The store as a feed of resources, for whoever keeps all of them in memory.

use flaredb::{Change, Db, Revision};
use photon_catalog::Stored;
use photon_resource::{
    Error, ExternalNetworkId, FloatingIpId, NatGatewayId, PeeringId, PortId, RouteId,
    SecurityGroupId, SubnetId, VpcId,
};

use super::node::{self, gateway_host_changed, node_changed};
use crate::model::{
    ExternalNetwork, FloatingIp, GatewayHost, NatGateway, Node, Peering, Port, Route,
    SecurityGroup, Subnet, Vpc,
};

/// A resource as it is now; `None`: it was deleted.
#[derive(Clone, Debug)]
pub enum Changed {
    Vpc(VpcId, Option<Vpc>),
    Subnet(SubnetId, Option<Subnet>),
    Port(PortId, Option<Port>),
    SecurityGroup(SecurityGroupId, Option<SecurityGroup>),
    /// A host, by its name.
    Node(String, Option<Node>),
    ExternalNetwork(ExternalNetworkId, Option<ExternalNetwork>),
    NatGateway(NatGatewayId, Option<NatGateway>),
    FloatingIp(FloatingIpId, Option<FloatingIp>),
    Route(RouteId, Option<Route>),
    Peering(PeeringId, Option<Peering>),
    /// A host with interfaces in external networks, by its name.
    GatewayHost(String, Option<GatewayHost>),
}

/// What a change of the store means; `None`: nothing to a resource (an index, an event).
///
/// Errors: `Internal` for a record that can't be read, as one of a newer program.
pub fn changed(change: &Change) -> Result<Option<Changed>, Error> {
    let Some((table, id)) = change.key.split_once('/') else {
        return Ok(None);
    };
    Ok(match table {
        Vpc::TABLE => Some(Changed::Vpc(id.parse()?, now(id.parse()?, change)?)),
        Subnet::TABLE => Some(Changed::Subnet(id.parse()?, now(id.parse()?, change)?)),
        Port::TABLE => Some(Changed::Port(id.parse()?, now(id.parse()?, change)?)),
        SecurityGroup::TABLE => {
            let group = now(id.parse()?, change)?;
            Some(Changed::SecurityGroup(id.parse()?, group))
        }
        node::TABLE => Some(Changed::Node(id.to_owned(), node_changed(id, change)?)),
        ExternalNetwork::TABLE => {
            let network = now(id.parse()?, change)?;
            Some(Changed::ExternalNetwork(id.parse()?, network))
        }
        NatGateway::TABLE => Some(Changed::NatGateway(id.parse()?, now(id.parse()?, change)?)),
        FloatingIp::TABLE => Some(Changed::FloatingIp(id.parse()?, now(id.parse()?, change)?)),
        Route::TABLE => Some(Changed::Route(id.parse()?, now(id.parse()?, change)?)),
        Peering::TABLE => Some(Changed::Peering(id.parse()?, now(id.parse()?, change)?)),
        node::GATEWAY_TABLE => {
            let host = gateway_host_changed(id, change)?;
            Some(Changed::GatewayHost(id.to_owned(), host))
        }
        _ => None,
    })
}

fn now<R: Stored>(id: R::Id, change: &Change) -> Result<Option<R>, Error> {
    let record = change.record::<R::Record>()?;
    record.map(|record| R::restore(id, record)).transpose()
}

/// All resources of all types. They may be of different revisions, none older than the one returned: applying
/// the changes after that gives a consistent picture.
pub async fn everything(db: &Db) -> Result<(Vec<Changed>, Revision), Error> {
    let revision = db.revision().await?;
    let mut all = Vec::new();
    for vpc in table::<Vpc>(db).await? {
        all.push(Changed::Vpc(vpc.id, Some(vpc)));
    }
    for subnet in table::<Subnet>(db).await? {
        all.push(Changed::Subnet(subnet.id, Some(subnet)));
    }
    for group in table::<SecurityGroup>(db).await? {
        all.push(Changed::SecurityGroup(group.id, Some(group)));
    }
    for port in table::<Port>(db).await? {
        all.push(Changed::Port(port.id, Some(port)));
    }
    for node in node::nodes(db).await? {
        all.push(Changed::Node(node.name.clone(), Some(node)));
    }
    for network in table::<ExternalNetwork>(db).await? {
        all.push(Changed::ExternalNetwork(network.id, Some(network)));
    }
    for gateway in table::<NatGateway>(db).await? {
        all.push(Changed::NatGateway(gateway.id, Some(gateway)));
    }
    for floating in table::<FloatingIp>(db).await? {
        all.push(Changed::FloatingIp(floating.id, Some(floating)));
    }
    for route in table::<Route>(db).await? {
        all.push(Changed::Route(route.id, Some(route)));
    }
    for peering in table::<Peering>(db).await? {
        all.push(Changed::Peering(peering.id, Some(peering)));
    }
    for host in node::gateway_hosts(db).await? {
        all.push(Changed::GatewayHost(host.name.clone(), Some(host)));
    }
    Ok((all, revision))
}

async fn table<R: Stored>(db: &Db) -> Result<Vec<R>, Error> {
    let prefix = format!("{}/", R::TABLE);
    let records = db.scan::<R::Record>(&prefix).await?;
    records
        .into_iter()
        .map(|(key, record)| R::restore(key[prefix.len()..].parse()?, record))
        .collect()
}
