//! The provisioner, and machines that talk to it.

mod host;
mod machine;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::chainfire::v1::{Event, ListEventsRequest};
use photon_api::iam::v1::GetPrincipalRequest;
use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::machine_service_client::MachineServiceClient;
use photon_api::provisioner::v1::*;
use photon_host::systemd::FakeSystemd;
use photon_program::{ClientCertificates, TlsFiles};
use photon_testkit::{Part, Place, Session, until};
use provisioner::Outside;
use provisioner::bootstrap::bootstrap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

pub use host::{HostRoot, renamed, request_for};
pub use machine::{Host, csr, enrol_request, http, mac, mode, report, report_of, uuid};

const NAME: &str = provisioner::COMPONENT.name;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a provisioner has to do with besides other servers: systemd, which is a fake, and machines' firmware.
#[derive(Clone)]
pub struct Surroundings {
    pub systemd: FakeSystemd,
    /// Where it listens for firmware.
    pub boot_at: SocketAddr,
    /// Bound before the first start.
    bound: Arc<Mutex<Option<TcpListener>>>,
    settings: Arc<Mutex<provisioner::Settings>>,
}

impl Surroundings {
    /// With a free port for firmware.
    pub fn new() -> Self {
        let bound = TcpListener::bind((LOOPBACK, 0)).unwrap();
        Self {
            systemd: FakeSystemd::new(),
            boot_at: bound.local_addr().unwrap(),
            bound: Arc::new(Mutex::new(Some(bound))),
            settings: Arc::default(),
        }
    }

    fn boot(&self) -> std::io::Result<tokio::net::TcpListener> {
        let bound = self.bound.lock().unwrap().take();
        let listener = bound.map_or_else(|| TcpListener::bind(self.boot_at), Ok)?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether hosts can be known by their certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    On,
    Off,
}

/// A provisioner on the host `node`, with other settings than the usual.
pub fn part(
    node: &str,
    tls: Tls,
    surroundings: &Surroundings,
    change: impl FnOnce(&mut provisioner::Settings) + Send + 'static,
) -> Part {
    let (prepared, own) = (surroundings.clone(), surroundings.clone());
    let node = node.to_owned();
    Part::new(NAME, move |place, listener, shutdown| {
        let component = provisioner::COMPONENT;
        let mut settings = crate::settings(component, &place, Some("photon-provisioner"));
        settings.component = own.settings.lock().unwrap().clone();
        let pki = &settings.component.pki_dir;
        settings.server.tls = (tls == Tls::On).then(|| TlsFiles {
            certificate: pki.join("host.pem"),
            key: pki.join("host-key.pem"),
            client_ca: Some(pki.join("ca.pem")),
            client_certificates: ClientCertificates::Optional,
        });
        let own = own.clone();
        async move {
            let outside = Outside {
                systemd: Arc::new(own.systemd.clone()),
                boot: Some(own.boot()?),
            };
            provisioner::run_with(settings, listener, outside, shutdown).await
        }
    })
    .prepared(move |place| {
        let mut settings = usual(place, node);
        change(&mut settings);
        bootstrap(&settings, LOOPBACK, SystemTime::now()).expect("a certificate authority");
        *prepared.settings.lock().unwrap() = settings;
    })
}

/// The cluster `example` also has `node02` and `node03`.
fn usual(place: &Place, node: String) -> provisioner::Settings {
    let dir = place.dir();
    let boot_files = dir.join("netboot");
    std::fs::create_dir(&boot_files).unwrap();
    std::fs::write(boot_files.join("bzImage"), "kernel").unwrap();
    let initrd: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(boot_files.join("initrd"), initrd).unwrap();
    std::fs::write(boot_files.join("cmdline"), "init=/nix/store/x/init\n").unwrap();
    provisioner::Settings {
        cluster: "example".into(),
        domain: "example.internal".into(),
        node: Some(node),
        address: Some(LOOPBACK),
        ca_dir: dir.join("ca"),
        pki_dir: dir.join("pki"),
        flake: Some("/etc/nixos".into()),
        installer: Some("/bin/install-machine".into()),
        ssh_key: Some("/etc/ssh-key".into()),
        boot_files: Some(boot_files),
        enrolment_endpoint: Some(format!("https://{}", place.address(NAME))),
        hosts: [("node02", "192.0.2.2"), ("node03", "192.0.2.3")]
            .map(|(name, address)| (name.to_owned(), address.parse().unwrap()))
            .into(),
        ..provisioner::Settings::default()
    }
}

/// The join token that the installer of a machine is to leave on it; it is there while the machine is installing.
pub fn join_token(place: &Place, machine_id: &str) -> PathBuf {
    extra(place, machine_id).join("var/lib/photoncloud/pki/join-token")
}

fn extra(place: &Place, machine_id: &str) -> PathBuf {
    let installations = place.state_dir(NAME).join("install");
    installations.join(machine_id).join("extra")
}

/// A host that shows who it is.
pub trait Identified {
    /// Its certificate and key.
    fn identity(&self) -> Identity;
}

/// A connection to a provisioner that trusts its authority, with a host's certificate or without.
pub fn tls_channel(place: &Place, host: Option<&dyn Identified>) -> Channel {
    let ca = std::fs::read_to_string(place.dir().join("pki/ca.pem")).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some(host) = host {
        tls = tls.identity(host.identity());
    }
    Endpoint::from_shared(format!("https://{}", place.address(NAME)))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect_lazy()
}

/// A provisioner with its IAM, on the host `node01`.
pub struct Rack {
    cloud: photon_testkit::Cloud,
    surroundings: Surroundings,
    operator: Session,
}

impl Deref for Rack {
    type Target = photon_testkit::Cloud;

    fn deref(&self) -> &Self::Target {
        &self.cloud
    }
}

impl DerefMut for Rack {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.cloud
    }
}

impl Rack {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings than the usual.
    pub async fn start_with(
        change: impl FnOnce(&mut provisioner::Settings) + Send + 'static,
    ) -> Self {
        let surroundings = Surroundings::new();
        let provisioner = part("node01", Tls::On, &surroundings, change);
        let cloud = photon_testkit::Cloud::start([crate::iam::part("node01"), provisioner]).await;
        Self {
            operator: cloud.people.operator().await.session,
            cloud,
            surroundings,
        }
    }

    /// Its systemd.
    pub fn systemd(&self) -> &FakeSystemd {
        &self.surroundings.systemd
    }

    /// Where firmware boots from.
    pub fn boot_at(&self) -> SocketAddr {
        self.surroundings.boot_at
    }

    /// The URL of something there.
    pub fn boot_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.boot_at())
    }

    /// What it was started with.
    pub fn settings(&self) -> provisioner::Settings {
        self.surroundings.settings.lock().unwrap().clone()
    }

    /// For its next start.
    pub fn change(&self, change: impl FnOnce(&mut provisioner::Settings)) {
        change(&mut self.surroundings.settings.lock().unwrap());
    }

    /// A connection that trusts the cluster's authority, with a host's certificate or without.
    pub fn tls_channel(&self, host: Option<&dyn Identified>) -> Channel {
        tls_channel(self.place(), host)
    }

    pub fn machines(&self) -> MachineServiceClient<Channel> {
        MachineServiceClient::new(self.tls_channel(None))
    }

    /// What a host calls, with its certificate or without one.
    pub fn enrolment(&self, host: Option<&dyn Identified>) -> EnrolmentServiceClient<Channel> {
        EnrolmentServiceClient::new(self.tls_channel(host))
    }

    /// A request by the operator.
    pub fn operator<T>(&self, message: T) -> Request<T> {
        self.operator.request(message)
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
        let request = self.operator(ApproveMachineRequest {
            id: id.into(),
            name: name.into(),
            ..Default::default()
        });
        let approved = self.machines().approve_machine(request).await?;
        Ok(approved.into_inner().machine.unwrap())
    }

    pub async fn reinstall(&self, id: &str, confirm_name: &str) -> Result<Machine, Status> {
        let request = self.operator(ReinstallMachineRequest {
            id: id.into(),
            confirm_name: confirm_name.into(),
            ..Default::default()
        });
        let answered = self.machines().reinstall_machine(request).await?;
        Ok(answered.into_inner().machine.unwrap())
    }

    pub async fn retire(&self, id: &str, confirm_name: &str) -> Result<Machine, Status> {
        let request = self.operator(RetireMachineRequest {
            id: id.into(),
            confirm_name: confirm_name.into(),
            ..Default::default()
        });
        let answered = self.machines().retire_machine(request).await?;
        Ok(answered.into_inner().machine.unwrap())
    }

    /// A join token for a host, as an operator asks for it.
    pub async fn join_token(&self, machine: &str) -> Result<IssueJoinTokenResponse, Status> {
        let request = self.operator(IssueJoinTokenRequest {
            machine: machine.into(),
            confirm_name: machine.into(),
            ..Default::default()
        });
        let answered = self.machines().issue_join_token(request).await?;
        Ok(answered.into_inner())
    }

    /// The extra files of a machine's installer.
    pub fn extra(&self, id: &str) -> PathBuf {
        extra(self.place(), id)
    }

    /// How many installers were started.
    pub fn installations(&self) -> usize {
        let logs = self.place().state_dir(NAME).join("install");
        std::fs::read_dir(logs).map_or(0, |entries| entries.count())
    }

    /// Events of the system's chain with this action, oldest first.
    pub async fn events(&self, action: &str) -> Vec<Event> {
        let mut client = EventServiceClient::new(self.tls_channel(None));
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
        let operator = self.people.stranger().with_token(&self.operator.token);
        let mut found = [false; 2];
        for (n, agent) in ["prismnet-agent", "plasmavmc-agent"].iter().enumerate() {
            let request = GetPrincipalRequest {
                id: format!("{agent}@{host}"),
                ..Default::default()
            };
            found[n] = operator.admin().get_principal(request).await.is_ok();
        }
        found
    }
}
