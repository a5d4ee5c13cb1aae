//! External networks: made by operators, offered to organizations.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{
    Access, Change, Effect, Listing, Named, Query, Stored, commit, find, get, list,
};
use photon_resource::{Caller, Error, ExternalNetworkId, OrgId, Scope};
use photon_service::Mutation;

use crate::model::{AddressRange, ExternalNetwork, ExternalNetworkChanges, NewExternalNetwork};
use crate::store;

/// As many as a cloud may have: whoever makes or changes one looks at all.
const MAX_NETWORKS: usize = 100;

/// All external networks.
#[derive(Clone)]
pub struct ExternalNetworks {
    db: Db,
}

impl ExternalNetworks {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `AlreadyExists`, `InvalidArgument`, `ResourceExhausted` (the cloud has as many as it may have).
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewExternalNetwork,
        answer: impl Fn(&ExternalNetwork) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        let id = ExternalNetworkId::generate();
        let mut change = Create { id, new };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page of all, or of those that are offered to an organization.
    pub async fn list(
        &self,
        query: Query,
        org: Option<&OrgId>,
    ) -> Result<Listing<ExternalNetwork>, Error> {
        let offered = |network: &ExternalNetwork| org.is_none_or(|org| network.is_offered_to(org));
        list(&self.db, query, offered).await
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`, `FailedPrecondition` for pools without an address
    /// that somebody has.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: ExternalNetworkId,
        changes: ExternalNetworkChanges,
        answer: impl Fn(&ExternalNetwork) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while somebody has an address of it.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: ExternalNetworkId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }
}

/// The external network that is named, to look at it: for an operator any, for others one that is offered to the
/// organization of their token, which is as if it were their own.
///
/// Errors: those of [`Access::reach`].
pub async fn external_network_to_use(
    access: &Access,
    caller: &Caller,
    id_or_name: &str,
) -> Result<ExternalNetwork, Error> {
    let Some(org) = &caller.claims.org_id else {
        return access.reach(caller, "get", Named::own(id_or_name)).await;
    };
    if id_or_name.is_empty() {
        let expected = "the id or name of an external network";
        return Err(Error::invalid("id", "", expected));
    }
    let own = caller.claims.scope();
    let (kind, verb) = (ExternalNetwork::KIND, "get");
    let guard = access.guard();
    guard
        .authorize(caller, &kind.action(verb), &kind.any(own), &[])
        .await?;
    offered(&mut access.db().begin(), org, id_or_name).await
}

/// The external network with this id or name, which is offered to an organization. Errors: `NotFound`.
async fn offered(
    tx: &mut Transaction,
    org: &OrgId,
    id_or_name: &str,
) -> Result<ExternalNetwork, Error> {
    let network: ExternalNetwork = find(tx, &Scope::System, id_or_name).await?;
    if network.is_offered_to(org) {
        return Ok(network);
    }
    let noun = ExternalNetwork::KIND.noun;
    Err(Error::not_found(noun, id_or_name))
}

/// The same; without an id or name the only one that is offered to the organization.
///
/// Errors: `NotFound`; `FailedPrecondition` when none is offered, `InvalidArgument` naming them when there are several.
pub(super) async fn offered_or_only(
    tx: &mut Transaction,
    org: &OrgId,
    id_or_name: &str,
) -> Result<ExternalNetwork, Error> {
    if !id_or_name.is_empty() {
        return offered(tx, org, id_or_name).await;
    }
    let mut all = store::external_networks_now(tx.db()).await?;
    all.retain(|network| network.is_offered_to(org));
    match all.as_slice() {
        [] => Err(Error::FailedPrecondition(format!(
            "no external network is offered to organization '{org}': ask the cloud's operator for one"
        ))),
        // As the transaction sees it.
        [only] => get(tx, &only.id).await,
        several => {
            let names: Vec<&str> = several.iter().map(|it| it.name.as_str()).collect();
            let expected = format!("one of {}", names.join(", "));
            Err(Error::invalid("external_network_id", "", expected))
        }
    }
}

struct Create {
    id: ExternalNetworkId,
    new: NewExternalNetwork,
}

#[async_trait]
impl Change for Create {
    type Value = ExternalNetwork;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<ExternalNetwork>, Error> {
        let all = store::external_networks(tx).await?;
        if all.len() >= MAX_NETWORKS {
            return Err(Error::ResourceExhausted(format!(
                "the cloud has {MAX_NETWORKS} external networks, which is as many as it may have: delete one first"
            )));
        }
        expect_apart(&all, self.id, &self.new.pools)?;
        let network = self.new.clone().into_network(self.id);
        store::external_network_create(tx, &network).await?;
        Ok(Effect::on(network))
    }
}

struct Update {
    id: ExternalNetworkId,
    changes: ExternalNetworkChanges,
}

#[async_trait]
impl Change for Update {
    type Value = ExternalNetwork;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<ExternalNetwork>, Error> {
        let before: ExternalNetwork = get(tx, &self.id).await?;
        let after = before.with(self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        if after.pools != before.pools {
            let all = store::external_networks(tx).await?;
            expect_apart(&all, self.id, &after.pools)?;
            let taken = store::external_addresses(tx, self.id).await?;
            let inside = |address| after.pools.iter().any(|pool| pool.contains(address));
            if let Some(address) = taken.into_iter().find(|address| !inside(*address)) {
                return Err(Error::FailedPrecondition(format!(
                    "address {address} of external network '{}' is somebody's: keep it in a pool",
                    before.name
                )));
            }
        }
        store::external_network_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: ExternalNetworkId,
}

#[async_trait]
impl Change for Delete {
    type Value = ExternalNetwork;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<ExternalNetwork>, Error> {
        let network: ExternalNetwork = get(tx, &self.id).await?;
        store::external_network_delete(tx, &network).await?;
        Ok(Effect::on(network))
    }
}

/// Whether no address of these pools is one that another network gives out.
///
/// Errors: `InvalidArgument` naming the other.
fn expect_apart(
    all: &[ExternalNetwork],
    id: ExternalNetworkId,
    pools: &[AddressRange],
) -> Result<(), Error> {
    for other in all.iter().filter(|other| other.id != id) {
        let both = |pool: &&AddressRange| other.pools.iter().any(|it| it.overlaps(pool));
        if let Some(pool) = pools.iter().find(both) {
            let expected = format!(
                "addresses that external network '{}' does not give out",
                other.name
            );
            let given = format!("{} to {}", pool.first, pool.last);
            return Err(Error::invalid("pools", given, expected));
        }
    }
    Ok(())
}
