//! The network that a project gets without asking for one, and what its organization says of that.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use ipnet::Ipv4Net;
use photon_catalog::{Change, Effect, Stored, Tenant, commit, find};
use photon_resource::{Error, Labels, NewMeta, OrgId, ResourceName, Scope, SubnetId, Time, VpcId};
use photon_service::Mutation;

use super::number::{free_table, free_vni};
use super::subnet::{expect_no_detour, expect_room};
use crate::model::{DEFAULT_NETWORK, NetworkSettings, NewSubnet, Subnet, Vpc, free_range};
use crate::store;

/// Default networks of all tenants.
#[derive(Clone)]
pub struct DefaultNetworks {
    db: Db,
    cidr: Ipv4Net,
}

impl DefaultNetworks {
    /// Those in `db`; VPCs that are made get `cidr`.
    pub fn new(db: Db, cidr: Ipv4Net) -> Self {
        Self { db, cidr }
    }

    /// The project's default subnet: that which is there, or a new one, in a new VPC if there is none of that name.
    ///
    /// Errors: `FailedPrecondition` when the organization has none made, or the VPC has no room; `QuotaExceeded`.
    pub async fn ensure<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        tenant: Tenant,
        answer: impl Fn(&Subnet) -> A,
    ) -> Result<A, Error> {
        let mut change = Ensure {
            tenant,
            cidr: self.cidr,
            vpc: VpcId::generate(),
            subnet: SubnetId::generate(),
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Says whether projects of the organization of `settings` get one.
    pub async fn say<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        resource: ResourceName,
        settings: SettingsChange,
        answer: impl Fn(&NetworkSettings) -> A,
    ) -> Result<A, Error> {
        let mut change = Say { resource, settings };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }
}

/// What an update of an organization's settings changes.
pub struct SettingsChange {
    pub org_id: OrgId,
    /// `None`: as it is.
    pub default_networks: Option<bool>,
}

struct Ensure {
    tenant: Tenant,
    cidr: Ipv4Net,
    /// Ids of what is made, the same in each try.
    vpc: VpcId,
    subnet: SubnetId,
}

impl Ensure {
    fn meta(&self, description: &str) -> NewMeta {
        let (name, labels) = (DEFAULT_NETWORK.to_owned(), Labels::new());
        self.tenant
            .clone()
            .meta(name, description.to_owned(), labels)
    }

    /// The VPC of this name, and whether it is new.
    async fn vpc(&self, tx: &mut Transaction, scope: &Scope) -> Result<(Vpc, bool), Error> {
        if let Some(vpc) = called::<Vpc>(tx, scope).await? {
            return Ok((vpc, false));
        }
        let vpc = Vpc {
            id: self.vpc,
            meta: self
                .meta("Made for the project's first VM")
                .into_meta(Time::now()),
            cidr: self.cidr,
            ipv6_cidr: None,
            table: free_table(tx).await?,
        };
        store::vpc_create(tx, &vpc).await?;
        Ok((vpc, true))
    }
}

/// What the project calls [`DEFAULT_NETWORK`].
async fn called<R: Stored>(tx: &mut Transaction, scope: &Scope) -> Result<Option<R>, Error> {
    match find(tx, scope, DEFAULT_NETWORK).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Change for Ensure {
    type Value = Subnet;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Subnet>, Error> {
        let scope = self.tenant.scope();
        if let Some(subnet) = called::<Subnet>(tx, &scope).await? {
            return Ok(Effect::nothing(subnet));
        }
        let org = &self.tenant.org_id;
        if !store::network_settings_read(tx, org)
            .await?
            .default_networks
        {
            return Err(Error::FailedPrecondition(format!(
                "project '{}' has no subnet '{DEFAULT_NETWORK}', and organization '{org}' has none made by itself: \
                 make a VPC and a subnet, and name the subnet where one is needed",
                self.tenant.project_id
            )));
        }
        let (vpc, new) = self.vpc(tx, &scope).await?;
        let others = store::subnets_of(tx, vpc.id).await?;
        expect_room(&vpc, others.len())?;
        let others: Vec<Ipv4Net> = others.iter().map(|it| it.cidr).collect();
        let Some(cidr) = free_range(vpc.cidr, &others) else {
            return Err(Error::FailedPrecondition(format!(
                "VPC '{DEFAULT_NETWORK}' ({}) has no room for a subnet '{DEFAULT_NETWORK}': make one of what is left, or name \
                 another subnet",
                vpc.cidr
            )));
        };
        expect_no_detour(tx, vpc.id, cidr).await?;
        let subnet = Subnet {
            id: self.subnet,
            vpc_id: vpc.id,
            meta: self
                .meta("Where VMs are that name no other subnet")
                .into_meta(Time::now()),
            cidr,
            gateway: NewSubnet::parse_gateway(cidr, "")?,
            dhcp_enabled: true,
            dns_servers: Vec::new(),
            ipv6: None,
            vni: free_vni(tx).await?,
        };
        store::subnet_create(tx, &subnet).await?;
        let vpc = match new {
            true => format!("with VPC '{DEFAULT_NETWORK}' ({})", vpc.id),
            false => format!("in VPC '{DEFAULT_NETWORK}' ({}), which was there", vpc.id),
        };
        Ok(Effect::on(subnet).because(format!("the project's default network, made {vpc}")))
    }
}

struct Say {
    resource: ResourceName,
    settings: SettingsChange,
}

#[async_trait]
impl Change for Say {
    type Value = NetworkSettings;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<NetworkSettings>, Error> {
        let org = &self.settings.org_id;
        let before = store::network_settings_read(tx, org).await?;
        let mut after = before.clone();
        if let Some(default_networks) = self.settings.default_networks {
            after.default_networks = default_networks;
        }
        if after == before {
            return Ok(Effect::nothing(after));
        }
        store::network_settings_put(tx, &after)?;
        let reason = format!("default_networks = {}", after.default_networks);
        let key = store::network_settings_key(org);
        Ok(Effect::at(self.resource.clone(), key, after).because(reason))
    }
}
