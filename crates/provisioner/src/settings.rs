//! The settings that only this server has: the section `[provisioner]` of the file.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use photon_program::{ComponentSettings, Invalid};

use crate::model::validate_host_name;

/// See each field; unknown keys are refused.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of the cluster; part of every host's identity, `photon://CLUSTER/node/HOST`.
    pub cluster: String,
    /// Domain of the hosts: a certificate is for `HOST` and `HOST.DOMAIN`.
    pub domain: String,
    /// Name of the host that the provisioner runs on; default: the host name.
    pub node: Option<String>,
    /// Address of that host, for its own certificate; default: what the server listens on, unless that is loopback.
    pub address: Option<IpAddr>,
    /// For how many days a host's certificate is good.
    pub certificate_days: u32,
    /// For how many minutes after the start of an installation its join token is good.
    pub token_minutes: u32,
    /// After how many minutes an installation that has not led to an enrolment has failed.
    pub install_minutes: u32,
    /// Where the certificate authority is kept.
    pub ca_dir: PathBuf,
    /// Where this host's own certificate and key are kept.
    pub pki_dir: PathBuf,
    /// The flake whose hosts are installed: `INSTALLER --flake FLAKE#NAME …`.
    pub flake: Option<String>,
    /// The program that installs: an absolute path of nixos-anywhere or what takes its arguments.
    pub installer: Option<PathBuf>,
    /// Private SSH key with which the installer signs in to the netboot image.
    pub ssh_key: Option<PathBuf>,
    /// Its public key, which the netboot image is told on its kernel's command line.
    pub ssh_public_key: Option<String>,
    /// Where firmware boots from over plain HTTP; absent: nowhere.
    pub boot_listen: Option<SocketAddr>,
    /// URL by which machines reach it; default: `http://` and [`boot_listen`](Self::boot_listen).
    pub boot_url: Option<String>,
    /// Directory with `bzImage`, `initrd` and `cmdline` of the netboot image.
    pub boot_files: Option<PathBuf>,
    /// URL by which a new host reaches this server; default: `https://`, [`address`](Self::address) and its port.
    pub enrolment_endpoint: Option<String>,
    /// The cluster's hosts and their addresses. If there are any, no other name can be approved.
    pub hosts: BTreeMap<String, IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: "photoncloud".into(),
            domain: "photoncloud.internal".into(),
            node: None,
            address: None,
            certificate_days: 30,
            token_minutes: 120,
            install_minutes: 60,
            ca_dir: "/var/lib/photoncloud/ca".into(),
            pki_dir: "/var/lib/photoncloud/pki".into(),
            flake: None,
            installer: None,
            ssh_key: None,
            ssh_public_key: None,
            boot_listen: None,
            boot_url: None,
            boot_files: None,
            enrolment_endpoint: None,
            hosts: BTreeMap::new(),
        }
    }
}

/// How an approved machine is installed.
#[derive(Clone, Debug)]
pub struct Installer {
    /// The program.
    pub program: PathBuf,
    /// The flake, without the host.
    pub flake: String,
    /// The private SSH key.
    pub ssh_key: PathBuf,
}

impl Settings {
    /// The name of this host.
    pub fn node_name(&self) -> String {
        self.node.clone().unwrap_or_else(|| {
            let host = nix::unistd::gethostname().unwrap_or_default();
            let host = host.to_string_lossy();
            host.split('.').next().unwrap_or_default().to_owned()
        })
    }

    /// The address of this host, if one is known; `listen` is the server's.
    pub fn node_address(&self, listen: IpAddr) -> Option<IpAddr> {
        let own = || Some(listen).filter(|it| !it.is_loopback() && !it.is_unspecified());
        self.address
            .or_else(|| self.hosts.get(&self.node_name()).copied())
            .or_else(own)
    }

    /// How machines are installed; `None`: they are not.
    pub fn installer(&self) -> Option<Installer> {
        Some(Installer {
            program: self.installer.clone()?,
            flake: self.flake.clone()?,
            ssh_key: self.ssh_key.clone()?,
        })
    }

    /// URL by which machines reach the boot listener at `address`.
    pub fn boot_url(&self, address: SocketAddr) -> String {
        let url = self.boot_url.clone();
        url.unwrap_or_else(|| format!("http://{address}"))
            .trim_end_matches('/')
            .to_owned()
    }
}

impl ComponentSettings for Settings {
    fn validate(&self) -> Result<(), Invalid> {
        let refuse = |key: &str, value: &dyn std::fmt::Display, expected: &str| {
            Err(Invalid::new(format!("provisioner.{key}"), value, expected))
        };
        let is_domain = |text: &str| {
            text.len() <= 190
                && !text.is_empty()
                && text
                    .split('.')
                    .all(|label| validate_host_name(label).is_ok())
        };
        if validate_host_name(&self.cluster).is_err() {
            return refuse("cluster", &self.cluster, "1 to 63 of a-z, 0-9 and '-'");
        }
        if !is_domain(&self.domain) {
            return refuse("domain", &self.domain, "a domain such as example.internal");
        }
        for name in self.node.iter().chain(self.hosts.keys()) {
            if validate_host_name(name).is_err() {
                return refuse("hosts", name, "host names of 1 to 63 of a-z, 0-9 and '-'");
            }
        }
        for (key, value, least, most) in [
            ("certificate_days", self.certificate_days, 1, 825),
            ("token_minutes", self.token_minutes, 1, 7 * 24 * 60),
            ("install_minutes", self.install_minutes, 1, 24 * 60),
        ] {
            if !(least..=most).contains(&value) {
                return refuse(key, &value, &format!("{least} to {most}"));
            }
        }
        if self.token_minutes < self.install_minutes {
            return refuse(
                "token_minutes",
                &self.token_minutes,
                "at least install_minutes: else a slow installation could not enrol",
            );
        }
        let given = [
            self.installer.is_some(),
            self.flake.is_some(),
            self.ssh_key.is_some(),
        ];
        if given.contains(&true) && given.contains(&false) {
            return refuse(
                "installer",
                &"(incomplete)",
                "installer, flake and ssh_key together, or none of them",
            );
        }
        if let Some(program) = self.installer.as_ref().filter(|it| !it.is_absolute()) {
            return refuse("installer", &program.display(), "an absolute path");
        }
        if let Some(flake) = self.flake.as_ref().filter(|it| it.contains('#')) {
            return refuse(
                "flake",
                flake,
                "a flake without '#': the host's name is added",
            );
        }
        if self.boot_listen.is_some() && self.boot_files.is_none() {
            return refuse(
                "boot_files",
                &"(absent)",
                "a directory, because there is boot_listen",
            );
        }
        for (key, url) in [
            ("boot_url", &self.boot_url),
            ("enrolment_endpoint", &self.enrolment_endpoint),
        ] {
            let plain = |url: &String| {
                !url.contains(|c: char| c.is_whitespace() || c.is_control())
                    && (url.starts_with("http://") || url.starts_with("https://"))
            };
            if let Some(url) = url.as_ref().filter(|url| !plain(url)) {
                return refuse(key, url, "a URL that begins with http:// or https://");
            }
        }
        if let Some(key) = &self.ssh_public_key
            && (key.contains(|c: char| c.is_control() || "\"'$%".contains(c)) || key.len() > 800)
        {
            return refuse(
                "ssh_public_key",
                key,
                "one line, as in an authorized_keys file",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> String {
        match toml::from_str::<Settings>(toml) {
            Err(error) => error.to_string(),
            Ok(settings) => settings.validate().unwrap_err().to_string(),
        }
    }

    #[test]
    fn what_can_not_work_is_refused_with_what_would() {
        for (toml, expected) in [
            ("cluser = 'x'", "unknown field `cluser`"),
            ("cluster = 'Example'", "provisioner.cluster"),
            ("domain = 'example..internal'", "such as example.internal"),
            ("certificate_days = 0", "1 to 825"),
            ("token_minutes = 5", "at least install_minutes"),
            ("installer = '/bin/install'", "together"),
            (
                "installer = 'nixos-anywhere'\nflake = '.'\nssh_key = '/k'",
                "an absolute path",
            ),
            ("boot_listen = '192.0.2.1:8089'", "provisioner.boot_files"),
            ("boot_url = 'tftp://x'", "http://"),
            ("hosts.Node02 = '192.0.2.2'", "host names"),
            ("hosts.node02 = '192.0.2.300'", "invalid IP address"),
        ] {
            let error = refused(toml);
            assert!(error.contains(expected), "{toml}: {error}");
        }
    }

    #[test]
    fn an_operators_file_is_read() {
        let settings: Settings = toml::from_str(
            "cluster = 'example'\ndomain = 'example.internal'\nnode = 'node01'\n\
             flake = '/etc/nixos'\ninstaller = '/run/current-system/sw/bin/nixos-anywhere'\nssh_key = '/run/key'\n\
             boot_listen = '192.0.2.1:8089'\nboot_files = '/var/lib/netboot'\n\
             [hosts]\nnode01 = '192.0.2.1'\nnode02 = '192.0.2.2'\n",
        )
        .unwrap();
        settings.validate().unwrap();
        let loopback = "127.0.0.1".parse().unwrap();
        assert_eq!(
            settings.node_address(loopback),
            Some("192.0.2.1".parse().unwrap())
        );
        assert_eq!(
            settings.boot_url(settings.boot_listen.unwrap()),
            "http://192.0.2.1:8089"
        );
        assert!(settings.installer().is_some());
    }
}
