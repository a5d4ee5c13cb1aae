use photon_api::flashdns::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id_or_name, timestamp};
use photon_resource::Error;

use crate::app::Resolved;
use crate::model::{NewRecordSet, RecordSet, RecordSetChanges, RecordType, kind};

/// Errors: `InvalidArgument`.
pub fn new_record_set(
    tenant: Tenant,
    request: pb::CreateRecordSetRequest,
) -> Result<NewRecordSet, Error> {
    Ok(NewRecordSet {
        kind: record_type(request.r#type)?,
        zone: id_or_name("zone_id", kind::ZONES.noun, request.zone_id)?,
        ttl: own_ttl(request.ttl),
        values: request.values,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// What an update changes.
pub fn record_set_changes(request: pb::UpdateRecordSetRequest) -> RecordSetChanges {
    RecordSetChanges {
        ttl: request.ttl.map(own_ttl),
        values: request.values.map(|values| values.values),
        common: changes(
            None,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
    }
}

fn own_ttl(ttl: u32) -> Option<u32> {
    (ttl != 0).then_some(ttl)
}

fn record_type(number: i32) -> Result<RecordType, Error> {
    let known = u16::try_from(number).ok().and_then(RecordType::of);
    known.ok_or_else(|| {
        let expected = "one of RECORD_TYPE_A, AAAA, CNAME, MX, TXT, SRV, CAA, PTR";
        Error::invalid("type", number, expected)
    })
}

/// The type that is asked for; without one, IPv4 addresses. Errors: `InvalidArgument`.
pub fn asked_type(number: i32) -> Result<RecordType, Error> {
    match number {
        0 => Ok(RecordType::A),
        number => record_type(number),
    }
}

/// What guests are answered, as people are told.
pub fn resolved(resolved: Resolved) -> pb::ResolveResponse {
    let records = resolved.records.into_iter();
    let records = records.map(|record| pb::ResolvedRecord {
        name: record.name,
        r#type: record.kind,
        ttl: record.ttl,
        value: record.value,
    });
    pb::ResolveResponse {
        code: resolved.code.to_owned(),
        records: records.collect(),
        zone: resolved.zone,
    }
}

/// A record set as clients see it.
pub fn record_set(set: &RecordSet) -> pb::RecordSet {
    let meta = set.meta.clone();
    pb::RecordSet {
        id: set.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        zone_id: set.zone_id.to_string(),
        name: meta.name,
        // The wire has DNS's numbers.
        r#type: set.kind.number().into(),
        ttl: set.ttl.unwrap_or_default(),
        values: set.values.clone(),
        description: meta.description,
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}
