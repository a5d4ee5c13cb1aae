//! Hosts as they see themselves: the steps of `photon-enrol` over a root that is a directory.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use photon_api::inventory::Answer;
use photon_api::provisioner::v1::{ApproveMachineRequest, MachineIdentity, MachineState};
use photon_enrol::host::{self, Failure, Wait};
use photon_enrol::report::{Posted, inventory, post};
use photon_testkit::until;
use provisioner::Settings;
use provisioner::authority::{self, Authority};
use rcgen::KeyPair;
use tempfile::TempDir;

use super::machine::csr;
use super::{Identified, NAME, Rack, join_token};

/// A host: its root as a directory.
pub struct HostRoot {
    dir: TempDir,
    pub name: &'static str,
    address: String,
}

impl Identified for HostRoot {
    fn identity(&self) -> tonic::transport::Identity {
        tonic::transport::Identity::from_pem(self.read("host.pem"), self.read("host-key.pem"))
    }
}

impl HostRoot {
    pub fn new(number: u8, name: &'static str) -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
            name,
            address: format!("192.0.2.{}", number + 1),
        };
        let mac = format!("02:00:00:00:02:{number:02x}\n");
        let uuid = format!("7ac40000-0000-4000-8000-{number:012}\n");
        let serial = format!("RACK-{number:04}\n");
        for (path, content) in [
            ("etc/hostname", format!("{name}\n")),
            ("proc/meminfo", "MemTotal: 1024000 kB\n".into()),
            ("sys/class/dmi/id/product_serial", serial),
            ("sys/class/dmi/id/product_uuid", uuid),
            ("sys/class/net/eth0/type", "1\n".into()),
            ("sys/class/net/eth0/address", mac),
            ("sys/class/net/eth0/device/vendor", "0x1af4\n".into()),
            ("pki/.keep", String::new()),
        ] {
            let path = host.dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        host
    }

    pub fn pki(&self, name: &str) -> PathBuf {
        self.dir.path().join("pki").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.pki(name)).unwrap()
    }

    /// What an installation leaves on the host.
    pub fn invite(&self, rack: &Rack, token: &str) {
        std::fs::copy(rack.settings().pki_dir.join("ca.pem"), self.pki("ca.pem")).unwrap();
        std::fs::write(self.pki("join-token"), format!("{token}\n")).unwrap();
        self.lead_to(rack);
    }

    pub fn lead_to(&self, rack: &Rack) {
        let url = format!("https://{}\n", rack.server(NAME).address());
        std::fs::write(self.dir.path().join("endpoint"), url).unwrap();
    }

    pub fn machine_identity(&self) -> MachineIdentity {
        let identity = photon_enrol::report::Identity::read(self.dir.path());
        identity.unwrap().into()
    }

    fn options(&self) -> host::Options {
        host::Options {
            pki_dir: self.dir.path().join("pki"),
            endpoint: None,
            endpoint_file: self.dir.path().join("endpoint"),
            root: self.dir.path().to_owned(),
            wait: Wait {
                limit: Duration::from_secs(3),
                first: Duration::from_millis(50),
                longest: Duration::from_millis(500),
            },
        }
    }

    pub async fn enrol(&self) -> Result<String, Failure> {
        host::enrol(&self.options()).await
    }

    pub async fn renew(&self, force: bool) -> Result<String, Failure> {
        host::renew(&self.options(), force).await
    }

    pub async fn ready(&self) -> Result<String, Failure> {
        host::ready(&self.options()).await
    }
}

impl Rack {
    /// The host was off for so many days more than its certificate lives: what it has is of the cluster's authority,
    /// for its own key, and has ended.
    pub fn let_expire(&self, host: &HostRoot, days: u32) {
        let day = Duration::from_secs(24 * 3600);
        let settings = self.settings();
        let then = SystemTime::now() - day * (settings.certificate_days + days);
        let key = KeyPair::from_pem(&host.read("host-key.pem")).unwrap();
        // The authority's certificate is as old as its test; of the same key, it could be older.
        let past = tempfile::tempdir().unwrap();
        let key_file = "ca-key.pem";
        std::fs::copy(settings.ca_dir.join(key_file), past.path().join(key_file)).unwrap();
        authority::make(past.path(), &settings.cluster, then).unwrap();
        let past = Settings {
            ca_dir: past.path().to_owned(),
            ..settings
        };
        let authority = Authority::load(&past).unwrap();
        let issued = authority.issue(host.name, None, &key, then).unwrap();
        assert!(issued.expires_at < SystemTime::now());
        std::fs::write(host.pki("host.pem"), issued.pem).unwrap();
    }

    /// What the netboot image does on the machine of this host.
    pub async fn netboots(&self, host: &HostRoot) -> Answer {
        let body = serde_json::to_vec(&inventory(host.dir.path()).unwrap()).unwrap();
        let url = self.boot_url("/inventory");
        until(async || match post(&url, body.clone()).await {
            Ok(Posted::Taken(answer)) => Some(answer),
            _ => None,
        })
        .await
    }

    /// Reports the machine, approves it, and has it installed: the host then has its token. Its id.
    pub async fn install(&self, host: &HostRoot) -> String {
        let id = self.netboots(host).await.id;
        let request = self.operator(ApproveMachineRequest {
            id: id.clone(),
            name: host.name.into(),
            address: host.address.clone(),
            ..Default::default()
        });
        self.machines().approve_machine(request).await.unwrap();
        self.netboots(host).await;
        let unit = format!("photon-install-{id}.service");
        let task = until(async || self.systemd().task(&unit)).await;
        let extra = self.extra(&id).display().to_string();
        assert!(task.exec_start.contains(&extra), "{:?}", task.exec_start);
        let token = std::fs::read_to_string(join_token(self.place(), &id));
        host.invite(self, token.unwrap().trim());
        // The installer is done.
        self.systemd().exits(&unit, 0);
        let installed = async || self.machine(&id).await.installed_at;
        until(installed).await;
        assert_eq!(self.machine(&id).await.state(), MachineState::Installing);
        id
    }
}

/// A request for a certificate with this name, and its key.
pub fn request_for(name: &str) -> (String, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (csr(name, &key), key)
}

/// The same request with another name of the same length in it, and the signature that it had.
pub fn renamed(request: &str, from: &str, to: &str) -> String {
    let (label, mut der) = {
        let (_, pem) = x509_parser::pem::parse_x509_pem(request.as_bytes()).unwrap();
        (pem.label, pem.contents)
    };
    let at = der
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .expect("the name is in the request");
    der[at..at + from.len()].copy_from_slice(to.as_bytes());
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
