//! Record sets in the store.

use flaredb::{Db, Record, Transaction};
use photon_catalog::list::{list, list_of_index};
use photon_catalog::quota::Uses;
use photon_catalog::{
    Common, Listing, MetaRecord, Query, Reference, Stored, insert, remove, replace,
};
use photon_resource::{Error, Kind, RecordSetId, Scope, ZoneId};
use serde::{Deserialize, Serialize};

use super::zone::sets_of_zone;
use crate::model::{RecordSet, RecordType, kind};

/// The stored form of a record set.
#[derive(Serialize, Deserialize)]
pub struct RecordSetRecord {
    id: RecordSetId,
    meta: MetaRecord,
    zone_id: ZoneId,
    /// The type's number in DNS.
    kind: u16,
    ttl: Option<u32>,
    values: Vec<String>,
}

impl Record for RecordSetRecord {
    const KIND: &'static str = "record set";
    const VERSION: u32 = 1;
}

impl From<&RecordSet> for RecordSetRecord {
    fn from(set: &RecordSet) -> Self {
        Self {
            id: set.id,
            meta: (&set.meta).into(),
            zone_id: set.zone_id,
            kind: set.kind.number(),
            ttl: set.ttl,
            values: set.values.clone(),
        }
    }
}

impl Stored for RecordSet {
    type Id = RecordSetId;
    type Record = RecordSetRecord;
    const TABLE: &'static str = "record-set";
    const KIND: Kind = kind::RECORD_SETS;

    fn id(&self) -> RecordSetId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    /// Every host with a port of the zone's VPCs keeps the values in memory.
    fn uses(&self) -> Uses {
        let bytes: usize = self.values.iter().map(String::len).sum();
        vec![("record_sets", 1), ("record_bytes", bytes as u64)]
    }

    /// Several zones of a project have a name, and one has it for several types.
    fn name_key(_: &Scope, _: &str) -> Option<String> {
        None
    }

    fn restore(id: RecordSetId, record: RecordSetRecord) -> Result<Self, Error> {
        let kind = RecordType::of(record.kind).ok_or_else(|| {
            Error::internal(format!(
                "record set {id} is of the unknown type {}",
                record.kind
            ))
        })?;
        Ok(Self {
            id,
            meta: record.meta.into(),
            zone_id: record.zone_id,
            kind,
            ttl: record.ttl,
            values: record.values,
        })
    }
}

fn at_key(zone: ZoneId, name: &str, kind: RecordType) -> String {
    format!("record-set-at/{zone}/{name}/{}", kind.number())
}

/// The types of which a name of a zone has record sets; if the transaction commits, it is still so.
pub async fn types_at(
    tx: &mut Transaction,
    zone: ZoneId,
    name: &str,
) -> Result<Vec<RecordType>, Error> {
    let mut there = Vec::new();
    for kind in RecordType::ALL {
        let entry: Option<Reference> = tx.get(&at_key(zone, name, kind)).await?;
        there.extend(entry.map(|_| kind));
    }
    Ok(there)
}

/// One page; with a zone, only its sets.
pub async fn record_set_list(
    db: &Db,
    query: Query,
    zone: Option<ZoneId>,
) -> Result<Listing<RecordSet>, Error> {
    match zone {
        Some(zone) => {
            let prefix = sets_of_zone(zone);
            list_of_index(db, prefix.prefix(), query, |_| true).await
        }
        None => list(db, query, |_| true).await,
    }
}

/// Creates a set of a name and type that [`types_at`] said to be free. Errors: those of the store.
pub async fn record_set_create(tx: &mut Transaction, set: &RecordSet) -> Result<(), Error> {
    insert(tx, set).await?;
    sets_of_zone(set.zone_id).add(tx, set.id)?;
    let key = at_key(set.zone_id, &set.meta.name, set.kind);
    tx.put(&key, &Reference::to(set.id))?;
    Ok(())
}

/// Errors: those of the store.
pub async fn record_set_update(
    tx: &mut Transaction,
    before: &RecordSet,
    after: &RecordSet,
) -> Result<(), Error> {
    replace(tx, before, after).await
}

/// Removes it.
pub fn record_set_delete(tx: &mut Transaction, set: &RecordSet) {
    sets_of_zone(set.zone_id).remove(tx, set.id);
    tx.delete(&at_key(set.zone_id, &set.meta.name, set.kind));
    remove(tx, set);
}
