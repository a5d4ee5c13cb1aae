//! Floating IPs in the store.

use std::net::Ipv4Addr;

use flaredb::{Record, Transaction};
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Reference, Stored, get, insert, remove, replace};
use photon_resource::{Error, ExternalNetworkId, FloatingIpId, Kind, PortId, Scope, VpcId};
use serde::{Deserialize, Serialize};

use super::external_network::{give_back, take_for_floating_ip};
use super::users;
use crate::model::{Association, FloatingIp, kind};

/// The stored form of a floating IP.
#[derive(Serialize, Deserialize)]
pub struct FloatingIpRecord {
    id: FloatingIpId,
    meta: MetaRecord,
    external_network_id: ExternalNetworkId,
    address: Ipv4Addr,
    association: Option<AssociationRecord>,
}

#[derive(Serialize, Deserialize)]
struct AssociationRecord {
    port_id: PortId,
    vpc_id: VpcId,
    fixed: Ipv4Addr,
}

impl Record for FloatingIpRecord {
    const KIND: &'static str = "floating IP";
    const VERSION: u32 = 1;
}

impl From<&FloatingIp> for FloatingIpRecord {
    fn from(floating: &FloatingIp) -> Self {
        let association = |it: Association| AssociationRecord {
            port_id: it.port_id,
            vpc_id: it.vpc_id,
            fixed: it.fixed,
        };
        Self {
            id: floating.id,
            meta: (&floating.meta).into(),
            external_network_id: floating.external_network_id,
            address: floating.address,
            association: floating.association.map(association),
        }
    }
}

impl Stored for FloatingIp {
    type Id = FloatingIpId;
    type Record = FloatingIpRecord;
    const TABLE: &'static str = "floating-ip";
    const KIND: Kind = kind::FLOATING_IPS;

    fn id(&self) -> FloatingIpId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("floating_ips", 1)]
    }

    fn restore(id: FloatingIpId, record: FloatingIpRecord) -> Result<Self, Error> {
        let association = |it: AssociationRecord| Association {
            port_id: it.port_id,
            vpc_id: it.vpc_id,
            fixed: it.fixed,
        };
        Ok(Self {
            id,
            meta: record.meta.into(),
            external_network_id: record.external_network_id,
            address: record.address,
            association: record.association.map(association),
        })
    }
}

fn port_key(port: PortId) -> String {
    format!("floating-port/{port}")
}

/// The floating IP that a port has.
pub async fn floating_ip_of(
    tx: &mut Transaction,
    port: PortId,
) -> Result<Option<FloatingIp>, Error> {
    match tx.get::<Reference>(&port_key(port)).await? {
        Some(floating) => get(tx, &floating.id.parse()?).await.map(Some),
        None => Ok(None),
    }
}

/// Creates a floating IP that no port has, with an address that is free. Errors: `AlreadyExists`.
pub async fn floating_ip_create(tx: &mut Transaction, floating: &FloatingIp) -> Result<(), Error> {
    insert(tx, floating).await?;
    let network = floating.external_network_id;
    take_for_floating_ip(tx, network, floating.address, floating.id)
}

/// Stores a changed floating IP; a port that it is new for has none, as [`floating_ip_of`] said.
///
/// Errors: `AlreadyExists` when the new name is taken.
pub async fn floating_ip_update(
    tx: &mut Transaction,
    before: &FloatingIp,
    after: &FloatingIp,
) -> Result<(), Error> {
    if before.association != after.association {
        if let Some(left) = before.association {
            tx.delete(&port_key(left.port_id));
            users::floating_ips_in(left.vpc_id).remove(tx, after.id);
        }
        if let Some(joined) = after.association {
            tx.put(&port_key(joined.port_id), &Reference::to(after.id))?;
            users::floating_ips_in(joined.vpc_id).add(tx, after.id)?;
        }
    }
    replace(tx, before, after).await
}

/// Deletes a floating IP that no port has, and frees its address.
pub fn floating_ip_delete(tx: &mut Transaction, floating: &FloatingIp) {
    let network = floating.external_network_id;
    give_back(tx, network, &[floating.address]);
    users::floating_ips_of(network).remove(tx, floating.id);
    remove(tx, floating);
}
