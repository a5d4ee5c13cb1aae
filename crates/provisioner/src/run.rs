//! The server's boot.

use std::sync::Arc;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::components::IAM;
use photon_api::provisioner::v1::enrolment_service_server::EnrolmentServiceServer;
use photon_api::provisioner::v1::machine_service_server::MachineServiceServer;
use photon_catalog::Access;
use photon_host::systemd::{ServiceManager, SystemdBus};
use photon_program::Identity;
use photon_reconcile::{Driver, Signal, Timing};
use photon_service::{Guard, IamClient, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{
    Discovery, Enrolment, Identities, IdentityReconciler, InstallReconciler, Installations,
    Invitation, Machines,
};
use crate::authority::Authority;
use crate::boot::{Boot, Netboot};
use crate::iam::Principals;
use crate::server::{EnrolmentServer, MachineServer};
use crate::{COMPONENT, Settings};

/// What the server has to do with besides its gRPC listener.
pub struct Outside {
    /// Runs installers.
    pub systemd: Arc<dyn ServiceManager>,
    /// Where firmware boots from; `None`: nowhere.
    pub boot: Option<TcpListener>,
}

/// Serves until `shutdown`.
pub async fn run(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let boot = match settings.component.boot_listen {
        Some(address) => Some(
            photon_program::listen(address)
                .await
                .context("the boot listener")?,
        ),
        None => None,
    };
    let systemd = Arc::new(SystemdBus::default());
    run_with(settings, listener, Outside { systemd, boot }, shutdown).await
}

/// As [`run`], with the outside given.
pub async fn run_with(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    outside: Outside,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let photon_program::Settings { server, component } = settings;
    let settings = Arc::new(component);

    // What was kept.
    tokio::fs::create_dir_all(&server.state_dir)
        .await
        .with_context(|| format!("the state directory {}", server.state_dir.display()))?;
    let authority = Authority::load(&settings)?;
    let invitation = Invitation {
        ca_pem: authority.ca_pem().to_owned(),
        endpoint: enrolment_endpoint(&settings, &server, &listener)?,
    };
    let db = Db::sqlite(&server.state_dir.join("flaredb.sqlite")).await?;
    let ledger = Ledger::new(db.clone(), COMPONENT.name);
    let files = Installations::new(&server.state_dir);

    // Who may do what, and who this server is to IAM.
    let credential = server.credential_file.as_deref();
    let own = Identity::new("photon-provisioner", credential, &server.endpoints)?;
    let iam = Arc::new(IamClient::new(&server.endpoints)?.asking_as(own.clone()));
    let guard = Guard::new(iam.clone(), iam, ledger.clone());
    let mutations = Mutations::new(db.clone(), ledger.clone(), &server.limits);
    let iam = server.endpoints.channel(&IAM)?;

    // The rules.
    let (install, identify) = (Signal::new(), Signal::new());
    let identities = Identities::new(db.clone(), Principals::new(iam, own));
    let wake = vec![install.clone(), identify.clone()];
    let access = Access::new(db.clone(), guard.clone(), mutations);
    let machines = Machines::new(access.clone(), settings.clone(), wake);
    let discovery = Discovery::new(db.clone(), ledger.clone(), install.clone());
    let own_address = settings.node_address(server.listen);
    let enrolment = Enrolment::new(
        db.clone(),
        ledger.clone(),
        settings.clone(),
        authority,
        identities.clone(),
        identify.clone(),
        own_address,
    );
    let installer = InstallReconciler::new(
        db.clone(),
        ledger.clone(),
        outside.systemd.clone(),
        files.clone(),
        &settings,
        invitation,
        install.clone(),
    );

    // What goes on by itself.
    let background = shutdown.child_token();
    let mut tasks = tokio::task::JoinSet::new();
    let driver = Driver::new(
        "installations",
        installer,
        Timing::default(),
        install.clone(),
    );
    let stop = background.clone();
    tasks.spawn(async move { drop(driver.run(stop).await) });
    let driver = Driver::new(
        "identities",
        IdentityReconciler(identities),
        Timing::default(),
        identify,
    );
    let stop = background.clone();
    tasks.spawn(async move { drop(driver.run(stop).await) });
    tasks.spawn(InstallReconciler::listen(
        outside.systemd,
        install,
        background.clone(),
    ));
    if let Some(boot) = outside.boot {
        let address = boot
            .local_addr()
            .context("the boot listener has no address")?;
        let netboot = Netboot {
            files: settings.boot_files.clone().unwrap_or_default(),
            url: settings.boot_url(address),
            ssh_public_key: settings.ssh_public_key.clone(),
        };
        tracing::info!(%address, url = netboot.url, "serving netboot");
        tasks.spawn(Boot::new(discovery, netboot).serve(boot, background.clone()));
    }

    let services = Services::new(guard.verifier())
        .add(MachineServiceServer::new(MachineServer::new(
            access, machines, files,
        )))
        .add(EnrolmentServiceServer::new(EnrolmentServer::new(enrolment)))
        .events(guard, ledger);
    let served = tokio::select! {
        served = photon_service::serve(&server, COMPONENT, services, listener, shutdown.clone()) => served,
        // Every later change would be refused: systemd starts the server anew.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed, see the log before this")),
    };
    background.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("the background has ended")?;
    }
    served
}

/// URL by which a new host reaches this server.
fn enrolment_endpoint(
    settings: &Settings,
    server: &photon_program::ServerSettings,
    listener: &TcpListener,
) -> anyhow::Result<String> {
    if let Some(url) = &settings.enrolment_endpoint {
        return Ok(url.clone());
    }
    let port = listener
        .local_addr()
        .context("the listener has no address")?
        .port();
    let address = settings
        .node_address(server.listen)
        .unwrap_or(server.listen);
    let address = std::net::SocketAddr::new(address, port);
    let scheme = if server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    Ok(format!("{scheme}://{address}"))
}
