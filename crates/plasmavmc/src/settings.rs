//! The settings that only this server has: the section `[plasmavmc]` of the file.

use photon_program::{ComponentSettings, Invalid};

/// See each field; unknown keys are refused.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The most that one import may have, all of its files together, in bytes.
    pub image_max_bytes: u64,
    /// The most that the images of one project may have together, in bytes.
    pub image_quota_bytes: u64,
    /// How many vCPUs are promised for each CPU of a host.
    pub vcpu_overcommit: u32,
    /// A host that has not been heard of for so many seconds gets no new VMs.
    pub node_timeout_seconds: u64,
    /// MTU of guests' interfaces: the hosts' own, less what VXLAN needs (50 bytes over IPv4, RFC 7348).
    pub guest_mtu: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image_max_bytes: 64 << 30,
            image_quota_bytes: 256 << 30,
            vcpu_overcommit: 4,
            node_timeout_seconds: 30,
            guest_mtu: 1450,
        }
    }
}

impl ComponentSettings for Settings {
    fn validate(&self) -> Result<(), Invalid> {
        let within = |key: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let key = format!("plasmavmc.{key}");
            Err(Invalid::new(key, value, format!("{least} to {most}")))
        };
        within("image_max_bytes", self.image_max_bytes, 512, 16 << 40)?;
        within("image_quota_bytes", self.image_quota_bytes, 512, 1 << 60)?;
        within("vcpu_overcommit", self.vcpu_overcommit.into(), 1, 64)?;
        // Hosts register every 10 s.
        within("node_timeout_seconds", self.node_timeout_seconds, 1, 3600)?;
        within("guest_mtu", self.guest_mtu.into(), 1280, 65_485)
    }
}
