use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Error;

/// A stored record: a struct with a version, kept as JSON `{"v":VERSION,"d":{…}}`.
///
/// Changing the struct means: raise `VERSION`, set `SINCE` to the next [`SCHEMA_VERSION`](crate::SCHEMA_VERSION),
/// teach [`migrate`](Self::migrate) the step from the version before and [`demote`](Self::demote) the step back.
/// A record is migrated when it is read; it is stored in its new form when it is next written, but not before the
/// store's schema is `SINCE`: until an operator finalizes an upgrade, the program of before can be put back.
///
/// A record that a newer version wrote is refused ([`Error::NewerRecord`]), never read in part: writing it
/// back would lose what the newer program put there.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is, in the singular, for error messages: `VPC`.
    const KIND: &'static str;
    /// Version of this struct, from 1.
    const VERSION: u32;
    /// Schema of the store from which on this version is written; before, the version before is.
    const SINCE: u32 = 1;

    /// One step: turns the JSON of `version` into that of `version + 1`. It must not panic on JSON that no
    /// program wrote.
    fn migrate(version: u32, value: serde_json::Value) -> Result<serde_json::Value, Error> {
        let _ = value;
        Err(Error::Migration {
            kind: Self::KIND,
            version,
            reason: "the program has none".to_owned(),
        })
    }

    /// The step back: turns the JSON of `VERSION` into that of `VERSION - 1`. What the version before has no place for
    /// is refused with [`Error::NotFinalized`], never dropped.
    fn demote(value: serde_json::Value) -> Result<serde_json::Value, Error> {
        let _ = value;
        Err(Error::NotFinalized {
            kind: Self::KIND,
            reason: format!("only version {} can be written", Self::VERSION),
        })
    }
}

#[derive(Serialize)]
struct Written<'a, R> {
    v: u32,
    d: &'a R,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    v: u32,
    #[serde(borrow)]
    d: &'a RawValue,
}

/// The stored form of a record in a store whose schema is up to date. `key` is for the error message.
pub fn encode<R: Record>(key: &str, record: &R) -> Result<Vec<u8>, Error> {
    encode_for(R::SINCE, key, record)
}

/// The stored form of a record in a store of this schema: that of the version before, if the record's is newer.
pub fn encode_for<R: Record>(schema: u32, key: &str, record: &R) -> Result<Vec<u8>, Error> {
    let unwritable = |source| Error::Unwritable {
        key: key.to_owned(),
        kind: R::KIND,
        source: Arc::new(source),
    };
    if schema >= R::SINCE {
        let (v, d) = (R::VERSION, record);
        return serde_json::to_vec(&Written { v, d }).map_err(unwritable);
    }
    let older = R::demote(serde_json::to_value(record).map_err(unwritable)?)?;
    let (v, d) = (R::VERSION - 1, &older);
    serde_json::to_vec(&Written { v, d }).map_err(unwritable)
}

/// The record of a stored form, brought forward to the current version.
pub fn decode<R: Record>(key: &str, bytes: &[u8]) -> Result<R, Error> {
    let corrupt = |version, source| Error::CorruptRecord {
        key: key.to_owned(),
        kind: R::KIND,
        version,
        source: Arc::new(source),
    };
    let stored: Stored = serde_json::from_slice(bytes).map_err(|source| corrupt(None, source))?;
    if stored.v > R::VERSION {
        return Err(Error::NewerRecord {
            key: key.to_owned(),
            kind: R::KIND,
            found: stored.v,
            known: R::VERSION,
        });
    }
    if stored.v == 0 {
        let source = serde::de::Error::custom("version 0 never was");
        return Err(corrupt(Some(0), source));
    }
    if stored.v == R::VERSION {
        return serde_json::from_str(stored.d.get())
            .map_err(|source| corrupt(Some(stored.v), source));
    }
    let mut value =
        serde_json::from_str(stored.d.get()).map_err(|source| corrupt(Some(stored.v), source))?;
    for version in stored.v..R::VERSION {
        value = R::migrate(version, value)?;
    }
    serde_json::from_value(value).map_err(|source| corrupt(Some(stored.v), source))
}
