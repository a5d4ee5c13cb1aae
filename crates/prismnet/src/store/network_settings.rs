//! What organizations say of networks in their projects. As limits that an operator sets, it is small, and stays when the
//! organization is gone: an id is given once, so that it is nobody's then.

use flaredb::{Db, Record, Transaction};
use photon_resource::{Error, OrgId};
use serde::{Deserialize, Serialize};

use crate::model::NetworkSettings;

#[derive(Serialize, Deserialize)]
struct NetworkSettingsRecord {
    default_networks: bool,
}

impl Record for NetworkSettingsRecord {
    const KIND: &'static str = "network settings";
    const VERSION: u32 = 1;
}

impl NetworkSettingsRecord {
    fn into_settings(record: Option<Self>, org: &OrgId) -> NetworkSettings {
        let unsaid = NetworkSettings::unsaid(org.clone());
        match record {
            Some(record) => NetworkSettings {
                default_networks: record.default_networks,
                ..unsaid
            },
            None => unsaid,
        }
    }
}

/// Where they are.
pub fn network_settings_key(org: &OrgId) -> String {
    format!("network-settings/{org}")
}

/// What an organization says, as a transaction sees it.
pub async fn network_settings_read(
    tx: &mut Transaction,
    org: &OrgId,
) -> Result<NetworkSettings, Error> {
    let record = tx.get(&network_settings_key(org)).await?;
    Ok(NetworkSettingsRecord::into_settings(record, org))
}

/// What an organization says now.
pub async fn network_settings_load(db: &Db, org: &OrgId) -> Result<NetworkSettings, Error> {
    let record = db.get(&network_settings_key(org)).await?;
    Ok(NetworkSettingsRecord::into_settings(record, org))
}

/// Stores them.
pub fn network_settings_put(tx: &mut Transaction, settings: &NetworkSettings) -> Result<(), Error> {
    let record = NetworkSettingsRecord {
        default_networks: settings.default_networks,
    };
    tx.put(&network_settings_key(&settings.org_id), &record)?;
    Ok(())
}
