//! External networks in the store, and the addresses of them that are somebody's.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use flaredb::{Db, Record, Transaction};
use ipnet::Ipv4Net;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, Reference, Stored, Users, insert, load_many, remove, replace};
use photon_resource::{
    Error, ExternalNetworkId, FloatingIpId, Kind, Labels, NatGatewayId, OrgId, PrincipalId, Scope,
    Time,
};
use serde::{Deserialize, Serialize};

use super::users;
use crate::model::{AddressRange, ExternalNetwork, FloatingIp, NatGateway, kind};

/// The stored form of an external network.
#[derive(Serialize, Deserialize)]
pub struct ExternalNetworkRecord {
    owner: PrincipalId,
    name: String,
    description: String,
    labels: Labels,
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
    pools: Vec<RangeRecord>,
    org_ids: BTreeSet<OrgId>,
    created_at: Time,
    updated_at: Time,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct RangeRecord {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl Record for ExternalNetworkRecord {
    const KIND: &'static str = "external network";
    const VERSION: u32 = 1;
}

impl From<&ExternalNetwork> for ExternalNetworkRecord {
    fn from(network: &ExternalNetwork) -> Self {
        let range = |&AddressRange { first, last }: &AddressRange| RangeRecord { first, last };
        Self {
            owner: network.owner,
            name: network.name.clone(),
            description: network.description.clone(),
            labels: network.labels.clone(),
            cidr: network.cidr,
            gateway: network.gateway,
            pools: network.pools.iter().map(range).collect(),
            org_ids: network.org_ids.clone(),
            created_at: network.created_at,
            updated_at: network.updated_at,
            revision: network.revision,
        }
    }
}

/// No organization or project can be called `-`.
const SYSTEM: &str = "-/-";

impl Stored for ExternalNetwork {
    type Id = ExternalNetworkId;
    type Record = ExternalNetworkRecord;
    const TABLE: &'static str = "external-network";
    const KIND: Kind = kind::EXTERNAL_NETWORKS;
    const OF_SYSTEM: bool = true;

    fn id(&self) -> ExternalNetworkId {
        self.id
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    fn common(&self) -> Common<'_> {
        Common {
            name: Some(&self.name),
            owner: Some(self.owner),
            labels: Some(&self.labels),
            revision: self.revision,
        }
    }

    /// It is the cloud's own: how many there are is bounded where they are made.
    fn uses(&self) -> Uses {
        Uses::new()
    }

    fn name_key(scope: &Scope, name: &str) -> Option<String> {
        match scope {
            Scope::System => Some(format!("{}-name/{SYSTEM}/{name}", Self::TABLE)),
            _ => None,
        }
    }

    fn list_key(&self) -> String {
        format!("{}-in/{SYSTEM}/{}", Self::TABLE, self.id)
    }

    fn restore(id: ExternalNetworkId, record: ExternalNetworkRecord) -> Result<Self, Error> {
        let range = |RangeRecord { first, last }: RangeRecord| AddressRange { first, last };
        Ok(Self {
            id,
            owner: record.owner,
            name: record.name,
            description: record.description,
            labels: record.labels,
            cidr: record.cidr,
            gateway: record.gateway,
            pools: record.pools.into_iter().map(range).collect(),
            org_ids: record.org_ids,
            created_at: record.created_at,
            updated_at: record.updated_at,
            revision: record.revision,
        })
    }
}

/// All external networks, as whoever makes or changes one must know them: so that two at once see each other.
fn all() -> Users {
    Users::new(
        format!("{}-in/{SYSTEM}/", ExternalNetwork::TABLE),
        "external-networks".to_owned(),
    )
}

fn address_prefix(network: ExternalNetworkId) -> String {
    format!("external-address/{network}/")
}

fn address_key(network: ExternalNetworkId, address: Ipv4Addr) -> String {
    format!("external-address/{network}/{address}")
}

/// All external networks. If the transaction commits, none was made or changed its pools meanwhile.
pub async fn external_networks(tx: &mut Transaction) -> Result<Vec<ExternalNetwork>, Error> {
    // Those who make or change one write the guard, and so come before this or after.
    all().ids(tx).await?;
    external_networks_now(tx.db()).await
}

/// All external networks, as of this moment.
pub async fn external_networks_now(db: &Db) -> Result<Vec<ExternalNetwork>, Error> {
    let entries = db.scan::<Reference>(all().prefix()).await?;
    let ids: Vec<ExternalNetworkId> = entries
        .into_iter()
        .map(|(_, entry)| entry.id.parse())
        .collect::<Result<_, _>>()?;
    let found = load_many(db, &ids).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Adds an external network whose pools overlap none of [`external_networks`]. Errors: `AlreadyExists`.
pub async fn external_network_create(
    tx: &mut Transaction,
    network: &ExternalNetwork,
) -> Result<(), Error> {
    insert(tx, network).await?;
    all().add(tx, network.id)
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn external_network_update(
    tx: &mut Transaction,
    before: &ExternalNetwork,
    after: &ExternalNetwork,
) -> Result<(), Error> {
    replace(tx, before, after).await?;
    all().add(tx, after.id)
}

/// Errors: `FailedPrecondition` while somebody has an address of it.
pub async fn external_network_delete(
    tx: &mut Transaction,
    network: &ExternalNetwork,
) -> Result<(), Error> {
    let gateways = users::gateways_on(network.id);
    let remedy = "delete them first";
    gateways
        .expect_none::<NatGateway>(tx, network, "NAT gateways", remedy)
        .await?;
    let floating = users::floating_ips_of(network.id);
    floating
        .expect_none::<FloatingIp>(tx, network, "floating IPs", remedy)
        .await?;
    floating.forget(tx);
    remove(tx, network);
    Ok(())
}

/// All addresses of an external network that are somebody's; if the transaction commits, none was taken meanwhile.
pub async fn external_addresses(
    tx: &mut Transaction,
    network: ExternalNetworkId,
) -> Result<BTreeSet<Ipv4Addr>, Error> {
    // Whoever takes an address is a user of the network: reading who is makes the transaction lose to them.
    users::gateways_on(network).ids(tx).await?;
    external_addresses_now(tx.db(), network).await
}

/// The same, of this moment.
pub async fn external_addresses_now(
    db: &Db,
    network: ExternalNetworkId,
) -> Result<BTreeSet<Ipv4Addr>, Error> {
    let prefix = address_prefix(network);
    let scan = db.scan_raw(&prefix, None, usize::MAX).await?;
    scan.items
        .iter()
        .map(|item| item.key[prefix.len()..].parse().map_err(Error::internal))
        .collect()
}

/// Whether an address of an external network is somebody's.
pub async fn external_address_is_taken(
    tx: &mut Transaction,
    network: ExternalNetworkId,
    address: Ipv4Addr,
) -> Result<bool, Error> {
    let holder: Option<Reference> = tx.get(&address_key(network, address)).await?;
    Ok(holder.is_some())
}

/// Gives a gateway addresses that [`external_address_is_taken`] said to be free.
pub(super) fn take_for_gateway(
    tx: &mut Transaction,
    network: ExternalNetworkId,
    addresses: &[Ipv4Addr],
    gateway: NatGatewayId,
) -> Result<(), Error> {
    for address in addresses {
        tx.put(&address_key(network, *address), &Reference::to(gateway))?;
    }
    users::gateways_on(network).add(tx, gateway)
}

/// Gives a floating IP its address, which [`external_address_is_taken`] said to be free.
pub(super) fn take_for_floating_ip(
    tx: &mut Transaction,
    network: ExternalNetworkId,
    address: Ipv4Addr,
    floating: FloatingIpId,
) -> Result<(), Error> {
    tx.put(&address_key(network, address), &Reference::to(floating))?;
    users::floating_ips_of(network).add(tx, floating)
}

/// Frees addresses.
pub(super) fn give_back(tx: &mut Transaction, network: ExternalNetworkId, addresses: &[Ipv4Addr]) {
    for address in addresses {
        tx.delete(&address_key(network, *address));
    }
}
