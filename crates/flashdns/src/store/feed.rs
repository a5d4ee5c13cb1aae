//! The store as a feed of zones and record sets, for whoever keeps all of them in memory.

use flaredb::{Change, Db, Revision};
use photon_catalog::Stored;
use photon_resource::Error;

use crate::model::{Changed, RecordSet, Zone};

/// What a change of the store means; `None`: nothing to a zone or record set (an index, an event).
///
/// Errors: `Internal` for a record that can't be read, as one of a newer program.
pub fn changed(change: &Change) -> Result<Option<Changed>, Error> {
    if let Some(id) = Zone::id_of_key(&change.key) {
        return Ok(Some(Changed::Zone(id, now::<Zone>(id, change)?)));
    }
    if let Some(id) = RecordSet::id_of_key(&change.key) {
        return Ok(Some(Changed::RecordSet(id, now::<RecordSet>(id, change)?)));
    }
    Ok(None)
}

fn now<R: Stored>(id: R::Id, change: &Change) -> Result<Option<R>, Error> {
    let record = change.record::<R::Record>()?;
    record.map(|record| R::restore(id, record)).transpose()
}

/// All of both. They may be of different revisions, none older than the one returned: applying the changes after that gives
/// a consistent picture.
pub async fn everything(db: &Db) -> Result<(Vec<Changed>, Revision), Error> {
    let revision = db.revision().await?;
    let zones = table::<Zone>(db).await?.into_iter();
    let sets = table::<RecordSet>(db).await?.into_iter();
    let zones = zones.map(|zone| Changed::Zone(zone.id, Some(zone)));
    let sets = sets.map(|set| Changed::RecordSet(set.id, Some(set)));
    Ok((zones.chain(sets).collect(), revision))
}

async fn table<R: Stored>(db: &Db) -> Result<Vec<R>, Error> {
    let prefix = format!("{}/", R::TABLE);
    let records = db.scan::<R::Record>(&prefix).await?;
    records
        .into_iter()
        .map(|(key, record)| R::restore(key[prefix.len()..].parse()?, record))
        .collect()
}
