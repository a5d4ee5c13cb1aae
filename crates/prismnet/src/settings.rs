//! What only PrismNET's server can be told.

use photon_program::ComponentSettings;

/// Section `[prismnet]` of the settings file. Nothing yet; an unknown key is refused.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

impl ComponentSettings for Settings {}
