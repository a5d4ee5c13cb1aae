//! All servers over one directory, as a host has them.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use photon_api::components::{IAM, PLASMAVMC, PRISMNET};
use photon_host::systemd::FakeSystemd;
use photon_program::{
    ClientCertificates, Component, ComponentSettings, Endpoints, Settings, TlsFiles, Urls,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// The host that the servers' credentials are of.
pub const NODE: &str = "node1";

/// The servers. Their states are below the directory, each in a folder of its name, beside `credentials`.
pub struct Servers {
    dir: PathBuf,
    at: [SocketAddr; 4],
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// The names of the servers.
pub const SERVERS: [&str; 4] = ["iam", "prismnet", "plasmavmc", "provisioner"];

impl Servers {
    /// Starts all of them.
    pub async fn start(dir: &Path) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..4 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses: Vec<SocketAddr> = listeners
            .iter()
            .map(|it| it.local_addr().unwrap())
            .collect();
        let at = [addresses[0], addresses[1], addresses[2], addresses[3]];
        let endpoints = Endpoints {
            urls: Urls::default()
                .with(&IAM, format!("http://{}", at[0]))
                .with(&PRISMNET, format!("http://{}", at[1]))
                .with(&PLASMAVMC, format!("http://{}", at[2])),
            ..Endpoints::default()
        };
        let credentials = dir.join("credentials");
        let shutdown = CancellationToken::new();
        let mut servers = Self {
            dir: dir.to_owned(),
            at,
            shutdown: shutdown.clone(),
            tasks: Vec::new(),
        };
        let [first, second, third, fourth] = <[TcpListener; 4]>::try_from(listeners).unwrap();

        let mut iam = settings::<iam::Settings>(iam::COMPONENT, dir, &endpoints);
        iam.component.credentials_dir = Some(credentials.clone());
        iam.component.node = Some(NODE.to_owned());
        // The stores of this test are as old as they are: the key in them stays.
        iam.component.signing_key_days = Some(36_500);
        servers.spawn(iam::run(iam, first, shutdown.clone()));

        let mut prismnet = settings::<prismnet::Settings>(prismnet::COMPONENT, dir, &endpoints);
        prismnet.server.credential_file = Some(credentials.join("prismnet-server.key"));
        servers.spawn(prismnet::run(prismnet, second, shutdown.clone()));

        let mut plasmavmc = settings::<plasmavmc::Settings>(plasmavmc::COMPONENT, dir, &endpoints);
        plasmavmc.server.credential_file = Some(credentials.join("plasmavmc-server.key"));
        // No host reports itself, and none is lost meanwhile.
        plasmavmc.component.node_timeout_seconds = 3600;
        servers.spawn(plasmavmc::run(plasmavmc, third, shutdown.clone()));

        let mut settings =
            settings::<provisioner::Settings>(provisioner::COMPONENT, dir, &endpoints);
        settings.server.credential_file = Some(credentials.join("photon-provisioner.key"));
        let own = &mut settings.component;
        own.node = Some(NODE.to_owned());
        own.address = Some(at[3].ip());
        own.ca_dir = dir.join("ca");
        own.pki_dir = dir.join("pki");
        own.boot_files = Some(dir.join("netboot"));
        own.installer = Some("/bin/install-machine".into());
        own.flake = Some("/etc/nixos".into());
        own.ssh_key = Some(dir.join("ssh-key"));
        let now = std::time::SystemTime::now();
        provisioner::bootstrap::bootstrap(own, at[3].ip(), now).unwrap();
        let pki = own.pki_dir.clone();
        settings.server.tls = Some(TlsFiles {
            certificate: pki.join("host.pem"),
            key: pki.join("host-key.pem"),
            client_ca: Some(pki.join("ca.pem")),
            client_certificates: ClientCertificates::Optional,
        });
        let outside = provisioner::Outside {
            systemd: Arc::new(FakeSystemd::new()),
            boot: None,
        };
        let run = provisioner::run_with(settings, fourth, outside, shutdown);
        servers.spawn(run);
        servers
    }

    fn spawn(&mut self, run: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.tasks.push(tokio::spawn(run));
    }

    /// A channel to one of [`SERVERS`]. Calls that come before it serves wait in its listener.
    pub fn channel(&self, server: &str) -> Channel {
        let number = SERVERS.iter().position(|it| *it == server).unwrap();
        let scheme = match server {
            "provisioner" => "https",
            _ => "http",
        };
        let url = format!("{scheme}://{}", self.at[number]);
        let mut endpoint = Endpoint::from_shared(url).unwrap();
        if scheme == "https" {
            let ca = std::fs::read_to_string(self.dir.join("pki/ca.pem")).unwrap();
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        endpoint.connect_lazy()
    }

    /// Ends all of them, as SIGTERM would.
    pub async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
    }
}

fn settings<S: ComponentSettings>(
    component: Component,
    dir: &Path,
    endpoints: &Endpoints,
) -> Settings<S> {
    let mut settings = Settings::<S>::new(component);
    settings.server.state_dir = dir.join(component.name);
    settings.server.endpoints = endpoints.clone();
    settings.server.metrics_listen = None;
    settings
}
