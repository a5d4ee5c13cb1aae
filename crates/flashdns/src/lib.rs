//! FlashDNS: the names that guests find each other by.
//!
//! The server (`run`) puts together what PrismNET knows of ports and PlasmaVMC of VMs; the agent on each host (the crate
//! `flashdns-agent`) answers guests.

pub mod app;
pub mod convert;
pub mod model;
pub mod server;

mod settings;
mod sources;

use std::sync::Arc;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::chainfire::v1::event_service_server::EventServiceServer;
use photon_api::components::{self, PLASMAVMC, PRISMNET};
use photon_api::flashdns::v1::node_service_server::NodeServiceServer;
use photon_catalog::Access;
use photon_program::{Component, Identity};
use photon_service::{Events, Guard, IamClient, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub use settings::Settings;
use sources::Sources;

/// The server's name and port.
pub const COMPONENT: Component = Component::server_of(&components::FLASHDNS);

/// Serves FlashDNS at `listener` until `shutdown`: opens the store, follows PrismNET and PlasmaVMC for the hosts, answers
/// calls.
///
/// Errors: the store can't be opened (in use, of a newer program, no disk) or fails later, the settings of TLS or
/// metrics are wrong. That one of the others is away is none.
pub async fn run(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let photon_program::Settings {
        server: common,
        component,
    } = settings;
    tokio::fs::create_dir_all(&common.state_dir)
        .await
        .with_context(|| format!("the state directory {}", common.state_dir.display()))?;
    let db = Db::sqlite(&common.state_dir.join("flaredb.sqlite")).await?;
    let ledger = Ledger::new(db.clone(), COMPONENT.name);

    // Who may do what, and who this server is to others.
    let credential = common.credential_file.as_deref();
    let identity = Identity::new("flashdns-server", credential, &common.endpoints)?;
    let iam = Arc::new(IamClient::new(&common.endpoints)?.asking_as(identity.clone()));
    let guard = Guard::new(iam.clone(), iam, ledger.clone());
    let mutations = Mutations::new(db.clone(), ledger.clone(), &common.limits);

    // What there is elsewhere.
    let nodes = app::Nodes::new(&Uuid::new_v4().to_string());
    let sources = Sources {
        network: common.endpoints.channel(&PRISMNET)?,
        vms: common.endpoints.channel(&PLASMAVMC)?,
        identity,
    };
    let following = AbortOnDropHandle::new(tokio::spawn(sources::follow(sources, nodes.clone())));

    let access = Access::new(db.clone(), guard.clone(), mutations);
    let services = Services::new(guard.verifier())
        .add(NodeServiceServer::new(server::Nodes::new(
            access,
            nodes,
            component.suffix,
        )))
        .add(EventServiceServer::new(Events::new(guard, ledger)));
    let served = photon_service::serve(&common, COMPONENT, services, listener, shutdown);
    let ended = tokio::select! {
        served = served => served,
        // Nothing can be promised any more; systemd starts the program again.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed")),
    };
    drop(following);
    ended
}
