//! A provisioner with its IAM, and machines that talk to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use iam::app::bootstrap::make_credentials;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::chainfire::v1::{Event, ListEventsRequest};
use photon_api::components::IAM;
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::{GetPrincipalRequest, IssueTokenRequest};
use photon_api::inventory::{Answer, Disk, Interface, Report};
use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use photon_api::provisioner::v1::*;
use photon_host::systemd::FakeSystemd;
use photon_program::{ClientCertificates, Endpoints, Settings, TlsFiles, Urls};
use provisioner::Outside;
use provisioner::bootstrap::bootstrap;
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// Longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

type Running = (CancellationToken, JoinHandle<anyhow::Result<()>>);

/// A provisioner with its IAM. The host is `node01`, the cluster `example` also has `node02` and `node03`.
pub struct Rack {
    pub systemd: FakeSystemd,
    iam_at: SocketAddr,
    iam: Option<Running>,
    at: SocketAddr,
    pub boot_at: SocketAddr,
    provisioner: Option<Running>,
    token: String,
    pub settings: provisioner::Settings,
    // Last, so that it is removed after the servers were told to stop.
    dir: TempDir,
}

impl Rack {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings than the usual.
    pub async fn start_with(change: impl FnOnce(&mut provisioner::Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_credentials(&dir.path().join("credentials")).unwrap();
        let boot_files = dir.path().join("netboot");
        std::fs::create_dir(&boot_files).unwrap();
        std::fs::write(boot_files.join("bzImage"), "kernel").unwrap();
        let initrd: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(boot_files.join("initrd"), initrd).unwrap();
        std::fs::write(boot_files.join("cmdline"), "init=/nix/store/x/init\n").unwrap();
        let mut settings = provisioner::Settings {
            cluster: "example".into(),
            domain: "example.internal".into(),
            node: Some("node01".into()),
            address: Some("127.0.0.1".parse().unwrap()),
            ca_dir: dir.path().join("ca"),
            pki_dir: dir.path().join("pki"),
            flake: Some("/etc/nixos".into()),
            installer: Some("/bin/install-machine".into()),
            ssh_key: Some("/etc/ssh-key".into()),
            boot_files: Some(boot_files),
            hosts: [("node02", "192.0.2.2"), ("node03", "192.0.2.3")]
                .map(|(name, address)| (name.to_owned(), address.parse().unwrap()))
                .into(),
            ..provisioner::Settings::default()
        };
        change(&mut settings);
        let listeners = [listen().await, listen().await, listen().await];
        let [iam_at, at, boot_at] = [0, 1, 2].map(|n: usize| listeners[n].local_addr().unwrap());
        let mut rack = Self {
            systemd: FakeSystemd::new(),
            iam_at,
            iam: None,
            at,
            boot_at,
            provisioner: None,
            token: String::new(),
            settings,
            dir,
        };
        let [first, second, third] = listeners;
        rack.serve_iam(first);
        rack.serve(second, third);
        let password = rack.dir.path().join("credentials/operator-password");
        let password = std::fs::read_to_string(password).unwrap();
        rack.token = rack.sign_in(password.trim()).await;
        rack
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            urls: Urls::default().with(&IAM, format!("http://{}", self.iam_at)),
            ..Endpoints::default()
        }
    }

    fn serve_iam(&mut self, listener: TcpListener) {
        let mut settings = Settings::<iam::Settings>::new(iam::COMPONENT);
        settings.server.state_dir = self.dir.path().join("iam");
        settings.server.metrics_listen = None;
        settings.component.credentials_dir = Some(self.dir.path().join("credentials"));
        settings.component.node = Some("node01".into());
        let stop = CancellationToken::new();
        let task = tokio::spawn(iam::run(settings, listener, stop.clone()));
        self.iam = Some((stop, task));
    }

    fn serve(&mut self, listener: TcpListener, boot: TcpListener) {
        bootstrap(
            &self.settings,
            "127.0.0.1".parse().unwrap(),
            std::time::SystemTime::now(),
        )
        .unwrap();
        let mut settings = Settings::<provisioner::Settings>::new(provisioner::COMPONENT);
        let pki = self.settings.pki_dir.clone();
        settings.server.state_dir = self.state_dir();
        settings.server.metrics_listen = None;
        settings.server.endpoints = self.endpoints();
        settings.server.credential_file =
            Some(self.dir.path().join("credentials/photon-provisioner.key"));
        settings.server.tls = Some(TlsFiles {
            certificate: pki.join("host.pem"),
            key: pki.join("host-key.pem"),
            client_ca: Some(pki.join("ca.pem")),
            client_certificates: ClientCertificates::Optional,
        });
        settings.component = self.settings.clone();
        let outside = Outside {
            systemd: Arc::new(self.systemd.clone()),
            boot: Some(boot),
        };
        let stop = CancellationToken::new();
        let run = provisioner::run_with(settings, listener, outside, stop.clone());
        self.provisioner = Some((stop, tokio::spawn(run)));
    }

    /// Ends the provisioner as SIGTERM would.
    pub async fn stop(&mut self) {
        let (stop, task) = self.provisioner.take().unwrap();
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    /// Starts it again.
    pub async fn start_again(&mut self) {
        let listeners =
            [self.at, self.boot_at].map(async |at| TcpListener::bind(at).await.unwrap());
        let [listener, boot] = listeners;
        let (listener, boot) = (listener.await, boot.await);
        self.serve(listener, boot);
    }

    pub async fn stop_iam(&mut self) {
        let (stop, task) = self.iam.take().unwrap();
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    pub async fn start_iam_again(&mut self) {
        let listener = TcpListener::bind(self.iam_at).await.unwrap();
        self.serve_iam(listener);
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("provisioner")
    }

    async fn sign_in(&self, password: &str) -> String {
        let request = IssueTokenRequest {
            principal_id: "operator".into(),
            credential: Some(Credential::Password(password.to_owned())),
            ttl_seconds: 3600,
            ..Default::default()
        };
        let mut iam = IamTokenServiceClient::new(self.iam_channel());
        let issued = until(async || iam.issue_token(request.clone()).await.ok()).await;
        issued.into_inner().token
    }

    fn iam_channel(&self) -> Channel {
        let url = format!("http://{}", self.iam_at);
        Endpoint::from_shared(url).unwrap().connect_lazy()
    }

    /// A connection that trusts the cluster's authority, with a host's certificate or without.
    pub fn channel(&self, host: Option<&Host>) -> Channel {
        let ca = std::fs::read_to_string(self.settings.pki_dir.join("ca.pem")).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some(host) = host {
            tls = tls.identity(Identity::from_pem(
                &host.certificate,
                host.key.serialize_pem(),
            ));
        }
        Endpoint::from_shared(format!("https://{}", self.at))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    }

    pub fn machines(&self) -> MachineServiceClient<Channel> {
        MachineServiceClient::new(self.channel(None))
    }

    pub fn enrolment(&self, host: Option<&Host>) -> EnrolmentServiceClient<Channel> {
        EnrolmentServiceClient::new(self.channel(host))
    }

    /// A request by the operator.
    pub fn operator<T>(&self, message: T) -> Request<T> {
        photon_program::with_token(message, &self.token, "").unwrap()
    }

    pub async fn machine(&self, id: &str) -> Machine {
        let request = GetMachineRequest { id: id.into() };
        let got = self.machines().get_machine(self.operator(request)).await;
        got.unwrap().into_inner().machine.unwrap()
    }

    /// Waits until the machine is in a state.
    pub async fn reaches(&self, id: &str, state: MachineState) -> Machine {
        until(async || Some(self.machine(id).await).filter(|it| it.state() == state)).await
    }

    pub async fn approve(&self, id: &str, name: &str) -> Result<Machine, Status> {
        let request = ApproveMachineRequest {
            id: id.into(),
            name: name.into(),
            ..Default::default()
        };
        let approved = self
            .machines()
            .approve_machine(self.operator(request))
            .await;
        Ok(approved?.into_inner().machine.unwrap())
    }

    pub async fn reinstall(&self, id: &str, confirm_name: &str) -> Result<Machine, Status> {
        let request = ReinstallMachineRequest {
            id: id.into(),
            confirm_name: confirm_name.into(),
            ..Default::default()
        };
        let request = self.operator(request);
        let answered = self.machines().reinstall_machine(request).await?;
        Ok(answered.into_inner().machine.unwrap())
    }

    pub async fn retire(&self, id: &str, confirm_name: &str) -> Result<Machine, Status> {
        let request = RetireMachineRequest {
            id: id.into(),
            confirm_name: confirm_name.into(),
            ..Default::default()
        };
        let request = self.operator(request);
        let answered = self.machines().retire_machine(request).await?;
        Ok(answered.into_inner().machine.unwrap())
    }

    /// A join token for a host, as an operator asks for it.
    pub async fn join_token(&self, machine: &str) -> Result<IssueJoinTokenResponse, Status> {
        let request = IssueJoinTokenRequest {
            machine: machine.into(),
            confirm_name: machine.into(),
            ..Default::default()
        };
        let request = self.operator(request);
        let answered = self.machines().issue_join_token(request).await?;
        Ok(answered.into_inner())
    }

    /// What the machine number `n` gets for its inventory.
    pub async fn report(&self, n: u8) -> Answer {
        let (status, body) = self.post_report(&report_of(n)).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub async fn post_report(&self, report: &Report) -> (u16, String) {
        let json = serde_json::to_vec(report).unwrap();
        self.http("POST", "/inventory", &[], &json).await
    }

    /// One HTTP request to the boot listener: status and body.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let mut stream = until(async || TcpStream::connect(self.boot_at).await.ok()).await;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that has refused the head does not read the rest.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        (
            status.unwrap_or_else(|| panic!("no status in {head:?}")),
            body.to_owned(),
        )
    }

    /// What the machine number `n` is given to boot.
    pub async fn boot(&self, n: u8) -> String {
        let path = format!(
            "/boot.ipxe?mac={}&serial=S-{n}&uuid=",
            mac(n).replace(':', "%3a")
        );
        let (status, body) = self.http("GET", &path, &[], b"").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Machine number `n` is reported and approved, reports again, and its installer runs: its id and join token.
    pub async fn installing(&self, n: u8, name: &str) -> (String, String) {
        let id = self.report(n).await.id;
        self.approve(&id, name).await.unwrap();
        (id.clone(), self.installer_runs(n, &id).await)
    }

    /// An approved machine reports, and its installer runs: the join token.
    pub async fn installer_runs(&self, n: u8, id: &str) -> String {
        self.report(n).await;
        let unit = format!("photon-install-{id}.service");
        until(async || self.systemd.task(&unit)).await;
        self.reaches(id, MachineState::Installing).await;
        let token = self.extra(id).join("var/lib/photoncloud/pki/join-token");
        std::fs::read_to_string(token).unwrap().trim().to_owned()
    }

    /// The extra files of a machine's installer.
    pub fn extra(&self, id: &str) -> PathBuf {
        self.state_dir().join("install").join(id).join("extra")
    }

    /// Machine number `n` becomes the host `name` and is ready: its id, and the host.
    pub async fn ready(&self, n: u8, name: &str) -> (String, Host) {
        let (id, token) = self.installing(n, name).await;
        self.systemd
            .exits(&format!("photon-install-{id}.service"), 0);
        let host = self.enrol(n, name, &token).await.unwrap();
        let ready = ReportReadyRequest {
            version: "1".into(),
        };
        self.enrolment(Some(&host))
            .report_ready(ready)
            .await
            .unwrap();
        self.reaches(&id, MachineState::Ready).await;
        (id, host)
    }

    /// The host on machine `n` enrols with a new key.
    pub async fn enrol(&self, n: u8, name: &str, token: &str) -> Result<Host, Status> {
        let key = KeyPair::generate().unwrap();
        let request = enrol_request(n, &csr(name, &key), token);
        let answer = self.enrolment(None).enrol(request).await?.into_inner();
        Ok(Host {
            key,
            certificate: answer.certificate_pem,
        })
    }

    /// Events of the system's chain with this action, oldest first.
    pub async fn events(&self, action: &str) -> Vec<Event> {
        let mut client = EventServiceClient::new(self.channel(None));
        let request = ListEventsRequest {
            page_size: 1000,
            ..Default::default()
        };
        let listed = client.list_events(self.operator(request)).await.unwrap();
        let events = listed.into_inner().events.into_iter();
        events.filter(|event| event.action == action).collect()
    }

    /// Whether IAM has identities for the agents of this host.
    pub async fn has_identities(&self, host: &str) -> [bool; 2] {
        let mut admin = IamAdminServiceClient::new(self.iam_channel());
        let mut found = [false; 2];
        for (n, agent) in ["prismnet-agent", "plasmavmc-agent"].iter().enumerate() {
            let request = GetPrincipalRequest {
                id: format!("{agent}@{host}"),
                ..Default::default()
            };
            found[n] = admin.get_principal(self.operator(request)).await.is_ok();
        }
        found
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        for (stop, _) in self.iam.iter().chain(&self.provisioner) {
            stop.cancel();
        }
    }
}

/// A host with its certificate.
pub struct Host {
    pub key: KeyPair,
    pub certificate: String,
}

pub fn mac(n: u8) -> String {
    format!("52:54:00:00:00:{n:02x}")
}

pub fn uuid(n: u8) -> String {
    format!("4c4c4544-0042-3510-8051-0000000000{n:02x}")
}

/// What machine number `n` tells.
pub fn report_of(n: u8) -> Report {
    Report {
        serial: format!("S-{n}"),
        uuid: uuid(n),
        manufacturer: "QEMU".into(),
        product: "Standard PC".into(),
        cpus: 2,
        memory_mib: 2048,
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: mac(n),
            up: true,
            speed_mbps: 0,
        }],
        disks: vec![Disk {
            device: "/dev/vda".into(),
            size_bytes: 8 << 30,
            ..Disk::default()
        }],
        ssh_host_key: String::new(),
    }
}

pub fn csr(name: &str, key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// Enrolment from machine number `n`.
pub fn enrol_request(n: u8, csr: &str, token: &str) -> EnrolRequest {
    EnrolRequest {
        token: token.into(),
        certificate_request_pem: csr.into(),
        identity: Some(MachineIdentity {
            serial: format!("S-{n}"),
            uuid: uuid(n),
            macs: vec![mac(n)],
        }),
    }
}

/// Polls until there is something, but not for ever.
pub async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Permissions of a path.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
