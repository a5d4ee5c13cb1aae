//! Floating IPs: taken from an external network, given to one port after the other.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, list, load};
use photon_resource::{
    Changes, Error, FloatingIpId, Labels, NatGatewayId, NewMeta, PortId, PrincipalId, Time,
};
use photon_service::Mutation;

use super::external_addresses::free_addresses;
use super::external_network::offered_or_only;
use super::nat_gateway;
use crate::model::{
    Association, ExternalNetwork, FloatingIp, NatGateway, NewFloatingIp, Port, Vpc,
};
use crate::store;

/// The floating IPs of all tenants.
#[derive(Clone)]
pub struct FloatingIps {
    db: Db,
}

/// To give a floating IP to a port.
pub struct AssociateFloatingIp {
    pub id: FloatingIpId,
    /// Id or name of the port.
    pub port: String,
    /// Also if another port has it.
    pub reassociate: bool,
    /// Whether the caller may make the VPC's gateway, if there is none.
    pub may_make_gateway: bool,
}

impl FloatingIps {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `NotFound` (the external network), `AlreadyExists` (its name), `Taken` (its address), `InvalidArgument`,
    /// `ResourceExhausted` (no address left).
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewFloatingIp,
        answer: impl Fn(&FloatingIp) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        let id = FloatingIpId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page; of one port, if that is given.
    pub async fn list(
        &self,
        query: Query,
        port: Option<PortId>,
    ) -> Result<Listing<FloatingIp>, Error> {
        let keep = |floating: &FloatingIp| {
            port.is_none_or(|port| floating.association.is_some_and(|it| it.port_id == port))
        };
        list(&self.db, query, keep).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: FloatingIpId,
        changes: Changes,
        answer: impl Fn(&FloatingIp) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Whether a floating IP can go to a port of its project without a gateway being made. Of this moment: it says no more
    /// than which rights to ask for.
    pub async fn needs_gateway(&self, floating: &FloatingIp, port: &str) -> Result<bool, Error> {
        let mut tx = self.db.begin();
        match find::<Port>(&mut tx, &floating.scope(), port).await {
            Ok(port) => Ok(!store::has_nat_gateway(&self.db, port.vpc_id).await?),
            // The change says so.
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives it to a port; nothing happens if that has it already.
    ///
    /// Errors: `NotFound` (also: the port), `FailedPrecondition` (another port has it, the port has another, the VPC has no
    /// gateway or one elsewhere), `ResourceExhausted` and `QuotaExceeded` for a gateway that is made.
    pub async fn associate<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        wanted: AssociateFloatingIp,
        answer: impl Fn(&FloatingIp, &NatGateway) -> A,
    ) -> Result<A, Error> {
        let mut change = Associate {
            owner: mutation.caller().claims.principal_id,
            gateway: NatGatewayId::generate(),
            wanted,
        };
        let answer = |(floating, gateway): &(FloatingIp, NatGateway)| answer(floating, gateway);
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Takes it from its port; nothing happens if none has it. Errors: `NotFound`.
    pub async fn disassociate<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: FloatingIpId,
        answer: impl Fn(&FloatingIp) -> A,
    ) -> Result<A, Error> {
        let mut change = Disassociate { id };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while a port has it.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: FloatingIpId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }
}

struct Create {
    id: FloatingIpId,
    new: NewFloatingIp,
}

#[async_trait]
impl Change for Create {
    type Value = FloatingIp;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<FloatingIp>, Error> {
        let new = &self.new;
        let network = offered_or_only(tx, &new.meta.org_id, &new.external_network).await?;
        let address = if new.address.is_empty() {
            free_addresses(tx, &network, 1).await?[0]
        } else {
            let address = network.parse_address(&new.address)?;
            if store::external_address_is_taken(tx, network.id, address).await? {
                return Err(Error::Taken {
                    kind: "address",
                    id: address.to_string(),
                    // Perhaps another tenant: nobody is named.
                    holder: "somebody".to_owned(),
                });
            }
            address
        };
        let floating = FloatingIp {
            id: self.id,
            meta: new.meta.clone().into_meta(Time::now()),
            external_network_id: network.id,
            address,
            association: None,
        };
        store::floating_ip_create(tx, &floating).await?;
        Ok(Effect::on(floating))
    }
}

struct Update {
    id: FloatingIpId,
    changes: Changes,
}

#[async_trait]
impl Change for Update {
    type Value = FloatingIp;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<FloatingIp>, Error> {
        let before: FloatingIp = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(FloatingIp::KIND, self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::floating_ip_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Associate {
    wanted: AssociateFloatingIp,
    /// Whose the gateway is, if one is made.
    owner: PrincipalId,
    /// Id of the gateway, if one is made: the same in each try.
    gateway: NatGatewayId,
}

impl Associate {
    /// The gateway of the port's VPC, and whether it is new.
    async fn gateway(
        &self,
        tx: &mut Transaction,
        floating: &FloatingIp,
        port: &Port,
    ) -> Result<(NatGateway, bool), Error> {
        let (network, vpc) = (floating.external_network_id, port.vpc_id);
        if let Some(gateway) = store::nat_gateway_of(tx, vpc).await? {
            if gateway.external_network_id == network {
                return Ok((gateway, false));
            }
            return Err(Error::FailedPrecondition(format!(
                "NAT gateway '{}' of the VPC of port '{}' is on another external network than floating IP '{}': take a \
                 floating IP of that network",
                gateway.meta.name, port.meta.name, floating.meta.name
            )));
        }
        let vpc: Vpc = get(tx, &vpc).await?;
        let without = |why: &str| {
            Error::FailedPrecondition(format!(
                "VPC '{}' of port '{}' has no NAT gateway, {why}: make one first",
                vpc.meta.name, port.meta.name
            ))
        };
        if !self.wanted.may_make_gateway {
            return Err(without("and you may not create one"));
        }
        let meta = NewMeta {
            org_id: vpc.meta.org_id.clone(),
            project_id: vpc.meta.project_id.clone(),
            owner: self.owner,
            name: vpc.meta.name.clone(),
            description: format!("Made for floating IP {}", floating.address),
            labels: Labels::new(),
        };
        let network: ExternalNetwork = get(tx, &network).await?;
        match nat_gateway::make(tx, self.gateway, meta, &vpc, &network, 1).await {
            Ok(gateway) => Ok((gateway, true)),
            Err(Error::AlreadyExists { .. }) => {
                Err(without("and the name that it would get is another's"))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Change for Associate {
    type Value = (FloatingIp, NatGateway);

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Self::Value>, Error> {
        let before: FloatingIp = get(tx, &self.wanted.id).await?;
        let port: Port = find(tx, &before.scope(), &self.wanted.port).await?;
        let has = before.association.map(|it| it.port_id);
        if let Some(other) = has.filter(|has| *has != port.id && !self.wanted.reassociate) {
            let other = load::<Port>(tx.db(), &other).await?;
            let other = other.map(|port| format!(" '{}'", port.meta.name));
            return Err(Error::FailedPrecondition(format!(
                "floating IP '{}' ({}) is associated with port{}: disassociate it first, or set reassociate to move it",
                before.meta.name,
                before.address,
                other.unwrap_or_default()
            )));
        }
        if let Some(other) = store::floating_ip_of(tx, port.id).await?
            && other.id != before.id
        {
            return Err(Error::FailedPrecondition(format!(
                "port '{}' has floating IP '{}' ({}): disassociate that first",
                port.meta.name, other.meta.name, other.address
            )));
        }
        let (gateway, new) = self.gateway(tx, &before, &port).await?;
        if has == Some(port.id) {
            return Ok(Effect::nothing((before, gateway)));
        }
        let mut after = before.clone();
        after.association = Some(Association {
            port_id: port.id,
            vpc_id: port.vpc_id,
            fixed: port.address,
        });
        after.meta.touch(Time::now());
        store::floating_ip_update(tx, &before, &after).await?;
        let mut reason = format!("to port '{}' ({})", port.meta.name, port.id);
        if new {
            let (name, id) = (&gateway.meta.name, gateway.id);
            reason += &format!(", with NAT gateway '{name}' ({id}), which was made for it");
        }
        Ok(Effect::about(&after.clone(), (after, gateway)).because(reason))
    }
}

struct Disassociate {
    id: FloatingIpId,
}

#[async_trait]
impl Change for Disassociate {
    type Value = FloatingIp;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<FloatingIp>, Error> {
        let before: FloatingIp = get(tx, &self.id).await?;
        let mut after = before.clone();
        let Some(left) = after.association.take() else {
            return Ok(Effect::nothing(after));
        };
        after.meta.touch(Time::now());
        store::floating_ip_update(tx, &before, &after).await?;
        Ok(Effect::on(after).because(format!("from port {}", left.port_id)))
    }
}

struct Delete {
    id: FloatingIpId,
}

#[async_trait]
impl Change for Delete {
    type Value = FloatingIp;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<FloatingIp>, Error> {
        let floating: FloatingIp = get(tx, &self.id).await?;
        if let Some(association) = floating.association {
            let port = load::<Port>(tx.db(), &association.port_id).await?;
            let port = port.map(|port| format!(" '{}'", port.meta.name));
            let text = format!(
                "floating IP '{}' ({}) is associated with port{}: disassociate it first",
                floating.meta.name,
                floating.address,
                port.unwrap_or_default()
            );
            let noun = FloatingIp::KIND.noun;
            return Err(Error::in_use(noun, floating.id, text));
        }
        store::floating_ip_delete(tx, &floating);
        Ok(Effect::on(floating))
    }
}
