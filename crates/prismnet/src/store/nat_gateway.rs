//! NAT gateways in the store.

use std::net::Ipv4Addr;

use flaredb::{Db, Record, Transaction};
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Reference, Stored, get, insert, remove, replace};
use photon_resource::{Error, ExternalNetworkId, Kind, NatGatewayId, Scope, VpcId};
use serde::{Deserialize, Serialize};

use super::external_network::{give_back, take_for_gateway};
use super::subnet::vni_key;
use super::users;
use crate::model::{FloatingIp, NatGateway, kind};

/// The stored form of a NAT gateway.
#[derive(Serialize, Deserialize)]
pub struct NatGatewayRecord {
    id: NatGatewayId,
    meta: MetaRecord,
    vpc_id: VpcId,
    external_network_id: ExternalNetworkId,
    addresses: Vec<Ipv4Addr>,
    transit_vni: u32,
}

impl Record for NatGatewayRecord {
    const KIND: &'static str = "NAT gateway";
    const VERSION: u32 = 1;
}

impl From<&NatGateway> for NatGatewayRecord {
    fn from(gateway: &NatGateway) -> Self {
        Self {
            id: gateway.id,
            meta: (&gateway.meta).into(),
            vpc_id: gateway.vpc_id,
            external_network_id: gateway.external_network_id,
            addresses: gateway.addresses.clone(),
            transit_vni: gateway.transit_vni,
        }
    }
}

impl Stored for NatGateway {
    type Id = NatGatewayId;
    type Record = NatGatewayRecord;
    const TABLE: &'static str = "nat-gateway";
    const KIND: Kind = kind::NAT_GATEWAYS;

    fn id(&self) -> NatGatewayId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("nat_gateways", 1)]
    }

    fn restore(id: NatGatewayId, record: NatGatewayRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            meta: record.meta.into(),
            vpc_id: record.vpc_id,
            external_network_id: record.external_network_id,
            addresses: record.addresses,
            transit_vni: record.transit_vni,
        })
    }
}

fn vpc_key(vpc: VpcId) -> String {
    format!("nat/{vpc}")
}

/// The gateway of a VPC.
pub async fn nat_gateway_of(tx: &mut Transaction, vpc: VpcId) -> Result<Option<NatGateway>, Error> {
    match tx.get::<Reference>(&vpc_key(vpc)).await? {
        Some(gateway) => get(tx, &gateway.id.parse()?).await.map(Some),
        None => Ok(None),
    }
}

/// Whether a VPC has a gateway at this moment.
pub async fn has_nat_gateway(db: &Db, vpc: VpcId) -> Result<bool, Error> {
    Ok(db.get::<Reference>(&vpc_key(vpc)).await?.is_some())
}

/// Creates the gateway of a VPC that has none, with addresses that are free and an identifier that
/// [`vni_holder`](super::vni_holder) said to be. Errors: `AlreadyExists` when its name is taken.
pub async fn nat_gateway_create(tx: &mut Transaction, gateway: &NatGateway) -> Result<(), Error> {
    insert(tx, gateway).await?;
    let reference = Reference::to(gateway.id);
    tx.put(&vpc_key(gateway.vpc_id), &reference)?;
    tx.put(&vni_key(gateway.transit_vni), &reference)?;
    let network = gateway.external_network_id;
    take_for_gateway(tx, network, &gateway.addresses, gateway.id)
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn nat_gateway_update(
    tx: &mut Transaction,
    before: &NatGateway,
    after: &NatGateway,
) -> Result<(), Error> {
    replace(tx, before, after).await
}

/// Errors: `FailedPrecondition` while a port of its VPC has a floating IP.
pub async fn nat_gateway_delete(tx: &mut Transaction, gateway: &NatGateway) -> Result<(), Error> {
    let floating = users::floating_ips_in(gateway.vpc_id);
    floating
        .expect_none::<FloatingIp>(tx, gateway, "floating IPs", "disassociate them first")
        .await?;
    tx.delete(&vpc_key(gateway.vpc_id));
    tx.delete(&vni_key(gateway.transit_vni));
    let network = gateway.external_network_id;
    give_back(tx, network, &gateway.addresses);
    users::gateways_on(network).remove(tx, gateway.id);
    remove(tx, gateway);
    Ok(())
}
