use std::net::IpAddr;

use photon_api::flashdns::v1 as pb;

use crate::app::{Desired, DesiredView};

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
        ..pb::DesiredView::default()
    }
}
