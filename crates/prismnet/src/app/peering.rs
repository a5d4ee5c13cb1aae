//! Peerings: one side asks, the other accepts, each ends it.
//!
//! Who asks learns nothing of the other side until it accepts: a VPC that is not there, one that has no room and one whose
//! people do not answer are alike.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use ipnet::Ipv4Net;
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, list};
use photon_resource::{Changes, Error, NewMeta, PeeringId, Time, VpcId};
use photon_service::Mutation;

use crate::model::{
    MAX_PEERINGS, NewPeering, OtherSide, Peer, Peering, PeeringState, Vpc, in_the_way,
};
use crate::store;

/// The peerings of all tenants.
#[derive(Clone)]
pub struct Peerings {
    db: Db,
}

impl Peerings {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Asks. `sees_peer`: whether who asks may see the other VPC, so that it is told at once why it can't be.
    ///
    /// Errors: `NotFound` (the own VPC), `AlreadyExists` (its name), `Taken` (there is one with that VPC), `InvalidArgument`,
    /// `FailedPrecondition` (addresses in common), `QuotaExceeded`.
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewPeering,
        sees_peer: bool,
        answer: impl Fn(&Peering) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        let mut change = Create {
            id: PeeringId::generate(),
            other: PeeringId::generate(),
            new,
            sees_peer,
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page; of one VPC, if that is given.
    pub async fn list(&self, query: Query, vpc: Option<VpcId>) -> Result<Listing<Peering>, Error> {
        let keep = |peering: &Peering| vpc.is_none_or(|vpc| peering.vpc_id == vpc);
        list(&self.db, query, keep).await
    }

    /// Errors: `NotFound`, `FailedPrecondition`, `QuotaExceeded`.
    pub async fn accept<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PeeringId,
        answer: impl Fn(&Peering) -> A,
    ) -> Result<A, Error> {
        let mut change = Accept { id };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition`.
    pub async fn reject<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PeeringId,
    ) -> Result<A, Error> {
        let mut change = End { id, rejects: true };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }

    /// Errors: `NotFound`, `Conflict`, `AlreadyExists`, `InvalidArgument`.
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PeeringId,
        changes: Changes,
        answer: impl Fn(&Peering) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: PeeringId,
    ) -> Result<A, Error> {
        let mut change = End { id, rejects: false };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }
}

/// What stands between a VPC and a peering with `peer`, beside the peering `id` itself.
async fn obstacle(
    tx: &mut Transaction,
    vpc: VpcId,
    cidr: Ipv4Net,
    peer: Ipv4Net,
) -> Result<Option<String>, Error> {
    let peerings = store::peerings_of(tx, vpc).await?;
    let peers: Vec<Ipv4Net> = peerings.iter().filter_map(|it| it.active).collect();
    let routes = store::routes_of(tx, vpc).await?;
    let routes: Vec<Ipv4Net> = routes.iter().map(|it| it.destination).collect();
    Ok(in_the_way(cidr, &peers, &routes, peer))
}

fn in_common(vpc: &str, cidr: Ipv4Net, obstacle: &str) -> Error {
    Error::FailedPrecondition(format!(
        "{vpc} can't have a peering with {cidr}, which has addresses in common with {obstacle}"
    ))
}

struct Create {
    id: PeeringId,
    /// Of the other side, if it gets one.
    other: PeeringId,
    new: NewPeering,
    sees_peer: bool,
}

impl Create {
    /// The other VPC, if there is one and it has room.
    async fn peer(&self, tx: &mut Transaction, own: &Vpc) -> Result<Option<Vpc>, Error> {
        let peer = &self.new.peer;
        let Some(vpc) = Vpc::read(tx, &peer.vpc_id).await? else {
            return Ok(None);
        };
        if vpc.scope() != peer.scope() {
            return Ok(None);
        }
        if self.sees_peer
            && let Some(obstacle) = obstacle(tx, own.id, own.cidr, vpc.cidr).await?
        {
            let own = format!("VPC '{}'", own.meta.name);
            return Err(in_common(&own, vpc.cidr, &obstacle));
        }
        let asked = store::peerings_of(tx, vpc.id).await?;
        if asked.len() >= MAX_PEERINGS && !self.make_room(tx, &asked).await? {
            return Ok(None);
        }
        let known = asked.iter().any(|it| it.peer_vpc_id == own.id);
        Ok(Some(vpc).filter(|_| !known))
    }

    /// Forgets one that was asked for and not answered in time. Whether there was one.
    async fn make_room(
        &self,
        tx: &mut Transaction,
        asked: &[store::VpcPeering],
    ) -> Result<bool, Error> {
        for it in asked.iter().filter(|it| it.active.is_none()) {
            let waiting: Peering = get(tx, &it.id).await?;
            if waiting.asked_by_peer && waiting.has_expired(Time::now()) {
                store::peering_delete(tx, &waiting).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The other side of `own`, as a resource of the other project. `None`: it takes no more.
    async fn ask(
        &self,
        tx: &mut Transaction,
        own: &Peering,
        peer: &Vpc,
    ) -> Result<Option<OtherSide>, Error> {
        let meta = &own.meta;
        let short = self.other.uuid().simple().to_string();
        let new = NewMeta {
            org_id: peer.meta.org_id.clone(),
            project_id: peer.meta.project_id.clone(),
            owner: peer.meta.owner,
            name: format!("asked-{}", &short[..12]),
            description: format!("asked for by {}/{}", meta.org_id, meta.project_id),
            labels: photon_resource::Labels::new(),
        };
        let asked = Peering {
            id: self.other,
            meta: new.into_meta(meta.created_at),
            vpc_id: peer.id,
            cidr: peer.cidr,
            peer: Peer {
                org_id: meta.org_id.clone(),
                project_id: meta.project_id.clone(),
                vpc_id: own.vpc_id,
            },
            other: Some(OtherSide {
                id: own.id,
                cidr: own.cidr,
            }),
            asked_by_peer: true,
            state: PeeringState::Pending,
        };
        // As if nobody answered: its project is being deleted, or has one of that name.
        if store::peering_create(tx, &asked).await.is_err() {
            return Ok(None);
        }
        Ok(Some(OtherSide {
            id: asked.id,
            cidr: asked.cidr,
        }))
    }
}

#[async_trait]
impl Change for Create {
    type Value = Peering;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Peering>, Error> {
        let new = &self.new;
        let vpc: Vpc = find(tx, &new.meta.scope(), &new.vpc).await?;
        if new.peer.vpc_id == vpc.id {
            let expected = "another VPC than the one that asks";
            return Err(Error::invalid("peer_vpc_id", vpc.id, expected));
        }
        let own = store::peerings_of(tx, vpc.id).await?;
        let same = own.iter().find(|it| it.peer_vpc_id == new.peer.vpc_id);
        if let Some(same) = same {
            let same: Peering = get(tx, &same.id).await?;
            return Err(taken(&same));
        }
        expect_room(&vpc, own.len())?;
        let mut peering = Peering {
            id: self.id,
            meta: new.meta.clone().into_meta(Time::now()),
            vpc_id: vpc.id,
            cidr: vpc.cidr,
            peer: new.peer.clone(),
            other: None,
            asked_by_peer: false,
            state: PeeringState::Pending,
        };
        if let Some(peer) = self.peer(tx, &vpc).await? {
            peering.other = self.ask(tx, &peering, &peer).await?;
        }
        store::peering_create(tx, &peering).await?;
        Ok(Effect::on(peering))
    }
}

/// What to do instead of asking once more.
fn taken(same: &Peering) -> Error {
    let what = match (same.asked_by_peer, same.state) {
        (true, PeeringState::Pending) => ", by which it asks: accept that",
        (_, PeeringState::Rejected) => ", which is rejected: delete that first",
        (false, PeeringState::Pending) if same.has_expired(Time::now()) => {
            ", which nobody answered in time: delete that first"
        }
        _ => "",
    };
    Error::Taken {
        kind: "peering with VPC",
        id: same.peer.vpc_id.to_string(),
        holder: format!("peering '{}'{what}", same.meta.name),
    }
}

/// Whether a VPC with so many peerings may have one more. Errors: `QuotaExceeded`.
fn expect_room(vpc: &Vpc, peerings: usize) -> Result<(), Error> {
    if peerings < MAX_PEERINGS {
        return Ok(());
    }
    Err(Error::quota_exceeded(
        "peerings_of_vpc",
        peerings as u64,
        MAX_PEERINGS as u64,
        format!(
            "VPC '{}' has {MAX_PEERINGS} peerings, which is the most: delete or reject one",
            vpc.meta.name
        ),
    ))
}

struct Accept {
    id: PeeringId,
}

#[async_trait]
impl Change for Accept {
    type Value = Peering;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Peering>, Error> {
        let before: Peering = get(tx, &self.id).await?;
        let name = &before.meta.name;
        if before.state == PeeringState::Active {
            return Ok(Effect::nothing(before));
        }
        if !before.asked_by_peer {
            return Err(Error::FailedPrecondition(format!(
                "peering '{name}' was asked for by this side: the other accepts it"
            )));
        }
        let Some(other) = before.other.filter(|_| !before.has_expired(Time::now())) else {
            return Err(Error::FailedPrecondition(format!(
                "peering '{name}' was not accepted within 7 days: reject it, and have the other side ask again"
            )));
        };
        let asker: Peering = get(tx, &other.id).await?;
        if let Some(obstacle) = obstacle(tx, before.vpc_id, before.cidr, asker.cidr).await? {
            return Err(in_common("the VPC", asker.cidr, &obstacle));
        }
        // What is in the other's way is the other's.
        let theirs = obstacle(tx, asker.vpc_id, asker.cidr, before.cidr).await?;
        if theirs.is_some() {
            let obstacle = "what the VPC that asks already reaches";
            return Err(in_common("the VPC that asks", before.cidr, obstacle));
        }
        let now = Time::now();
        let mut after = before.clone();
        let mut accepted = asker.clone();
        for side in [&mut after, &mut accepted] {
            side.state = PeeringState::Active;
            side.meta.touch(now);
        }
        store::peering_update(tx, &before, &after).await?;
        store::peering_update(tx, &asker, &accepted).await?;
        Ok(Effect::on(after))
    }
}

struct Update {
    id: PeeringId,
    changes: Changes,
}

#[async_trait]
impl Change for Update {
    type Value = Peering;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Peering>, Error> {
        let before: Peering = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.meta.apply(Peering::KIND, self.changes.clone())?;
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::peering_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct End {
    id: PeeringId,
    /// Only what the other side asks for, and has not got.
    rejects: bool,
}

#[async_trait]
impl Change for End {
    type Value = Peering;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<Peering>, Error> {
        let peering: Peering = get(tx, &self.id).await?;
        let name = &peering.meta.name;
        let waits = peering.asked_by_peer && peering.state == PeeringState::Pending;
        if self.rejects && !waits {
            return Err(Error::FailedPrecondition(format!(
                "peering '{name}' is none that the other side asks for: delete it"
            )));
        }
        store::peering_delete(tx, &peering).await?;
        let other = match peering.other {
            Some(other) => Peering::read(tx, &other.id).await?,
            None => None,
        };
        match other {
            // Who asked learns the answer.
            Some(asker) if peering.asked_by_peer => {
                let mut after = asker.clone();
                after.state = PeeringState::Rejected;
                after.other = None;
                after.meta.touch(Time::now());
                store::peering_update(tx, &asker, &after).await?;
            }
            Some(asked) => store::peering_delete(tx, &asked).await?,
            None => {}
        }
        Ok(Effect::on(peering))
    }
}
