use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Error;

/// A stored record: a struct with a version, kept as JSON `{"v":VERSION,"d":{…}}`.
///
/// Changing the struct means: raise `VERSION`, and teach [`migrate`](Self::migrate) the step from the version
/// before. A record is migrated when it is read; it is stored in its new form when it is next written.
///
/// A record that a newer version wrote is refused ([`Error::NewerRecord`]), never read in part: writing it
/// back would lose what the newer program put there.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is, in the singular, for error messages: `VPC`.
    const KIND: &'static str;
    /// Version of this struct, from 1.
    const VERSION: u32;

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

/// The stored form of a record. `key` is for the error message.
pub fn encode<R: Record>(key: &str, record: &R) -> Result<Vec<u8>, Error> {
    let written = Written {
        v: R::VERSION,
        d: record,
    };
    serde_json::to_vec(&written).map_err(|source| Error::Unwritable {
        key: key.to_owned(),
        kind: R::KIND,
        source: Arc::new(source),
    })
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
