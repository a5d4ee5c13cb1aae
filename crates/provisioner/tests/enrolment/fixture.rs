//! A control plane of one process, and hosts that are directories.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use iam::app::bootstrap::make_credentials;
use photon_api::components::IAM;
use photon_api::iam::v1::IssueTokenRequest;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::inventory::Answer;
use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use photon_api::provisioner::v1::{
    ApproveMachineRequest, GetMachineRequest, IssueJoinTokenRequest, Machine, MachineIdentity,
    MachineState, RetireMachineRequest,
};
use photon_enrol::host::{self, Failure, Wait};
use photon_enrol::report::{Identity, Posted, inventory, post};
use photon_host::systemd::FakeSystemd;
use photon_program::{ClientCertificates, Endpoints, TlsFiles, Urls};
use provisioner::authority::Authority;
use provisioner::{Outside, bootstrap};
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const LIMIT: Duration = Duration::from_secs(20);

/// IAM and the provisioner.
pub struct Cluster {
    dir: TempDir,
    address: SocketAddr,
    boot: SocketAddr,
    ca_pem: String,
    token: String,
    systemd: FakeSystemd,
    settings: provisioner::Settings,
    _shutdown: DropGuard,
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Cluster {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        make_credentials(&credentials).unwrap();
        let shutdown = CancellationToken::new();
        let (iam_listener, iam_address) = listen().await;
        let (listener, address) = listen().await;
        let (boot_listener, boot) = listen().await;
        let endpoints = Endpoints {
            urls: Urls::default().with(&IAM, format!("http://{iam_address}")),
            ..Endpoints::default()
        };

        let mut settings = photon_program::Settings::<iam::Settings>::new(iam::COMPONENT);
        settings.server.state_dir = dir.path().join("iam");
        settings.server.endpoints = endpoints.clone();
        settings.server.metrics_listen = None;
        settings.component.credentials_dir = Some(credentials.clone());
        settings.component.node = Some("node01".into());
        tokio::spawn(iam::run(settings, iam_listener, shutdown.clone()));

        let mut settings =
            photon_program::Settings::<provisioner::Settings>::new(provisioner::COMPONENT);
        settings.server.state_dir = dir.path().join("provisioner");
        settings.server.endpoints = endpoints;
        settings.server.metrics_listen = None;
        settings.server.credential_file = Some(credentials.join("photon-provisioner.key"));
        let own = &mut settings.component;
        own.node = Some("node01".into());
        own.address = Some(address.ip());
        own.ca_dir = dir.path().join("ca");
        own.pki_dir = dir.path().join("pki");
        own.boot_files = Some(dir.path().to_owned());
        own.installer = Some("/usr/bin/installer".into());
        own.flake = Some("/etc/nixos".into());
        own.ssh_key = Some(dir.path().join("ssh-key"));
        own.enrolment_endpoint = Some(format!("https://{address}"));
        bootstrap::bootstrap(own, address.ip(), SystemTime::now()).unwrap();
        let ca_pem = std::fs::read_to_string(own.pki_dir.join("ca.pem")).unwrap();
        settings.server.tls = Some(TlsFiles {
            certificate: own.pki_dir.join("host.pem"),
            key: own.pki_dir.join("host-key.pem"),
            client_ca: Some(own.pki_dir.join("ca.pem")),
            client_certificates: ClientCertificates::Optional,
        });
        let own = settings.component.clone();
        let systemd = FakeSystemd::new();
        let outside = Outside {
            systemd: Arc::new(systemd.clone()),
            boot: Some(boot_listener),
        };
        tokio::spawn(provisioner::run_with(
            settings,
            listener,
            outside,
            shutdown.clone(),
        ));

        let password = std::fs::read_to_string(credentials.join("operator-password")).unwrap();
        let iam = Endpoint::from_shared(format!("http://{iam_address}")).unwrap();
        let deadline = Instant::now() + LIMIT;
        let token = loop {
            let request = IssueTokenRequest {
                principal_id: "operator".into(),
                credential: Some(Credential::Password(password.trim().into())),
                ..Default::default()
            };
            match IamTokenServiceClient::new(iam.connect_lazy())
                .issue_token(request)
                .await
            {
                Ok(answer) => break answer.into_inner().token,
                Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
            }
        };
        Cluster {
            dir,
            address,
            boot,
            ca_pem,
            token,
            systemd,
            settings: own,
            _shutdown: shutdown.drop_guard(),
        }
    }

    pub fn boot(&self, path: &str) -> String {
        format!("http://{}{path}", self.boot)
    }

    fn channel(&self, host: Option<&Host>) -> Channel {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem));
        if let Some(host) = host {
            tls = tls.identity(tonic::transport::Identity::from_pem(
                host.read("host.pem"),
                host.read("host-key.pem"),
            ));
        }
        Endpoint::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    }

    /// What a host calls, with its certificate or without one.
    pub fn enrolment(&self, host: Option<&Host>) -> EnrolmentServiceClient<Channel> {
        EnrolmentServiceClient::new(self.channel(host))
    }

    fn machines(&self) -> MachineServiceClient<Channel> {
        MachineServiceClient::new(self.channel(None))
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub async fn machine(&self, id: &str) -> Machine {
        let request = self.request(GetMachineRequest { id: id.into() });
        let answer = self.machines().get_machine(request).await.unwrap();
        answer.into_inner().machine.unwrap()
    }

    pub async fn retire(&self, id: &str) {
        let request = self.request(RetireMachineRequest {
            id: id.into(),
            force: true,
            ..Default::default()
        });
        self.machines().retire_machine(request).await.unwrap();
    }

    /// What an operator gets for a host that cannot renew.
    pub async fn join_token(&self, name: &str) -> String {
        let request = self.request(IssueJoinTokenRequest {
            machine: name.into(),
            confirm_name: name.into(),
            ..Default::default()
        });
        let answer = self.machines().issue_join_token(request).await.unwrap();
        answer.into_inner().token
    }

    /// The host was off for so many days more than its certificate lives: what it has is of the cluster's authority,
    /// for its own key, and has ended.
    pub fn let_expire(&self, host: &Host, days: u32) {
        let day = Duration::from_secs(24 * 3600);
        let then = SystemTime::now() - day * (self.settings.certificate_days + days);
        let key = KeyPair::from_pem(&host.read("host-key.pem")).unwrap();
        let authority = Authority::load(&self.settings).unwrap();
        let issued = authority.issue(host.name, None, &key, then).unwrap();
        assert!(issued.expires_at < SystemTime::now());
        std::fs::write(host.pki("host.pem"), issued.pem).unwrap();
    }

    /// What the netboot image does on the machine of this host.
    pub async fn report(&self, host: &Host) -> Answer {
        let body = serde_json::to_vec(&inventory(host.dir.path()).unwrap()).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            match post(&self.boot("/inventory"), body.clone()).await {
                Ok(Posted::Taken(answer)) => return answer,
                other => assert!(Instant::now() < deadline, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many installers were started.
    pub fn installations(&self) -> usize {
        let logs = self.dir.path().join("provisioner/install");
        std::fs::read_dir(logs).map_or(0, |entries| entries.count())
    }

    /// Reports the machine, approves it, and has it installed: the host then has its token. Its id.
    pub async fn install(&self, host: &Host) -> String {
        let id = self.report(host).await.id;
        let request = self.request(ApproveMachineRequest {
            id: id.clone(),
            name: host.name.into(),
            address: host.address.clone(),
            ..Default::default()
        });
        self.machines().approve_machine(request).await.unwrap();
        self.report(host).await;
        let unit = format!("photon-install-{id}.service");
        let deadline = Instant::now() + LIMIT;
        while self.systemd.task(&unit).is_none() {
            assert!(Instant::now() < deadline, "no installer was started");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let task = self.systemd.task(&unit).unwrap();
        let at = task
            .exec_start
            .iter()
            .position(|word| word == "--extra-files");
        let extra = PathBuf::from(&task.exec_start[at.unwrap() + 1]);
        let token = extra.join("var/lib/photoncloud/pki/join-token");
        host.invite(self, std::fs::read_to_string(token).unwrap().trim());
        // The installer is done.
        self.systemd.exits(&unit, 0);
        while self.machine(&id).await.installed_at.is_none() {
            assert!(Instant::now() < deadline, "the installation has not ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.machine(&id).await.state(), MachineState::Installing);
        id
    }
}

/// A host: its root as a directory.
pub struct Host {
    dir: TempDir,
    pub name: &'static str,
    address: String,
}

impl Host {
    pub fn new(number: u8, name: &'static str) -> Self {
        let host = Host {
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
    pub fn invite(&self, cluster: &Cluster, token: &str) {
        std::fs::write(self.pki("ca.pem"), &cluster.ca_pem).unwrap();
        std::fs::write(self.pki("join-token"), format!("{token}\n")).unwrap();
        self.lead_to(cluster);
    }

    pub fn lead_to(&self, cluster: &Cluster) {
        let url = format!("https://{}\n", cluster.address);
        std::fs::write(self.dir.path().join("endpoint"), url).unwrap();
    }

    pub fn identity(&self) -> MachineIdentity {
        Identity::read(self.dir.path()).unwrap().into()
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

/// A request for a certificate with this name, and its key.
pub fn request_for(name: &str) -> (String, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let request = parameters.serialize_request(&key).unwrap();
    (request.pem().unwrap(), key)
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
