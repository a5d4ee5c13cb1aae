//! What should exist on this host.
//!
//! These are also records of the host's cache of it, which restores the VMs after a power cut without the control
//! plane, and of the file that `plasmavmc-agent apply` takes. Fields that are not known are skipped. None may be added
//! while an agent that refuses them may read the file: see the cache.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use photon_resource::{ImageId, OrgId, ProjectId, VmId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::seed;

/// Everything that should exist on this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Store revision that it was read at.
    pub revision: u64,
    /// Which store the revision is of. Known only to what the server sent.
    #[serde(skip)]
    pub store_epoch: String,
    pub vms: BTreeMap<VmId, DesiredVm>,
    /// VMs whose description is not understood, with the reason: nothing of theirs is touched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<VmId, String>,
}

/// One VM.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredVm {
    pub org: OrgId,
    pub project: ProjectId,
    pub name: String,
    #[serde(default)]
    pub spec_revision: u64,
    pub vcpus: u32,
    pub memory_mib: u64,
    #[serde(default)]
    pub disks: Vec<DesiredDisk>,
    /// Boot this directly; `None`: from the first disk.
    #[serde(default)]
    pub kernel: Option<DesiredKernel>,
    #[serde(default)]
    pub interfaces: Vec<DesiredInterface>,
    /// May hold secrets: never logged.
    #[serde(default)]
    pub user_data: String,
    /// In base64: those that are no text. Not written, as the next: an agent that refuses them may read the file.
    #[serde(default, skip_serializing)]
    pub user_data_binary: String,
    /// How often they were changed.
    #[serde(default, skip_serializing)]
    pub user_data_changes: u64,
    #[serde(default)]
    pub ssh_authorized_keys: Vec<String>,
    pub hostname: String,
    #[serde(default = "restart_on_failure")]
    pub restart_policy: RestartPolicy,
    pub power: PowerState,
    /// A VM whose start is older than this is started again once.
    #[serde(default)]
    pub reboot_generation: u64,
    /// Quit at once on stop and reboot.
    #[serde(default)]
    pub force: bool,
    /// How long the guest has to power down.
    #[serde(default = "half_a_minute")]
    pub stop_timeout_seconds: u32,
    /// The VM and its disks must go.
    #[serde(default)]
    pub deleting: bool,
    /// How its guest is told what it is. Not written either.
    #[serde(default, skip_serializing)]
    pub metadata: MetadataOptions,
}

/// How a guest is told what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    pub enabled: bool,
    /// Whether it must show a token.
    pub tokens_required: bool,
    /// How many hops a token goes: 1 to 64.
    pub hop_limit: u8,
}

/// As a server of before them would have it.
impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            tokens_required: true,
            hop_limit: 1,
        }
    }
}

/// What the owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    On,
    Off,
}

/// When the host starts it again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    OnFailure,
    Always,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredDisk {
    /// Unique in the VM; part of the file's name.
    pub id: DiskId,
    /// What it starts from; `None`: empty.
    #[serde(default)]
    pub image: Option<BaseImage>,
    pub size_bytes: u64,
}

/// An image that a disk starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    pub file: ImageFile,
    pub format: DiskFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    Raw,
    Qcow2,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredKernel {
    pub kernel: ImageFile,
    #[serde(default)]
    pub initrd: Option<ImageFile>,
    #[serde(default)]
    pub command_line: String,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub source: ImageSource,
}

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    /// The server's registry.
    Registry { image: ImageId, part: Part },
    /// A file of this host; only in a file given to `plasmavmc-agent apply`.
    Path(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Disk,
    Kernel,
    Initrd,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredInterface {
    /// TAP on the host.
    pub tap: String,
    pub mac: String,
    #[serde(default)]
    pub mtu: u32,
    /// Its name in the spec, and in the guest. Not written: an agent of the release before refuses it, and this one
    /// reads it from `wire`.
    #[serde(default, skip_serializing)]
    pub name: String,
    /// `None`: not known, the guest asks by DHCP. Not written either.
    #[serde(default, skip_serializing)]
    pub addressing: Option<Addressing>,
}

/// The addresses of a port, as they were when it was attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressing {
    /// Its own, and its subnet's prefix length.
    pub address: Ipv4Net,
    pub gateway: Ipv4Addr,
    /// Whether the subnet has a DHCP server.
    pub dhcp: bool,
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// As `address` and `gateway`, where the subnet has IPv6.
    #[serde(default)]
    pub ipv6: Option<(Ipv6Net, Ipv6Addr)>,
}

impl DesiredVm {
    /// Every image file that it starts from, each once.
    pub fn image_files(&self) -> Vec<&ImageFile> {
        let disks = self.disks.iter().filter_map(|disk| disk.image.as_ref());
        let kernel = self
            .kernel
            .iter()
            .flat_map(|kernel| std::iter::once(&kernel.kernel).chain(&kernel.initrd));
        let mut files: Vec<&ImageFile> = Vec::new();
        for file in disks.map(|base| &base.file).chain(kernel) {
            if !files.iter().any(|known| known.sha256 == file.sha256) {
                files.push(file);
            }
        }
        files
    }

    /// A digest of everything that its disks, seed and user are made from.
    pub fn preparation(&self, id: VmId) -> String {
        let made_from = (
            seed::FORMAT,
            seed::instance_id(id, self),
            &self.disks,
            &self.interfaces,
            seed::network_config(self),
            // One of them is empty.
            format!("{}{}", self.user_data, self.user_data_binary),
            &self.ssh_authorized_keys,
            &self.hostname,
        );
        // A tuple of strings and numbers always has a JSON form.
        let bytes = serde_json::to_vec(&made_from).unwrap_or_default();
        hex::encode(Sha256::digest(bytes))
    }
}

impl fmt::Debug for DesiredVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DesiredVm")
            .field("name", &self.name)
            .field("power", &self.power)
            .field("spec_revision", &self.spec_revision)
            .field("reboot_generation", &self.reboot_generation)
            .finish_non_exhaustive()
    }
}

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {what}: {expected}")]
pub struct NotOne {
    text: String,
    what: &'static str,
    expected: &'static str,
}

/// A SHA-256 in lower-case hex: safe as a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256Hex {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(lower) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotOne {
                text: text.to_owned(),
                what: "SHA-256",
                expected: "64 of 0-9 and a-f",
            })
        }
    }
}

/// The id of a disk in its VM: safe as part of a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskId(String);

impl DiskId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DiskId {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotOne {
                text: text.to_owned(),
                what: "disk id",
                expected: "1 to 63 letters, digits, '-', '_' and '.', not beginning with '.'",
            })
        }
    }
}

macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NotOne;

            fn try_from(text: String) -> Result<Self, NotOne> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_conversions!(Sha256Hex, DiskId);

fn restart_on_failure() -> RestartPolicy {
    RestartPolicy::OnFailure
}

fn half_a_minute() -> u32 {
    30
}
