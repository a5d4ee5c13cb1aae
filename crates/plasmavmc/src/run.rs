//! The server's boot.

use std::time::Duration;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::components::PRISMNET;
use photon_api::plasmavmc::v1::image_service_server::ImageServiceServer;
use photon_api::plasmavmc::v1::node_service_server::NodeServiceServer;
use photon_api::plasmavmc::v1::ssh_key_service_server::SshKeyServiceServer;
use photon_api::plasmavmc::v1::vm_service_server::VmServiceServer;
use photon_api::quota::v1::quota_service_server::QuotaServiceServer;
use photon_api::tenancy::v1::tenant_service_server::TenantServiceServer;
use photon_catalog::quota::{Count, Quotas};
use photon_catalog::{Access, Actor, Tenants};
use photon_program::Identity;
use photon_service::{Guard, IamClient, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{ConsoleHub, Consoles, Desired, Files, Reports, Saga, Tunnels, Watches};
use crate::model::{Image, SshKey, Vm, kind};
use crate::prismnet::Ports;
use crate::store::blob::Blobs;
use crate::{COMPONENT, Settings, app, model, server, store};

/// Serves until `shutdown`.
pub async fn run(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let photon_program::Settings {
        server: common,
        component,
    } = settings;

    // What was kept.
    tokio::fs::create_dir_all(&common.state_dir)
        .await
        .with_context(|| format!("the state directory {}", common.state_dir.display()))?;
    let db = Db::sqlite(&common.state_dir.join("flaredb.sqlite")).await?;
    let ledger = Ledger::new(db.clone(), COMPONENT.name);
    let images_dir = common.state_dir.join("images");
    let blobs = Blobs::open(&images_dir)
        .await
        .with_context(|| format!("the directory of images {}", images_dir.display()))?;

    // What there is, for the quotas.
    let quantities = component.quantities()?;
    let counted = Count::new().of::<Vm>(&db).await?.of::<Image>(&db).await?;
    let counted = counted.of::<SshKey>(&db).await?;
    counted.store(&db, &quantities).await?;

    // Who may do what, and who this server is to others.
    let credential = common.credential_file.as_deref();
    let identity = Identity::new("plasmavmc-server", credential, &common.endpoints)?;
    let iam = IamClient::new(&common.endpoints)?.asking_as(identity.clone());
    let iam = std::sync::Arc::new(iam);
    let guard = Guard::new(iam.clone(), iam, ledger.clone());
    let mutations = Mutations::new(db.clone(), ledger.clone(), &common.limits);
    let ports = Ports::new(
        common.endpoints.channel(&PRISMNET)?,
        identity,
        component.guest_mtu,
    );

    // The rules.
    let access = Access::new(db.clone(), guard.clone(), mutations);
    let timeout = Duration::from_secs(component.node_timeout_seconds);
    let nodes = app::Nodes::new(access.clone(), timeout);
    let saga = Saga::new(db.clone(), ledger.clone(), ports.clone(), shutdown.clone());
    // Of this run: a store that was put back from a copy is another, and nobody puts one back under a server.
    let store_epoch = Uuid::new_v4().to_string();
    let desired = Desired::new(db.clone(), &store_epoch);
    let guest_mtu = component.guest_mtu;
    let watches = Watches::new(db.clone());
    let hub = ConsoleHub::default();
    let consoles = Consoles::new(hub.clone());
    let tunnels = Tunnels::new(hub);
    let files = Files::new(blobs.clone(), desired.clone());
    let reports = Reports::new(db.clone(), ledger.clone(), saga.clone(), &store_epoch);
    let offers = component.images.clone();
    let images = app::Images::new(db.clone(), blobs, component.clone());
    let vms = app::Vms::new(
        access.clone(),
        nodes.clone(),
        ports,
        saga.clone(),
        component,
    );

    let actor = Actor::server(format!("{}-server", COMPONENT.name));
    let catalogue = app::Catalogue::new(images.clone(), ledger.clone(), actor.clone(), offers)
        .run(shutdown.clone());
    let tenants = Tenants::new(access.clone(), ledger.clone(), actor, kind::VMS.service)
        .with::<Vm>()
        .with::<Image>()
        .with::<SshKey>();

    // What a crash may have left to do.
    images.collect_garbage().await;
    store::node::loads_complete(&db).await?;
    let background = tokio::spawn(async { tokio::join!(saga.run(), catalogue) });

    let services = Services::new(guard.verifier())
        .add(ImageServiceServer::new(server::Images::new(
            access.clone(),
            images,
        )))
        .add(VmServiceServer::new(server::Vms::new(
            access.clone(),
            vms,
            watches,
            consoles,
            tunnels.clone(),
        )))
        .add(SshKeyServiceServer::new(server::SshKeys::new(
            access.clone(),
            app::SshKeys::new(db.clone()),
        )))
        .add(NodeServiceServer::new(server::Nodes::new(
            access.clone(),
            nodes,
            desired,
            guest_mtu,
            reports,
            files,
            tunnels,
        )))
        .add(QuotaServiceServer::new(Quotas::new(
            access,
            model::kind::VMS.service,
            quantities,
        )))
        .add(TenantServiceServer::new(tenants))
        .events(guard, ledger);
    let served = tokio::select! {
        served = photon_service::serve(&common, COMPONENT, services, listener, shutdown.clone()) => served,
        // Every later change would be refused: systemd starts the server anew.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed, see the log before this")),
    };
    shutdown.cancel();
    background.await.context("the background has ended")?;
    served
}
