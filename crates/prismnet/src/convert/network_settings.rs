use photon_api::prismnet::v1 as pb;

use crate::model::NetworkSettings;

/// What an organization says, as clients see it.
pub fn network_settings(settings: &NetworkSettings) -> pb::NetworkSettings {
    pb::NetworkSettings {
        org_id: settings.org_id.to_string(),
        default_networks: settings.default_networks,
    }
}
