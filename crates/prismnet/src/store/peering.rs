//! Peerings in the store: each side a record of its own project.

use flaredb::{Record, Transaction};
use ipnet::Ipv4Net;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Stored, insert, remove, replace};
use photon_resource::{Error, Kind, OrgId, PeeringId, ProjectId, Scope, VpcId};
use serde::{Deserialize, Serialize};

use crate::model::{OtherSide, Peer, Peering, PeeringState, kind};

/// The stored form of one side of a peering.
#[derive(Serialize, Deserialize)]
pub struct PeeringRecord {
    id: PeeringId,
    meta: MetaRecord,
    vpc_id: VpcId,
    cidr: Ipv4Net,
    peer_org_id: OrgId,
    peer_project_id: ProjectId,
    peer_vpc_id: VpcId,
    other: Option<OtherSideRecord>,
    asked_by_peer: bool,
    state: StateRecord,
}

#[derive(Serialize, Deserialize)]
struct OtherSideRecord {
    id: PeeringId,
    cidr: Ipv4Net,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Pending,
    Active,
    Rejected,
}

impl Record for PeeringRecord {
    const KIND: &'static str = "peering";
    const VERSION: u32 = 1;
}

impl From<&Peering> for PeeringRecord {
    fn from(peering: &Peering) -> Self {
        Self {
            id: peering.id,
            meta: (&peering.meta).into(),
            vpc_id: peering.vpc_id,
            cidr: peering.cidr,
            peer_org_id: peering.peer.org_id.clone(),
            peer_project_id: peering.peer.project_id.clone(),
            peer_vpc_id: peering.peer.vpc_id,
            other: peering.other.map(|it| OtherSideRecord {
                id: it.id,
                cidr: it.cidr,
            }),
            asked_by_peer: peering.asked_by_peer,
            state: match peering.state {
                PeeringState::Pending => StateRecord::Pending,
                PeeringState::Active => StateRecord::Active,
                PeeringState::Rejected => StateRecord::Rejected,
            },
        }
    }
}

impl Stored for Peering {
    type Id = PeeringId;
    type Record = PeeringRecord;
    const TABLE: &'static str = "peering";
    const KIND: Kind = kind::PEERINGS;

    fn id(&self) -> PeeringId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    /// What others ask for counts when it is accepted: nobody fills another's quota.
    fn uses(&self) -> Uses {
        match self.asked_by_peer && self.state != PeeringState::Active {
            true => Uses::new(),
            false => vec![("peerings", 1)],
        }
    }

    fn restore(id: PeeringId, record: PeeringRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            meta: record.meta.into(),
            vpc_id: record.vpc_id,
            cidr: record.cidr,
            peer: Peer {
                org_id: record.peer_org_id,
                project_id: record.peer_project_id,
                vpc_id: record.peer_vpc_id,
            },
            other: record.other.map(|it| OtherSide {
                id: it.id,
                cidr: it.cidr,
            }),
            asked_by_peer: record.asked_by_peer,
            state: match record.state {
                StateRecord::Pending => PeeringState::Pending,
                StateRecord::Active => PeeringState::Active,
                StateRecord::Rejected => PeeringState::Rejected,
            },
        })
    }
}

/// All peerings of a VPC, in one record, as with routes.
#[derive(Default, Serialize, Deserialize)]
struct VpcPeeringsRecord {
    peerings: Vec<VpcPeering>,
}

/// A peering, as its VPC knows it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct VpcPeering {
    pub id: PeeringId,
    pub peer_vpc_id: VpcId,
    /// Range of the other VPC, if it is active.
    pub active: Option<Ipv4Net>,
}

impl Record for VpcPeeringsRecord {
    const KIND: &'static str = "peerings of a VPC";
    const VERSION: u32 = 1;
}

fn vpc_key(vpc: VpcId) -> String {
    format!("vpc-peerings/{vpc}")
}

/// The peerings of a VPC; if the transaction commits, none was added, deleted or changed meanwhile.
pub async fn peerings_of(tx: &mut Transaction, vpc: VpcId) -> Result<Vec<VpcPeering>, Error> {
    let record: Option<VpcPeeringsRecord> = tx.get(&vpc_key(vpc)).await?;
    Ok(record.unwrap_or_default().peerings)
}

/// Notes in the VPC's record how a peering is; `None`: it is not there any more.
async fn note(
    tx: &mut Transaction,
    vpc: VpcId,
    id: PeeringId,
    now: Option<&Peering>,
) -> Result<(), Error> {
    let mut peerings = peerings_of(tx, vpc).await?;
    peerings.retain(|it| it.id != id);
    peerings.extend(now.map(|peering| VpcPeering {
        id,
        peer_vpc_id: peering.peer.vpc_id,
        active: match peering.state {
            PeeringState::Active => peering.other.map(|other| other.cidr),
            _ => None,
        },
    }));
    let key = vpc_key(vpc);
    if peerings.is_empty() {
        tx.delete(&key);
    } else {
        tx.put(&key, &VpcPeeringsRecord { peerings })?;
    }
    Ok(())
}

/// Creates one side. Errors: `AlreadyExists` when its name is taken. Nothing is written then.
pub async fn peering_create(tx: &mut Transaction, peering: &Peering) -> Result<(), Error> {
    insert(tx, peering).await?;
    note(tx, peering.vpc_id, peering.id, Some(peering)).await
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn peering_update(
    tx: &mut Transaction,
    before: &Peering,
    after: &Peering,
) -> Result<(), Error> {
    replace(tx, before, after).await?;
    note(tx, after.vpc_id, after.id, Some(after)).await
}

/// Deletes one side. Errors: those of the store.
pub async fn peering_delete(tx: &mut Transaction, peering: &Peering) -> Result<(), Error> {
    remove(tx, peering);
    note(tx, peering.vpc_id, peering.id, None).await
}
