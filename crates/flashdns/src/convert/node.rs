use std::net::IpAddr;

use photon_api::flashdns::v1 as pb;

use crate::app::{Desired, DesiredView, DesiredZone};
use crate::model::{RecordSet, carried};

/// What a host should answer, as it is told.
pub fn desired(desired: &Desired<'_>, suffix: &str) -> pb::DesiredNames {
    pb::DesiredNames {
        revision: desired.revision,
        views: desired.views.iter().map(view).collect(),
        suffix: Some(suffix.to_owned()),
        ..pb::DesiredNames::default()
    }
}

fn view(view: &DesiredView<'_>) -> pb::DesiredView {
    let names = view.names.iter().map(|(name, stands_for)| pb::DesiredName {
        id: name.clone(),
        addresses: stands_for.addresses.iter().map(IpAddr::to_string).collect(),
    });
    pb::DesiredView {
        id: view.vpc_id.to_string(),
        gateways: view.gateways.iter().map(IpAddr::to_string).collect(),
        networks: view.networks.iter().map(ToString::to_string).collect(),
        names: names.collect(),
        zones: view.zones.iter().map(zone).collect(),
        ..pb::DesiredView::default()
    }
}

fn zone(desired: &DesiredZone<'_>) -> pb::DesiredZone {
    let sets = desired.record_sets.iter();
    let ttl = desired.zone.default_ttl;
    pb::DesiredZone {
        id: desired.zone.id.to_string(),
        name: desired.zone.meta.name.clone(),
        record_sets: sets.map(|set| record_set(set, ttl)).collect(),
        ..pb::DesiredZone::default()
    }
}

fn record_set(set: &RecordSet, default_ttl: u32) -> pb::DesiredRecordSet {
    pb::DesiredRecordSet {
        id: set.id.to_string(),
        name: set.label().to_owned(),
        r#type: set.kind.number().into(),
        ttl: set.ttl.unwrap_or(default_ttl),
        values: carried(set),
    }
}
