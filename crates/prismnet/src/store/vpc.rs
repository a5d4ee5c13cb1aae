//! VPCs in the store.

use flaredb::{Record, Transaction};
use ipnet::{Ipv4Net, Ipv6Net};
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Reference, Stored, get, insert, remove, replace};
use photon_resource::{Error, Kind, Scope, VpcId};
use serde::{Deserialize, Serialize};

use super::{nat_gateway_of, peerings_of, routes_of, users};
use crate::model::{Peering, Route, Subnet, Vpc, kind};

/// The stored form of a VPC.
#[derive(Serialize, Deserialize)]
pub struct VpcRecord {
    id: VpcId,
    meta: MetaRecord,
    cidr: Ipv4Net,
    ipv6_cidr: Option<Ipv6Net>,
    table: u32,
}

impl Record for VpcRecord {
    const KIND: &'static str = "VPC";
    const VERSION: u32 = 1;
}

impl From<&Vpc> for VpcRecord {
    fn from(vpc: &Vpc) -> Self {
        Self {
            id: vpc.id,
            meta: (&vpc.meta).into(),
            cidr: vpc.cidr,
            ipv6_cidr: vpc.ipv6_cidr,
            table: vpc.table,
        }
    }
}

impl Stored for Vpc {
    type Id = VpcId;
    type Record = VpcRecord;
    const TABLE: &'static str = "vpc";
    const KIND: Kind = kind::VPCS;

    fn id(&self) -> VpcId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("vpcs", 1)]
    }

    fn restore(id: VpcId, record: VpcRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            meta: record.meta.into(),
            cidr: record.cidr,
            ipv6_cidr: record.ipv6_cidr,
            table: record.table,
        })
    }
}

fn table_key(table: u32) -> String {
    format!("table/{table}")
}

/// The VPC that has a routing table.
pub async fn table_holder(tx: &mut Transaction, table: u32) -> Result<Option<VpcId>, Error> {
    let holder: Option<Reference> = tx.get(&table_key(table)).await?;
    holder.map(|holder| holder.id.parse()).transpose()
}

/// Creates a VPC whose routing table [`table_holder`] said to be free. Errors: `AlreadyExists`.
pub async fn vpc_create(tx: &mut Transaction, vpc: &Vpc) -> Result<(), Error> {
    insert(tx, vpc).await?;
    let reference = Reference::to(vpc.id);
    tx.put(&table_key(vpc.table), &reference)?;
    Ok(())
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn vpc_update(tx: &mut Transaction, before: &Vpc, after: &Vpc) -> Result<(), Error> {
    replace(tx, before, after).await
}

/// Errors: `FailedPrecondition` while it has subnets, a NAT gateway, routes or peerings.
pub async fn vpc_delete(tx: &mut Transaction, vpc: &Vpc) -> Result<(), Error> {
    let subnets = users::subnets_of_vpc(vpc.id);
    subnets
        .expect_none::<Subnet>(tx, vpc, "subnets", "delete them first")
        .await?;
    if let Some(gateway) = nat_gateway_of(tx, vpc.id).await? {
        let (noun, name, gateway) = (Vpc::KIND.noun, &vpc.meta.name, gateway.meta.name);
        let text = format!("{noun} '{name}' has NAT gateway '{gateway}': delete it first");
        return Err(Error::in_use(noun, vpc.id, text));
    }
    if let Some(route) = routes_of(tx, vpc.id).await?.first() {
        let route: Route = get(tx, &route.id).await?;
        let (noun, name, route) = (Vpc::KIND.noun, &vpc.meta.name, route.meta.name);
        let text = format!("{noun} '{name}' has route '{route}': delete its routes first");
        return Err(Error::in_use(noun, vpc.id, text));
    }
    if let Some(peering) = peerings_of(tx, vpc.id).await?.first() {
        let peering: Peering = get(tx, &peering.id).await?;
        let (noun, name, peering) = (Vpc::KIND.noun, &vpc.meta.name, peering.meta.name);
        let text = format!("{noun} '{name}' has peering '{peering}': delete its peerings first");
        return Err(Error::in_use(noun, vpc.id, text));
    }
    subnets.forget(tx);
    users::floating_ips_in(vpc.id).forget(tx);
    tx.delete(&table_key(vpc.table));
    remove(tx, vpc);
    Ok(())
}
