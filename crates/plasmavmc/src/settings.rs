//! The settings that only this server has: the section `[plasmavmc]` of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use photon_catalog::quota::{Defaults, Quantity};
use photon_program::{ComponentSettings, Invalid};
use photon_resource::{Error, validate_description, validate_resource_name};

use crate::app::Images;
use crate::model::check_default_user;
use crate::scheduler::Overcommit;

/// What is counted, and what a project and an organization may have of it.
pub const QUANTITIES: [Quantity; 7] = [
    quantity("vms", 100),
    quantity("vcpus", 400),
    quantity("memory_mib", 1 << 20),
    quantity("disk_bytes", 20 << 40),
    quantity("images", 200),
    quantity("image_bytes", 256 << 30),
    quantity("ssh_keys", 100),
];

const fn quantity(name: &'static str, per_project: u64) -> Quantity {
    Quantity {
        name,
        per_project: Some(per_project),
        per_organization: 5 * per_project,
    }
}

/// See each field; unknown keys are refused.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The most that one import may have, all of its files together, in bytes.
    pub image_max_bytes: u64,
    /// The most that the images of one project may have together, in bytes.
    pub image_quota_bytes: u64,
    /// What may be of what is counted.
    pub quota: Defaults,
    /// How many vCPUs are promised for each CPU of a host.
    pub vcpu_overcommit: u32,
    /// How many times the size of a host's file system is promised to disks, which take what was written to them.
    pub disk_overcommit: u32,
    /// A host that has not been heard of for so many seconds gets no new VMs.
    pub node_timeout_seconds: u64,
    /// MTU of guests' interfaces: the hosts' own, less what VXLAN needs (50 bytes over IPv4, RFC 7348). A guest keeps
    /// that with which it was made.
    pub guest_mtu: u32,
    /// Networks beside the internet that images may be fetched from.
    pub image_networks: Vec<IpNet>,
    /// The socket of the programs that fetch.
    pub fetch_socket: PathBuf,
    /// The catalogue: images that the cloud offers to all tenants, by name.
    pub images: BTreeMap<String, Offer>,
}

/// An image of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Where its disk is, raw or qcow2.
    pub url: String,
    /// The disk's SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whom its guests have for people to sign in as.
    #[serde(default)]
    pub default_user: String,
}

impl Offer {
    /// The sum as images have it.
    pub fn sum(&self) -> String {
        self.sha256.to_ascii_lowercase()
    }

    fn check(&self, name: &str) -> Result<(), Invalid> {
        let key = |key: &str| format!("plasmavmc.images.{name}.{key}");
        let wrong = |error: Error| match error {
            Error::InvalidArgument {
                field,
                value,
                expected,
            } => Invalid::new(key(&field), value, expected),
            error => Invalid::new(key("url"), &self.url, error.to_string()),
        };
        validate_resource_name("name", name).map_err(wrong)?;
        validate_description(&self.description).map_err(wrong)?;
        check_default_user("default_user", &self.default_user).map_err(wrong)?;
        Images::url(&self.url).map_err(wrong)?;
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let expected = "64 hexadecimal digits, as sha256sum prints them";
            return Err(Invalid::new(key("sha256"), &self.sha256, expected));
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image_max_bytes: 64 << 30,
            image_quota_bytes: 256 << 30,
            quota: Defaults::default(),
            vcpu_overcommit: 4,
            disk_overcommit: 2,
            node_timeout_seconds: 30,
            guest_mtu: 1450,
            image_networks: Vec::new(),
            fetch_socket: photon_fetch::SOCKET.into(),
            images: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// What is counted, with what is said here.
    ///
    /// Errors: `InvalidArgument` for a name of nothing.
    pub fn quantities(&self) -> Result<Arc<[Quantity]>, Error> {
        let mut quantities = QUANTITIES;
        for quantity in &mut quantities {
            if quantity.name == "image_bytes" {
                quantity.per_project = Some(self.image_quota_bytes);
                let five = self.image_quota_bytes.saturating_mul(5);
                quantity.per_organization = five;
            }
        }
        self.quota.of(&quantities)
    }

    /// What is promised more often than it is there.
    pub fn overcommit(&self) -> Overcommit {
        Overcommit {
            vcpus: self.vcpu_overcommit,
            disk: self.disk_overcommit,
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
        self.quota.check("plasmavmc.quota", &QUANTITIES)?;
        within("vcpu_overcommit", self.vcpu_overcommit.into(), 1, 64)?;
        within("disk_overcommit", self.disk_overcommit.into(), 1, 64)?;
        // Hosts register every 10 s.
        within("node_timeout_seconds", self.node_timeout_seconds, 1, 3600)?;
        within("guest_mtu", self.guest_mtu.into(), 1280, 65_485)?;
        self.images
            .iter()
            .try_for_each(|(name, offer)| offer.check(name))
    }
}
