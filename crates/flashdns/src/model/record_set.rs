//! Record sets: the records of one name and type in a zone.

use photon_resource::{
    Changes, Error, Meta, NewMeta, RecordSetId, ZoneId, validate_description, validate_labels,
};

use super::domain::validate_record_name;
use super::value::{RecordType, rdata, validate_values};
use super::zone::validate_ttl;

/// The name of the zone itself.
const APEX: &str = "@";

/// A record set. Its name below the zone's is that of its `meta`; it does not change, nor does the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    pub id: RecordSetId,
    pub meta: Meta,
    pub zone_id: ZoneId,
    pub kind: RecordType,
    /// In seconds; `None`: the zone's.
    pub ttl: Option<u32>,
    /// In the form in which they are kept.
    pub values: Vec<String>,
}

/// A record set to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecordSet {
    pub meta: NewMeta,
    /// Id or name.
    pub zone: String,
    pub kind: RecordType,
    pub ttl: Option<u32>,
    pub values: Vec<String>,
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Debug, Default)]
pub struct RecordSetChanges {
    pub common: Changes,
    /// `Some(None)`: the zone's.
    pub ttl: Option<Option<u32>>,
    pub values: Option<Vec<String>>,
}

impl RecordSet {
    /// Its name below the zone's as hosts are told it: empty for the zone's own.
    pub fn label(&self) -> &str {
        match self.meta.name.as_str() {
            APEX => "",
            name => name,
        }
    }
}

/// The values of a set as DNS carries them. Each was read before it was kept.
pub fn carried(set: &RecordSet) -> Vec<Vec<u8>> {
    let values = set.values.iter();
    values.filter_map(|value| rdata(set.kind, value)).collect()
}

impl NewRecordSet {
    /// What is to be stored of it; the name is looked at when the zone is known. Errors: `InvalidArgument`.
    pub fn validated(mut self) -> Result<Self, Error> {
        validate_description(&self.meta.description)?;
        validate_labels(&self.meta.labels)?;
        self.ttl.map_or(Ok(()), |ttl| validate_ttl("ttl", ttl))?;
        self.values = validate_values(self.kind, &self.values)?;
        Ok(self)
    }

    /// Whether it can be in the zone of this name. Errors: `InvalidArgument`.
    pub fn fits(&self, zone: &str) -> Result<(), Error> {
        validate_record_name(&self.meta.name, zone)?;
        if self.kind == RecordType::Cname && self.meta.name == APEX {
            let expected = "another name than the zone's own, which has records of its own (RFC 1034 section 3.6.2)";
            return Err(Error::invalid("name", APEX, expected));
        }
        Ok(())
    }
}

impl RecordSetChanges {
    /// What is to be stored of it, of a set of this type. Errors: `InvalidArgument`.
    pub fn validated(mut self, kind: RecordType) -> Result<Self, Error> {
        self.common.validate()?;
        if let Some(Some(ttl)) = self.ttl {
            validate_ttl("ttl", ttl)?;
        }
        if let Some(values) = &self.values {
            self.values = Some(validate_values(kind, values)?);
        }
        Ok(self)
    }
}
