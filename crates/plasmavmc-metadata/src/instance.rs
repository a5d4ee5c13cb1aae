//! What a guest is told of itself: one file for each VM, which plasmavmc-agent writes and this program reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, bail};
use ipnet::{Ipv4Net, Ipv6Net};
use photon_resource::VmId;
use serde::{Deserialize, Serialize};

/// Version of the file. A program that finds another one tells guests nothing until the agent has written it anew.
const VERSION: u32 = 1;

/// What the guest of a VM may know of itself.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub vm: VmId,
    /// What cloud-init takes the guest for: another one after its user data were changed.
    pub instance_id: String,
    pub org: String,
    pub project: String,
    pub name: String,
    pub hostname: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub ssh_authorized_keys: Vec<String>,
    /// In base64; empty: none. May hold secrets: never logged.
    pub user_data: String,
    /// Its `meta-data` and `network-config`, as they are on the disk that it has of them (NoCloud).
    pub meta_data: String,
    /// See `meta_data`.
    pub network_config: String,
    pub interfaces: Vec<Interface>,
    pub http_tokens: Tokens,
    /// How many hops a token goes at most: 1 to 64.
    pub hop_limit: u8,
}

/// Whether a guest must show a token for what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    Required,
    Optional,
}

/// A network interface of the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// TAP on the host: where it is in a VRF, the guest is known there by its addresses.
    pub tap: String,
    pub name: String,
    pub mac: String,
    /// 0: not said.
    pub mtu: u32,
    /// Its own, and its subnet's prefix length.
    pub address: Ipv4Net,
    pub gateway: Ipv4Addr,
    /// Whether it is told of them by DHCP.
    pub dhcp: bool,
    pub dns: Vec<IpAddr>,
    /// As `address` and `gateway`, where the subnet has IPv6.
    pub ipv6: Option<(Ipv6Net, Ipv6Addr)>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    instance: &'a Instance,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    instance: serde_json::Value,
}

impl Instance {
    /// The contents of its file. The same instance gives the same bytes.
    ///
    /// Errors: none that an instance could cause.
    pub fn to_file(&self) -> anyhow::Result<Vec<u8>> {
        let written = Written {
            version: VERSION,
            instance: self,
        };
        Ok(serde_json::to_vec(&written)?)
    }

    /// Reads a file's contents.
    ///
    /// Errors: it is none of this program's.
    pub fn from_file(contents: &[u8]) -> anyhow::Result<Self> {
        let read: Read = serde_json::from_slice(contents)?;
        if read.version != VERSION {
            let version = read.version;
            bail!("its version is {version}, and this program knows {VERSION}");
        }
        serde_json::from_value(read.instance).context("'instance'")
    }

    /// What it is called where others have a list of sizes.
    pub fn size(&self) -> String {
        format!("{}cpu-{}mib", self.vcpus, self.memory_mib)
    }
}

/// Without what is secret.
impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let taps: Vec<_> = self.interfaces.iter().map(|it| &it.tap).collect();
        f.debug_struct("Instance")
            .field("vm", &self.vm)
            .field("taps", &taps)
            .finish_non_exhaustive()
    }
}

/// For tests: a VM with one interface.
#[cfg(test)]
pub fn example(n: u128, tap: &str, address: &str) -> Instance {
    let vm: VmId = format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap();
    Instance {
        vm,
        instance_id: vm.to_string(),
        org: "acme".into(),
        project: "web".into(),
        name: "app".into(),
        hostname: "app-1".into(),
        vcpus: 2,
        memory_mib: 1024,
        ssh_authorized_keys: vec!["ssh-ed25519 AAAA me".into()],
        user_data: "IyEvYmluL3NoCg==".into(),
        meta_data: "instance-id: \"x\"\n".into(),
        network_config: "{\"version\":2}".into(),
        interfaces: vec![Interface {
            tap: tap.into(),
            name: "eth0".into(),
            mac: "fa:16:3e:00:00:01".into(),
            mtu: 1450,
            address: address.parse().unwrap(),
            gateway: "10.0.1.1".parse().unwrap(),
            dhcp: true,
            dns: vec!["10.0.1.1".parse().unwrap()],
            ipv6: None,
        }],
        http_tokens: Tokens::Required,
        hop_limit: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_another_version_is_refused_by_name() {
        let instance = example(1, "pt1", "10.0.1.10/24");
        let file = instance.to_file().unwrap();
        assert_eq!(Instance::from_file(&file).unwrap(), instance);
        let later = String::from_utf8(file)
            .unwrap()
            .replacen("\"version\":1", "\"version\":2", 1);
        let error = Instance::from_file(later.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("version is 2"), "{error}");
    }

    #[test]
    fn what_is_secret_is_not_in_its_debug_form() {
        let instance = example(1, "pt1", "10.0.1.10/24");
        assert!(!format!("{instance:?}").contains(&instance.user_data));
    }
}
