//! Subnets in the store.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flaredb::{Record, Transaction};
use ipnet::{Ipv4Net, Ipv6Net};
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Reference, Stored, insert, load, remove, replace};
use photon_resource::{Error, Kind, Scope, SubnetId, VpcId};
use serde::{Deserialize, Serialize};

use super::port::forget_addresses;
use super::users;
use crate::model::{Ipv6Subnet, Port, Subnet, kind};

/// The stored form of a subnet.
#[derive(Serialize, Deserialize)]
pub struct SubnetRecord {
    id: SubnetId,
    vpc_id: VpcId,
    meta: MetaRecord,
    cidr: Ipv4Net,
    gateway: Ipv4Addr,
    dhcp_enabled: bool,
    dns_servers: Vec<IpAddr>,
    ipv6: Option<Ipv6Record>,
    vni: u32,
}

#[derive(Serialize, Deserialize)]
struct Ipv6Record {
    cidr: Ipv6Net,
    gateway: Ipv6Addr,
}

impl Record for SubnetRecord {
    const KIND: &'static str = "subnet";
    const VERSION: u32 = 1;
}

impl From<&Subnet> for SubnetRecord {
    fn from(subnet: &Subnet) -> Self {
        Self {
            id: subnet.id,
            vpc_id: subnet.vpc_id,
            meta: (&subnet.meta).into(),
            cidr: subnet.cidr,
            gateway: subnet.gateway,
            dhcp_enabled: subnet.dhcp_enabled,
            dns_servers: subnet.dns_servers.clone(),
            ipv6: subnet
                .ipv6
                .map(|Ipv6Subnet { cidr, gateway }| Ipv6Record { cidr, gateway }),
            vni: subnet.vni,
        }
    }
}

impl Stored for Subnet {
    type Id = SubnetId;
    type Record = SubnetRecord;
    const TABLE: &'static str = "subnet";
    const KIND: Kind = kind::SUBNETS;

    fn id(&self) -> SubnetId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("subnets", 1)]
    }

    fn restore(id: SubnetId, record: SubnetRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            vpc_id: record.vpc_id,
            meta: record.meta.into(),
            cidr: record.cidr,
            gateway: record.gateway,
            dhcp_enabled: record.dhcp_enabled,
            dns_servers: record.dns_servers,
            ipv6: record
                .ipv6
                .map(|Ipv6Record { cidr, gateway }| Ipv6Subnet { cidr, gateway }),
            vni: record.vni,
        })
    }
}

pub(super) fn vni_key(vni: u32) -> String {
    format!("vni/{vni}")
}

/// The id of the subnet, or of the NAT gateway, that has a VXLAN network identifier.
pub async fn vni_holder(tx: &mut Transaction, vni: u32) -> Result<Option<String>, Error> {
    let holder: Option<Reference> = tx.get(&vni_key(vni)).await?;
    Ok(holder.map(|holder| holder.id))
}

/// All subnets of a VPC; if the transaction commits, none was added meanwhile, and their addresses never change.
pub async fn subnets_of(tx: &mut Transaction, vpc: VpcId) -> Result<Vec<Subnet>, Error> {
    let mut subnets = Vec::new();
    for id in users::subnets_of_vpc(vpc).ids(tx).await? {
        // One that was deleted since the set was read is in nobody's way.
        subnets.extend(load::<Subnet>(tx.db(), &id.parse()?).await?);
    }
    Ok(subnets)
}

/// Creates a subnet that overlaps none of [`subnets_of`] its VPC, with an identifier that [`vni_holder`] said
/// to be free. Errors: `AlreadyExists`.
pub async fn subnet_create(tx: &mut Transaction, subnet: &Subnet) -> Result<(), Error> {
    insert(tx, subnet).await?;
    users::subnets_of_vpc(subnet.vpc_id).add(tx, subnet.id)?;
    let reference = Reference::to(subnet.id);
    tx.put(&vni_key(subnet.vni), &reference)?;
    Ok(())
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn subnet_update(
    tx: &mut Transaction,
    before: &Subnet,
    after: &Subnet,
) -> Result<(), Error> {
    replace(tx, before, after).await
}

/// Errors: `FailedPrecondition` while it has ports.
pub async fn subnet_delete(tx: &mut Transaction, subnet: &Subnet) -> Result<(), Error> {
    let ports = users::ports_of_subnet(subnet.id);
    ports
        .expect_none::<Port>(tx, subnet, "ports", "delete them first")
        .await?;
    ports.forget(tx);
    forget_addresses(tx, subnet.id);
    users::subnets_of_vpc(subnet.vpc_id).remove(tx, subnet.id);
    tx.delete(&vni_key(subnet.vni));
    remove(tx, subnet);
    Ok(())
}
