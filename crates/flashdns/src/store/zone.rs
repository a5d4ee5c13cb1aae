//! Zones in the store.

use std::collections::BTreeSet;

use flaredb::{Record, Transaction};
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Reference, Stored, Users, insert, remove, replace};
use photon_resource::{Error, Kind, Scope, VpcId, ZoneId};
use serde::{Deserialize, Serialize};

use crate::model::{RecordSet, Zone, is_zone_name, kind};

/// The stored form of a zone.
#[derive(Serialize, Deserialize)]
pub struct ZoneRecord {
    id: ZoneId,
    meta: MetaRecord,
    vpc_ids: BTreeSet<VpcId>,
    default_ttl: u32,
}

impl Record for ZoneRecord {
    const KIND: &'static str = "zone";
    const VERSION: u32 = 1;
}

impl From<&Zone> for ZoneRecord {
    fn from(zone: &Zone) -> Self {
        Self {
            id: zone.id,
            meta: (&zone.meta).into(),
            vpc_ids: zone.vpc_ids.clone(),
            default_ttl: zone.default_ttl,
        }
    }
}

impl Stored for Zone {
    type Id = ZoneId;
    type Record = ZoneRecord;
    const TABLE: &'static str = "zone";
    const KIND: Kind = kind::ZONES;

    fn id(&self) -> ZoneId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![("zones", 1)]
    }

    /// A zone's name is a domain.
    fn is_name(text: &str) -> bool {
        is_zone_name(text)
    }

    fn restore(id: ZoneId, record: ZoneRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            meta: record.meta.into(),
            vpc_ids: record.vpc_ids,
            default_ttl: record.default_ttl,
        })
    }
}

/// The record sets of a zone.
pub(super) fn sets_of_zone(zone: ZoneId) -> Users {
    Users::new(format!("zone-set/{zone}/"), format!("zone-users/{zone}"))
}

fn vpc_key(vpc: VpcId, name: &str) -> String {
    format!("zone-vpc/{vpc}/{name}")
}

/// A VPC's guests have one answer. Errors: `Taken`.
async fn claim(tx: &mut Transaction, zone: &Zone, vpc: VpcId) -> Result<(), Error> {
    let key = vpc_key(vpc, &zone.meta.name);
    if let Some(holder) = tx.get::<Reference>(&key).await? {
        return Err(Error::Taken {
            kind: "zone in the VPC",
            id: zone.meta.name.clone(),
            holder: format!("zone {}", holder.id),
        });
    }
    tx.put(&key, &Reference::to(zone.id))?;
    Ok(())
}

/// Errors: `AlreadyExists` when the project has one of that name, `Taken` when one of its VPCs has.
pub async fn zone_create(tx: &mut Transaction, zone: &Zone) -> Result<(), Error> {
    insert(tx, zone).await?;
    for vpc in &zone.vpc_ids {
        claim(tx, zone, *vpc).await?;
    }
    Ok(())
}

/// Errors: `Taken` when a new VPC has one of that name.
pub async fn zone_update(tx: &mut Transaction, before: &Zone, after: &Zone) -> Result<(), Error> {
    for left in before.vpc_ids.difference(&after.vpc_ids) {
        tx.delete(&vpc_key(*left, &before.meta.name));
    }
    for joined in after.vpc_ids.difference(&before.vpc_ids) {
        claim(tx, after, *joined).await?;
    }
    replace(tx, before, after).await
}

/// Errors: `FailedPrecondition` while it has record sets.
pub async fn zone_delete(tx: &mut Transaction, zone: &Zone) -> Result<(), Error> {
    let sets = sets_of_zone(zone.id);
    sets.expect_none::<RecordSet>(tx, zone, "record sets", "delete them first")
        .await?;
    sets.forget(tx);
    for vpc in &zone.vpc_ids {
        tx.delete(&vpc_key(*vpc, &zone.meta.name));
    }
    remove(tx, zone);
    Ok(())
}
