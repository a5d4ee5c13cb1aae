//! Zones: domains of a project's own.

use std::collections::BTreeSet;

use photon_resource::{
    Changes, Error, Meta, NewMeta, VpcId, ZoneId, validate_description, validate_labels,
};

use super::domain::validate_zone_name;

/// How long records are remembered where nobody says otherwise, in seconds.
const USUAL_TTL: u32 = 60;
/// The longest, in seconds: a day.
const LONGEST_TTL: u32 = 86_400;
/// The most VPCs of a zone.
const MOST_VPCS: usize = 16;

/// A zone. Its name is that of its `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub id: ZoneId,
    pub meta: Meta,
    /// Whose guests are answered from it.
    pub vpc_ids: BTreeSet<VpcId>,
    /// In seconds.
    pub default_ttl: u32,
}

/// A zone to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewZone {
    pub meta: NewMeta,
    pub vpc_ids: BTreeSet<VpcId>,
    /// In seconds; 0: the usual.
    pub default_ttl: u32,
}

/// What an update changes; `None` leaves as it is.
#[derive(Clone, Debug, Default)]
pub struct ZoneChanges {
    pub common: Changes,
    pub vpc_ids: Option<BTreeSet<VpcId>>,
    pub default_ttl: Option<u32>,
}

impl NewZone {
    /// What is to be stored of it in a cloud whose names end with `suffix`. Errors: `InvalidArgument`.
    pub fn validated(mut self, suffix: &str) -> Result<Self, Error> {
        validate_zone_name(&self.meta.name, suffix)?;
        validate_description(&self.meta.description)?;
        validate_labels(&self.meta.labels)?;
        if self.default_ttl == 0 {
            self.default_ttl = USUAL_TTL;
        }
        validate_ttl("default_ttl", self.default_ttl)?;
        Ok(self)
    }
}

impl ZoneChanges {
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        self.common.validate()?;
        self.default_ttl
            .map_or(Ok(()), |ttl| validate_ttl("default_ttl", ttl))
    }
}

/// Errors: `InvalidArgument`: more than a zone may have.
pub fn validate_vpc_count(count: usize) -> Result<(), Error> {
    if count <= MOST_VPCS {
        return Ok(());
    }
    Err(Error::invalid(
        "vpc_ids",
        count,
        format!("at most {MOST_VPCS} VPCs"),
    ))
}

/// How long something may be remembered, in seconds. Errors: `InvalidArgument`.
pub fn validate_ttl(field: &str, ttl: u32) -> Result<(), Error> {
    if (1..=LONGEST_TTL).contains(&ttl) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        ttl,
        format!("1 to {LONGEST_TTL} seconds"),
    ))
}
