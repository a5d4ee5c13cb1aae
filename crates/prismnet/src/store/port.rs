//! Ports in the store, and the addresses that they hold.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flaredb::{Db, LeaseId, Record, Transaction};
use photon_catalog::list::{list, list_of_index};
use photon_catalog::quota::Uses;
use photon_catalog::{
    Common, Listing, MetaRecord, Query, Reference, Stored, insert, remove, replace,
};
use photon_resource::{Error, Kind, Mac, PortId, Scope, SecurityGroupId, SubnetId, Time, VpcId};
use serde::{Deserialize, Serialize};

use super::users;
use crate::model::{Attachment, DeviceType, Port, PortStatus, kind};

/// The stored form of a port.
#[derive(Serialize, Deserialize)]
pub struct PortRecord {
    id: PortId,
    vpc_id: VpcId,
    subnet_id: SubnetId,
    meta: MetaRecord,
    address: Ipv4Addr,
    ipv6_address: Option<Ipv6Addr>,
    /// The last 24 bits of the generated address.
    mac_tail: u32,
    security_groups: BTreeSet<SecurityGroupId>,
    /// Absent: its sources are checked.
    #[serde(default, skip_serializing_if = "is_false")]
    no_source_check: bool,
    attachment: Option<AttachmentRecord>,
}

#[derive(Serialize, Deserialize)]
struct AttachmentRecord {
    device_id: String,
    device_type: DeviceTypeRecord,
    node: String,
    /// Was a revision of the store, which a program of before compares with what a host reports: every report is of a later
    /// one than 0. It is read no more.
    #[serde(default)]
    after: u64,
    /// Absent: it was attached by a program of before.
    #[serde(default, skip_serializing_if = "is_absent")]
    generation: u64,
    /// Absent: nothing was said of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    mtu: u32,
    status: StatusRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DeviceTypeRecord {
    Vm,
    LoadBalancer,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusRecord {
    Building,
    Active,
    Error(String),
}

fn is_false(set: &bool) -> bool {
    !set
}

fn is_zero(mtu: &u32) -> bool {
    *mtu == 0
}

fn is_absent(generation: &u64) -> bool {
    *generation == 0
}

impl Record for PortRecord {
    const KIND: &'static str = "port";
    const VERSION: u32 = 1;
}

impl From<&Port> for PortRecord {
    fn from(port: &Port) -> Self {
        let [_, _, _, a, b, c] = port.mac.octets();
        Self {
            id: port.id,
            vpc_id: port.vpc_id,
            subnet_id: port.subnet_id,
            meta: (&port.meta).into(),
            address: port.address,
            ipv6_address: port.ipv6_address,
            mac_tail: u32::from_be_bytes([0, a, b, c]),
            security_groups: port.security_groups.clone(),
            no_source_check: !port.source_check,
            attachment: port.attachment.as_ref().map(Into::into),
        }
    }
}

impl From<&Attachment> for AttachmentRecord {
    fn from(attachment: &Attachment) -> Self {
        Self {
            device_id: attachment.device_id.clone(),
            device_type: match attachment.device_type {
                DeviceType::Vm => DeviceTypeRecord::Vm,
                DeviceType::LoadBalancer => DeviceTypeRecord::LoadBalancer,
            },
            node: attachment.node.clone(),
            after: 0,
            generation: attachment.generation,
            mtu: attachment.mtu,
            status: match &attachment.status {
                PortStatus::Building => StatusRecord::Building,
                PortStatus::Active => StatusRecord::Active,
                PortStatus::Error(message) => StatusRecord::Error(message.clone()),
            },
        }
    }
}

impl From<AttachmentRecord> for Attachment {
    fn from(record: AttachmentRecord) -> Self {
        Self {
            device_id: record.device_id,
            device_type: match record.device_type {
                DeviceTypeRecord::Vm => DeviceType::Vm,
                DeviceTypeRecord::LoadBalancer => DeviceType::LoadBalancer,
            },
            node: record.node,
            generation: record.generation,
            mtu: record.mtu,
            status: match record.status {
                StatusRecord::Building => PortStatus::Building,
                StatusRecord::Active => PortStatus::Active,
                StatusRecord::Error(message) => PortStatus::Error(message),
            },
        }
    }
}

impl Stored for Port {
    type Id = PortId;
    type Record = PortRecord;
    const TABLE: &'static str = "port";
    const KIND: Kind = kind::PORTS;

    fn id(&self) -> PortId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("ports", 1)]
    }

    fn restore(id: PortId, record: PortRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            vpc_id: record.vpc_id,
            subnet_id: record.subnet_id,
            meta: record.meta.into(),
            address: record.address,
            ipv6_address: record.ipv6_address,
            mac: Mac::generated(record.mac_tail),
            security_groups: record.security_groups,
            source_check: !record.no_source_check,
            attachment: record.attachment.map(Into::into),
        })
    }
}

/// The address that was given last in a subnet, where the search for a free one goes on.
#[derive(Serialize, Deserialize)]
struct Cursor {
    last: Ipv4Addr,
}

impl Record for Cursor {
    const KIND: &'static str = "address cursor";
    const VERSION: u32 = 1;
}

/// When a port let go of an address. It stands on a lease, so that nobody need clear up.
#[derive(Serialize, Deserialize)]
struct Released {
    at_ms: u64,
}

impl Record for Released {
    const KIND: &'static str = "released address";
    const VERSION: u32 = 1;
}

fn released_prefix(subnet: SubnetId) -> String {
    format!("address-released/{subnet}/")
}

fn released_key(subnet: SubnetId, address: Ipv4Addr) -> String {
    format!("address-released/{subnet}/{address}")
}

fn address_prefix(subnet: SubnetId) -> String {
    format!("address/{subnet}/")
}

fn address_key(subnet: SubnetId, address: IpAddr) -> String {
    format!("address/{subnet}/{address}")
}

fn mac_key(vpc: VpcId, mac: Mac) -> String {
    format!("mac/{vpc}/{mac}")
}

fn cursor_key(subnet: SubnetId) -> String {
    format!("address-cursor/{subnet}")
}

async fn holder(tx: &mut Transaction, key: &str) -> Result<Option<PortId>, Error> {
    let holder: Option<Reference> = tx.get(key).await?;
    holder.map(|holder| holder.id.parse()).transpose()
}

/// The port that has an address.
pub async fn address_holder(
    tx: &mut Transaction,
    subnet: SubnetId,
    address: IpAddr,
) -> Result<Option<PortId>, Error> {
    holder(tx, &address_key(subnet, address)).await
}

/// The port that has a MAC in a VPC.
pub async fn mac_holder(
    tx: &mut Transaction,
    vpc: VpcId,
    mac: Mac,
) -> Result<Option<PortId>, Error> {
    holder(tx, &mac_key(vpc, mac)).await
}

/// All addresses, IPv4 and IPv6, that ports of a subnet hold.
pub async fn addresses(db: &Db, subnet: SubnetId) -> Result<Vec<IpAddr>, Error> {
    let prefix = address_prefix(subnet);
    let scan = db.scan_raw(&prefix, None, usize::MAX).await?;
    scan.items
        .iter()
        .map(|item| item.key[prefix.len()..].parse().map_err(Error::internal))
        .collect()
}

/// IPv4 addresses that ports of a subnet had not long ago, and when they let go of them.
pub async fn released(db: &Db, subnet: SubnetId) -> Result<Vec<(Ipv4Addr, Time)>, Error> {
    let prefix = released_prefix(subnet);
    let found = db.scan::<Released>(&prefix).await?;
    found
        .into_iter()
        .map(|(key, Released { at_ms })| {
            let address = key[prefix.len()..].parse().map_err(Error::internal)?;
            Ok((address, Time::from_millis(at_ms)))
        })
        .collect()
}

/// The address that was given last in a subnet.
pub async fn last_given(db: &Db, subnet: SubnetId) -> Result<Option<Ipv4Addr>, Error> {
    let cursor: Option<Cursor> = db.get(&cursor_key(subnet)).await?;
    Ok(cursor.map(|cursor| cursor.last))
}

pub(super) fn forget_addresses(tx: &mut Transaction, subnet: SubnetId) {
    tx.delete(&cursor_key(subnet));
}

/// Creates a port whose addresses [`address_holder`] and whose MAC [`mac_holder`] said to be free. `chosen`:
/// the IPv4 address was not asked for, so the next search goes on after it. Errors: `AlreadyExists`.
pub async fn port_create(tx: &mut Transaction, port: &Port, chosen: bool) -> Result<(), Error> {
    insert(tx, port).await?;
    let reference = Reference::to(port.id);
    for address in port_addresses(port) {
        tx.put(&address_key(port.subnet_id, address), &reference)?;
    }
    tx.put(&mac_key(port.vpc_id, port.mac), &reference)?;
    if chosen {
        let cursor = Cursor { last: port.address };
        tx.put(&cursor_key(port.subnet_id), &cursor)?;
    } else {
        tx.delete(&released_key(port.subnet_id, port.address));
    }
    users::ports_of_subnet(port.subnet_id).add(tx, port.id)?;
    for group in &port.security_groups {
        users::ports_of_group(*group).add(tx, port.id)?;
    }
    Ok(())
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn port_update(tx: &mut Transaction, before: &Port, after: &Port) -> Result<(), Error> {
    for left in before.security_groups.difference(&after.security_groups) {
        users::ports_of_group(*left).remove(tx, after.id);
    }
    for joined in after.security_groups.difference(&before.security_groups) {
        users::ports_of_group(*joined).add(tx, after.id)?;
    }
    replace(tx, before, after).await
}

/// Deletes a port and frees its addresses. That it had its IPv4 address is [`released`] until `lease` ends.
pub fn port_delete(tx: &mut Transaction, port: &Port, lease: LeaseId) -> Result<(), Error> {
    let at_ms = Time::now().millis();
    let key = released_key(port.subnet_id, port.address);
    tx.put_with_lease(&key, &Released { at_ms }, lease)?;
    for address in port_addresses(port) {
        tx.delete(&address_key(port.subnet_id, address));
    }
    tx.delete(&mac_key(port.vpc_id, port.mac));
    users::ports_of_subnet(port.subnet_id).remove(tx, port.id);
    for group in &port.security_groups {
        users::ports_of_group(*group).remove(tx, port.id);
    }
    remove(tx, port);
    Ok(())
}

fn port_addresses(port: &Port) -> impl Iterator<Item = IpAddr> {
    let ipv6 = port.ipv6_address.map(IpAddr::V6);
    std::iter::once(IpAddr::V4(port.address)).chain(ipv6)
}

/// One page of ports; with a subnet, without looking at those of others.
pub async fn port_list(
    db: &Db,
    query: Query,
    subnet: Option<SubnetId>,
    keep: impl Fn(&Port) -> bool,
) -> Result<Listing<Port>, Error> {
    match subnet {
        Some(subnet) if query.name.is_empty() => {
            let users = users::ports_of_subnet(subnet);
            list_of_index(db, users.prefix(), query, keep).await
        }
        Some(subnet) => {
            list(db, query, |port: &Port| {
                port.subnet_id == subnet && keep(port)
            })
            .await
        }
        None => list(db, query, keep).await,
    }
}
