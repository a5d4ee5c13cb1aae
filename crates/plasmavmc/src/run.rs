//! The server's boot.

use std::time::Duration;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::chainfire::v1::event_service_server::EventServiceServer;
use photon_api::components::PRISMNET;
use photon_api::plasmavmc::v1::image_service_server::ImageServiceServer;
use photon_api::plasmavmc::v1::node_service_server::NodeServiceServer;
use photon_api::plasmavmc::v1::vm_service_server::VmServiceServer;
use photon_program::Identity;
use photon_service::{Events, Guard, IamClient, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{
    Access, ConsoleHub, Consoles, Desired, Files, Images, Nodes, Ports, Reports, Saga, Vms, Watches,
};
use crate::server::{ImageServer, NodeServer, VmServer};
use crate::store::blob::Blobs;
use crate::{COMPONENT, Settings};

/// Serves until `shutdown`.
pub async fn run(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let photon_program::Settings { server, component } = settings;

    // What was kept.
    tokio::fs::create_dir_all(&server.state_dir)
        .await
        .with_context(|| format!("the state directory {}", server.state_dir.display()))?;
    let db = Db::sqlite(&server.state_dir.join("flaredb.sqlite")).await?;
    let ledger = Ledger::new(db.clone(), COMPONENT.name);
    let images_dir = server.state_dir.join("images");
    let blobs = Blobs::open(&images_dir)
        .await
        .with_context(|| format!("the directory of images {}", images_dir.display()))?;

    // Who may do what, and who this server is to others.
    let iam = std::sync::Arc::new(IamClient::new(&server.endpoints)?);
    let guard = Guard::new(iam.clone(), iam, ledger.clone());
    let mutations = Mutations::new(db.clone(), ledger.clone());
    let credential = server.credential_file.as_deref();
    let identity = Identity::new("plasmavmc-server", credential, &server.endpoints)?;
    let ports = Ports::new(server.endpoints.channel(&PRISMNET)?, identity);

    // The rules.
    let access = Access::new(db.clone(), guard.clone());
    let timeout = Duration::from_secs(component.node_timeout_seconds);
    let nodes = Nodes::new(db.clone(), mutations.clone(), access.clone(), timeout);
    let saga = Saga::new(db.clone(), ledger.clone(), ports.clone(), shutdown.clone());
    let desired = Desired::new(db.clone(), component.guest_mtu);
    let watches = Watches::new(db.clone(), access.clone(), desired.clone());
    let hub = ConsoleHub::default();
    let consoles = Consoles::new(access.clone(), hub.clone());
    let files = Files::new(blobs.clone(), desired);
    let reports = Reports::new(db.clone(), ledger.clone(), saga.clone());
    let images = Images::new(
        db.clone(),
        mutations.clone(),
        access.clone(),
        blobs,
        component.clone(),
    );
    let vms = Vms::new(
        db.clone(),
        mutations,
        access,
        nodes.clone(),
        ports,
        saga.clone(),
        component,
    );

    // What a crash may have left to do.
    images.collect_garbage().await;
    let background = tokio::spawn(saga.run());

    let services = Services::new()
        .add(ImageServiceServer::new(ImageServer::new(
            guard.clone(),
            images,
        )))
        .add(VmServiceServer::new(VmServer::new(
            guard.clone(),
            vms,
            watches.clone(),
            consoles,
        )))
        .add(NodeServiceServer::new(NodeServer::new(
            guard.clone(),
            nodes,
            watches,
            reports,
            files,
            hub,
        )))
        .add(EventServiceServer::new(Events::new(guard, ledger)));
    let served = tokio::select! {
        served = photon_service::serve(&server, COMPONENT, services, listener, shutdown.clone()) => served,
        // Every later change would be refused: systemd starts the server anew.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed, see the log before this")),
    };
    shutdown.cancel();
    background.await.context("the background has ended")?;
    served
}
