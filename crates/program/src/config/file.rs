//! The TOML file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::{ClientCertificates, Component, ComponentSettings, ConfigError, endpoints};

/// What every program's file may have beside its component's section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub listen: Option<IpAddr>,
    pub port: Option<u16>,
    pub metrics_listen: Option<String>,
    pub state_dir: Option<PathBuf>,
    pub credential_file: Option<PathBuf>,
    pub node: Option<String>,
    pub tls: TlsSection,
    pub endpoints: endpoints::Section,
    pub limits: LimitsSection,
    pub events: EventsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventsSection {
    pub days: Option<u64>,
    pub most: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_ca: Option<PathBuf>,
    pub client_certificates: Option<ClientCertificates>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub connections: Option<u64>,
    pub connections_per_source: Option<u64>,
    pub silent_seconds: Option<u64>,
    pub idle_seconds: Option<u64>,
    pub calls_per_connection: Option<u64>,
    pub calls: Option<u64>,
    pub streams: Option<u64>,
    pub call_timeout_seconds: Option<u64>,
    pub first_message_seconds: Option<u64>,
    pub written_kib: Option<u64>,
    pub written_kib_per_second: Option<u64>,
    pub stranger: ShareSection,
    pub principal: ShareSection,
    pub organization: ShareSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ShareSection {
    pub calls: Option<u64>,
    pub streams: Option<u64>,
    pub calls_per_second: Option<u64>,
    pub burst: Option<u64>,
}

/// Reads `path`; without one, everything is unset.
pub(super) fn read<S: ComponentSettings>(
    path: Option<&Path>,
    component: Component,
) -> Result<(File, S), ConfigError> {
    let Some(path) = path else {
        return Ok((File::default(), S::default()));
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, component).map_err(|(section, source)| ConfigError::File {
        path: path.to_owned(),
        section,
        source: Box::new(source),
    })
}

fn parse<S: ComponentSettings>(
    text: &str,
    component: Component,
) -> Result<(File, S), (String, toml::de::Error)> {
    let top = |error: toml::de::Error| located(error, text, "top level");
    let mut table = DeTable::parse(text).map_err(top)?;
    let section = table.get_mut().remove(component.name);
    let file = File::deserialize(Deserializer::from(table)).map_err(top)?;
    let own = match section {
        None => S::default(),
        Some(value) => S::deserialize(toml::de::ValueDeserializer::from(value))
            .map_err(|error| located(error, text, component.name))?,
    };
    Ok((file, own))
}

/// With the line that it is about.
fn located(mut error: toml::de::Error, text: &str, section: &str) -> (String, toml::de::Error) {
    error.set_input(Some(text));
    (section.to_owned(), error)
}
