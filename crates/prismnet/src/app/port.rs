//! Ports: addresses, groups, attachment.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use flaredb::{Db, LeaseId, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, load};
use photon_resource::{
    Error, Mac, NewMeta, PortId, PrincipalKind, Scope, SecurityGroupId, SubnetId, Time, VpcId,
};
use photon_service::Mutation;

use super::addresses::{Addresses, Reservation};
use super::number::draw_mac;
use super::route::expect_no_route;
use super::security_group::default_group;
use crate::model::{
    NewAttachment, NewPort, Port, PortChanges, RouteTarget, SecurityGroup, Subnet,
    validate_device_id,
};
use crate::store;

/// As often as a MAC is drawn for one port. A VPC's 2^24 would have to be nearly all taken for none of these
/// to be free.
const MAC_DRAWS: usize = 256;

/// The ports of all tenants.
#[derive(Clone)]
pub struct Ports {
    db: Db,
    addresses: Addresses,
}

/// Which ports a list shows, beyond what all lists can ask for.
#[derive(Clone, Debug, Default)]
pub struct PortFilter {
    pub vpc: Option<VpcId>,
    pub subnet: Option<SubnetId>,
    /// Empty: any.
    pub device_id: String,
}

impl Ports {
    /// Those in `db`.
    pub fn new(db: Db, addresses: Addresses) -> Self {
        Self { db, addresses }
    }

    /// Errors: `NotFound` (the subnet, a group), `AlreadyExists` (name or address), `ResourceExhausted` (no address
    /// left), `InvalidArgument`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewPort,
        answer: impl Fn(&Port) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        let mut change = Create {
            addresses: &self.addresses,
            id: PortId::generate(),
            new,
            reservation: None,
        };
        let (answer, created) = commit(&self.db, mutation, &mut change, answer).await?;
        match (change.reservation, created) {
            (Some(reservation), Some(_)) => reservation.keep(),
            (None, Some(port)) => self.addresses.taken(port.subnet_id, port.address),
            // An earlier call's answer: what was reserved goes back by itself.
            (_, None) => {}
        }
        Ok(answer)
    }

    /// One page.
    pub async fn list(&self, query: Query, filter: PortFilter) -> Result<Listing<Port>, Error> {
        let keep = |port: &Port| {
            let device = port.attachment.as_ref().map(|it| it.device_id.as_str());
            filter.vpc.is_none_or(|vpc| port.vpc_id == vpc)
                && (filter.device_id.is_empty() || device == Some(&filter.device_id))
        };
        store::port_list(&self.db, query, filter.subnet, keep).await
    }

    /// Errors: `NotFound` (also: a group), `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PortId,
        changes: PortChanges,
        answer: impl Fn(&Port) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// A floating IP that it has keeps it, and a route that leads to it, but for a server of the cloud's own: a port that was
    /// made with a VM goes with it, leaves its floating IP to the project, and its routes lead nowhere.
    ///
    /// Errors: `NotFound`, `FailedPrecondition` while a device has it, while it has a floating IP or a route leads to it.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PortId,
    ) -> Result<A, Error> {
        let goes_along = mutation.caller().claims.kind == PrincipalKind::Service;
        let lease = self.addresses.lease().await?;
        let mut change = Delete {
            id,
            goes_along,
            lease,
        };
        let (answer, deleted) = commit(&self.db, mutation, &mut change, |_| A::default()).await?;
        if let Some(port) = deleted {
            self.addresses.freed(port.subnet_id, port.address);
        }
        Ok(answer)
    }

    /// Gives a port to a device; nothing happens if it has it already. Errors: `NotFound`, `FailedPrecondition` when
    /// another device has it, `InvalidArgument`.
    pub async fn attach<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        port: &Port,
        new: NewAttachment,
        answer: impl Fn(&Port, &Subnet) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        // It goes after its last port.
        let subnet: Subnet = load(&self.db, &port.subnet_id)
            .await?
            .ok_or_else(|| Error::not_found(Port::KIND.noun, port.id))?;
        let mut change = Attach { id: port.id, new };
        let answer = |port: &Port| answer(port, &subnet);
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Takes a port from its device; nothing happens if none has it. Errors: `NotFound`, `FailedPrecondition` when
    /// another device than `device_id` (empty: any) has it.
    pub async fn detach<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PortId,
        device_id: &str,
        answer: impl Fn(&Port) -> A,
    ) -> Result<A, Error> {
        let device = (!device_id.is_empty()).then_some(device_id);
        device.map_or(Ok(()), validate_device_id)?;
        let mut change = Detach { id, device };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }
}

struct Create<'a> {
    addresses: &'a Addresses,
    id: PortId,
    new: NewPort,
    /// Kept from one try to the next.
    reservation: Option<Reservation>,
}

impl Create<'_> {
    async fn address(&mut self, tx: &mut Transaction, subnet: &Subnet) -> Result<Ipv4Addr, Error> {
        if !self.new.address.is_empty() {
            let address = subnet.parse_address(&self.new.address)?;
            expect_free(tx, subnet, IpAddr::V4(address)).await?;
            return Ok(address);
        }
        loop {
            let reserved = match self.reservation.take() {
                Some(reserved) => reserved,
                None => self.addresses.reserve(subnet).await?,
            };
            let address = reserved.address();
            let holder = store::address_holder(tx, subnet.id, IpAddr::V4(address)).await?;
            if holder.is_none() {
                self.reservation = Some(reserved);
                return Ok(address);
            }
            // Memory was behind: the store knows an owner.
            reserved.keep();
        }
    }
}

#[async_trait]
impl Change for Create<'_> {
    type Value = Port;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Port>, Error> {
        let NewMeta {
            org_id,
            project_id,
            owner,
            ..
        } = self.new.meta.clone();
        // Also for a port with groups of its own: the project's first port makes it.
        let default = default_group(tx, &org_id, &project_id, owner).await?;
        let scope = self.new.meta.scope();
        let subnet: Subnet = find(tx, &scope, &self.new.subnet).await?;
        let groups = &self.new.security_groups;
        let security_groups = groups_or(default, tx, &scope, groups).await?;
        let address = self.address(tx, &subnet).await?;
        let (mac, ipv6_address) = mac_and_ipv6(tx, &subnet, &self.new).await?;
        let port = Port {
            id: self.id,
            vpc_id: subnet.vpc_id,
            subnet_id: subnet.id,
            meta: self.new.meta.clone().into_meta(Time::now()),
            address,
            ipv6_address,
            mac,
            security_groups,
            source_check: self.new.source_check,
            attachment: None,
        };
        store::port_create(tx, &port, self.new.address.is_empty()).await?;
        Ok(Effect::on(port))
    }
}

struct Update {
    id: PortId,
    changes: PortChanges,
}

#[async_trait]
impl Change for Update {
    type Value = Port;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Port>, Error> {
        let before: Port = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(Port::KIND, self.changes.common.clone())?;
        if let Some(groups) = &self.changes.security_groups {
            let meta = &before.meta;
            let (org, project) = (&meta.org_id, &meta.project_id);
            let default = default_group(tx, org, project, meta.owner).await?;
            after.security_groups = groups_or(default, tx, &meta.scope(), groups).await?;
        }
        if let Some(check) = self.changes.source_check {
            after.source_check = check;
        }
        if after == before {
            return Ok(Effect::nothing(after));
        }
        if after.source_check && !before.source_check {
            expect_no_route(tx, before.vpc_id, RouteTarget::Port(before.id), &before).await?;
        }
        after.meta.touch(Time::now());
        store::port_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: PortId,
    /// Whether a floating IP and routes let it go.
    goes_along: bool,
    /// For as long as its address is remembered.
    lease: LeaseId,
}

#[async_trait]
impl Change for Delete {
    type Value = Port;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Port>, Error> {
        let port: Port = get(tx, &self.id).await?;
        if let Some(attachment) = &port.attachment {
            return Err(Error::FailedPrecondition(format!(
                "port '{}' is attached to device {} on {}: detach it first",
                port.meta.name, attachment.device_id, attachment.node
            )));
        }
        let mut reason = String::new();
        if let Some(floating) = store::floating_ip_of(tx, port.id).await? {
            let (name, address) = (&floating.meta.name, floating.address);
            if !self.goes_along {
                let text = format!(
                    "port '{}' has floating IP '{name}' ({address}): disassociate it first",
                    port.meta.name
                );
                return Err(Error::in_use(Port::KIND.noun, port.id, text));
            }
            reason = format!("it had floating IP '{name}' ({address}), which stays");
            let mut free = floating.clone();
            free.association = None;
            free.meta.touch(Time::now());
            store::floating_ip_update(tx, &floating, &free).await?;
        }
        if !self.goes_along {
            expect_no_route(tx, port.vpc_id, RouteTarget::Port(port.id), &port).await?;
        }
        store::port_delete(tx, &port, self.lease)?;
        Ok(Effect::on(port).because(reason))
    }
}

struct Attach {
    id: PortId,
    new: NewAttachment,
}

#[async_trait]
impl Change for Attach {
    type Value = Port;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Port>, Error> {
        let before: Port = get(tx, &self.id).await?;
        let mut after = before.clone();
        if !after.attach(self.new.clone())? {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::port_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Detach<'a> {
    id: PortId,
    device: Option<&'a str>,
}

#[async_trait]
impl Change for Detach<'_> {
    type Value = Port;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Port>, Error> {
        let before: Port = get(tx, &self.id).await?;
        let mut after = before.clone();
        if after.detach(self.device)?.is_none() {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::port_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

/// The project's groups with these ids or names; `default` if there are none.
async fn groups_or(
    default: SecurityGroupId,
    tx: &mut Transaction,
    scope: &Scope,
    wanted: &[String],
) -> Result<BTreeSet<SecurityGroupId>, Error> {
    if wanted.is_empty() {
        return Ok(BTreeSet::from([default]));
    }
    let mut groups = BTreeSet::new();
    for group in wanted {
        let group: SecurityGroup = find(tx, scope, group).await?;
        groups.insert(group.id);
    }
    Ok(groups)
}

/// Errors: `Taken` naming the address and the port that has it.
async fn expect_free(tx: &mut Transaction, subnet: &Subnet, address: IpAddr) -> Result<(), Error> {
    let Some(holder) = store::address_holder(tx, subnet.id, address).await? else {
        return Ok(());
    };
    let holder = match get::<Port>(tx, &holder).await {
        Ok(port) => format!("port '{}'", port.meta.name),
        // It has just been deleted.
        Err(_) => "a port that is being deleted".to_owned(),
    };
    Err(Error::Taken {
        kind: "address",
        id: address.to_string(),
        holder,
    })
}

/// A free MAC, and the port's IPv6 address: the one asked for, or that of the MAC.
async fn mac_and_ipv6(
    tx: &mut Transaction,
    subnet: &Subnet,
    new: &NewPort,
) -> Result<(Mac, Option<Ipv6Addr>), Error> {
    let asked = if new.ipv6_address.is_empty() {
        None
    } else {
        let address = subnet.parse_ipv6_address(&new.ipv6_address)?;
        expect_free(tx, subnet, IpAddr::V6(address)).await?;
        Some(address)
    };
    for _ in 0..MAC_DRAWS {
        let mac = draw_mac();
        if store::mac_holder(tx, subnet.vpc_id, mac).await?.is_some() {
            continue;
        }
        let (Some(ipv6), None) = (subnet.ipv6, asked) else {
            return Ok((mac, asked));
        };
        // Somebody may have asked for just this address, or the gateway may have it.
        let address = mac.ipv6_in(ipv6.cidr.network());
        let holder = store::address_holder(tx, subnet.id, IpAddr::V6(address)).await?;
        if address != ipv6.gateway && holder.is_none() {
            return Ok((mac, Some(address)));
        }
    }
    Err(Error::ResourceExhausted(format!(
        "the VPC of subnet '{}' has no free MAC address: delete ports or use another VPC",
        subnet.meta.name
    )))
}
