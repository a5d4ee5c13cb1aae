//! `photon-provisioner bootstrap`: the cluster's certificate authority, and the first certificate, this host's own.
//!
//! What is there and good is left alone, so it can run at every start of the host.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use photon_host::durable;
use photon_program::ComponentSettings;
use rcgen::KeyPair;

use crate::Settings;
use crate::authority::{self, Authority, inspect};
use crate::model::validate_host_name;

/// File names in a host's PKI directory.
pub const CA: &str = "ca.pem";
pub const CERTIFICATE: &str = "host.pem";
pub const KEY: &str = "host-key.pem";

/// The settings in `config` (`None`: the defaults) that bootstrap needs, and the address that the server listens on.
/// The files that the other settings name are what it makes, so these are not looked at.
///
/// Errors: the file can't be read, or a setting of `[provisioner]` can't be used.
pub fn settings(config: Option<&Path>) -> anyhow::Result<(Settings, IpAddr)> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct File {
        listen: Option<IpAddr>,
        provisioner: Settings,
    }
    let file = match config {
        None => File::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the configuration file {}", path.display()))?;
            toml::from_str(&text)
                .with_context(|| format!("the configuration file {}", path.display()))?
        }
    };
    if let Err(invalid) = file.provisioner.validate() {
        anyhow::bail!("{invalid}");
    }
    let listen = file.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok((file.provisioner, listen))
}

/// Makes what is missing or near its end; says what it made.
///
/// Errors: of files, or a half of the authority that can't be completed.
pub fn bootstrap(
    settings: &Settings,
    listen: IpAddr,
    now: SystemTime,
) -> anyhow::Result<Vec<String>> {
    let node = settings.node_name();
    ensure!(
        validate_host_name(&node).is_ok(),
        "the host is called '{node}': set provisioner.node, or a host name of 1 to 63 of a-z, 0-9 and '-'"
    );
    let mut made = Vec::new();
    for dir in [&settings.ca_dir, &settings.pki_dir] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("the directory {}", dir.display()))?;
    }
    if authority::make(&settings.ca_dir, &settings.cluster, now)? {
        made.push(format!(
            "the certificate authority of '{}' in {}",
            settings.cluster,
            settings.ca_dir.display()
        ));
    }
    let authority = Authority::load(settings)?;
    authority.holds_at(now)?;
    let ca = settings.pki_dir.join(CA);
    if std::fs::read_to_string(&ca).ok().as_deref() != Some(authority.ca_pem()) {
        durable::write(&ca, authority.ca_pem().as_bytes(), 0o644)?;
        made.push(ca.display().to_string());
    }
    let address = settings.node_address(listen);
    if !is_good(&settings.pki_dir, &node, address, settings, now) {
        let key = KeyPair::generate().context("a key for this host")?;
        let issued = authority
            .issue(&node, address, &key, now)
            .context("this host's certificate")?;
        let path = settings.pki_dir.join(CERTIFICATE);
        // The key first: after a crash in between the two don't fit, and are made anew.
        durable::write(
            &settings.pki_dir.join(KEY),
            key.serialize_pem().as_bytes(),
            0o600,
        )?;
        durable::write(&path, issued.pem.as_bytes(), 0o644)?;
        made.push(path.display().to_string());
    }
    Ok(made)
}

/// Whether this host has a certificate for its name and address, with its key, in the first two thirds of its life. One
/// that was made while the clock was ahead has not begun yet: nobody takes it.
fn is_good(
    dir: &Path,
    node: &str,
    address: Option<IpAddr>,
    settings: &Settings,
    now: SystemTime,
) -> bool {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let (Some(certificate), Some(key)) = (read(CERTIFICATE), read(KEY)) else {
        return false;
    };
    let (Ok(certificate), Ok(key)) = (inspect(&certificate), KeyPair::from_pem(&key)) else {
        return false;
    };
    let life = certificate
        .expires_at
        .duration_since(certificate.not_before)
        .unwrap_or_default();
    let mut names = vec![
        node.to_owned(),
        format!("{node}.{}", settings.domain),
        format!("photon://{}/node/{node}", settings.cluster),
    ];
    names.extend(address.map(|address| address.to_string()));
    certificate.public_key == key.public_key_raw()
        && certificate.names == names
        && (certificate.not_before..certificate.not_before + life * 2 / 3).contains(&now)
}

/// Whether systemd-timesyncd keeps this host's clock and has not set it yet (systemd-timesyncd.service(8)); `run` is
/// `/run`, but in tests. What other programs that keep clocks know is not asked: those order themselves before
/// time-sync.target.
pub fn clock_is_unset(run: &Path) -> bool {
    let timesync = run.join("systemd/timesync");
    timesync.exists() && !timesync.join("synchronized").exists()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn settings(dir: &Path) -> Settings {
        Settings {
            cluster: "example".into(),
            domain: "example.internal".into(),
            node: Some("node01".into()),
            address: Some("192.0.2.1".parse().unwrap()),
            ca_dir: dir.join("ca"),
            pki_dir: dir.join("pki"),
            ..Settings::default()
        }
    }

    #[test]
    fn what_was_made_while_the_clock_was_ahead_heals() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let run = |now| bootstrap(&settings, "127.0.0.1".parse().unwrap(), now);
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let ca = settings.ca_dir.join("ca.pem");

        // The clock is put right after the authority was made, and before the host's certificate was.
        assert_eq!(run(now).unwrap().len(), 3);
        std::fs::remove_file(settings.pki_dir.join(CERTIFICATE)).unwrap();
        assert_eq!(run(now + day * 30).unwrap().len(), 1);
        let made = run(now).unwrap();
        assert_eq!(
            made,
            [settings.pki_dir.join(CERTIFICATE).display().to_string()]
        );
        assert_eq!(run(now).unwrap(), [""; 0], "and once only");

        // The authority itself is of a time that has not come: nothing is made with it.
        std::fs::remove_file(&ca).unwrap();
        assert_eq!(run(now + day * 30).unwrap().len(), 3);
        let before = std::fs::read(settings.pki_dir.join(CERTIFICATE)).unwrap();
        let key = std::fs::read(settings.ca_dir.join("ca-key.pem")).unwrap();
        let error = run(now).unwrap_err().to_string();
        for word in [
            ca.to_str().unwrap(),
            "clock",
            "remove that file",
            "photon-pki.service",
        ] {
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(
            std::fs::read(settings.pki_dir.join(CERTIFICATE)).unwrap(),
            before
        );
        // What is said to be done helps, and whoever trusts the key goes on to.
        std::fs::remove_file(&ca).unwrap();
        assert_eq!(run(now).unwrap().len(), 3);
        assert_eq!(
            std::fs::read(settings.ca_dir.join("ca-key.pem")).unwrap(),
            key
        );
    }

    #[test]
    fn a_clock_that_timesyncd_has_not_set_is_noticed() {
        let run = tempfile::tempdir().unwrap();
        assert!(
            !clock_is_unset(run.path()),
            "somebody else keeps it, or nobody"
        );
        std::fs::create_dir_all(run.path().join("systemd/timesync")).unwrap();
        assert!(clock_is_unset(run.path()));
        std::fs::write(run.path().join("systemd/timesync/synchronized"), "").unwrap();
        assert!(!clock_is_unset(run.path()));
    }

    #[test]
    fn it_makes_everything_once_and_renews_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let listen = "127.0.0.1".parse().unwrap();
        let now = SystemTime::now();
        let run = |settings: &Settings, now| bootstrap(settings, listen, now).unwrap();
        assert_eq!(run(&settings, now).len(), 3);
        for (path, mode) in [
            ("ca", 0o700),
            ("pki", 0o700),
            ("ca/ca-key.pem", 0o600),
            ("pki/host-key.pem", 0o600),
            ("pki/host.pem", 0o644),
            ("pki/ca.pem", 0o644),
        ] {
            let metadata = std::fs::metadata(dir.path().join(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
        }
        let day = Duration::from_secs(86_400);
        assert_eq!(
            run(&settings, now),
            [""; 0],
            "a second time nothing is made"
        );
        assert_eq!(run(&settings, now + day * 19), [""; 0]);
        assert_eq!(
            run(&settings, now + day * 21).len(),
            1,
            "after two thirds of its life"
        );
        let moved = Settings {
            address: Some("192.0.2.11".parse().unwrap()),
            ..settings.clone()
        };
        assert_eq!(run(&moved, now + day * 21).len(), 1, "for another address");
        // A key that is not the certificate's.
        let other = KeyPair::generate().unwrap().serialize_pem();
        std::fs::write(dir.path().join("pki/host-key.pem"), other).unwrap();
        assert_eq!(run(&moved, now + day * 21).len(), 1);
        assert_eq!(run(&moved, now + day * 21), [""; 0]);
    }
}
