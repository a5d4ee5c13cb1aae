//! FlashDNS: the names that guests find each other by.
//!
//! The server (`run`) puts together what PrismNET knows of ports and PlasmaVMC of VMs; the agent on each host (the crate
//! `flashdns-agent`) answers guests.

pub mod app;
pub mod convert;
pub mod model;
pub mod server;
pub mod store;

mod network;
mod settings;
mod sources;

use std::sync::Arc;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::components::{self, PLASMAVMC, PRISMNET};
use photon_api::flashdns::v1::dns_service_server::DnsServiceServer;
use photon_api::flashdns::v1::node_service_server::NodeServiceServer;
use photon_api::quota::v1::quota_service_server::QuotaServiceServer;
use photon_api::tenancy::v1::tenant_service_server::TenantServiceServer;
use photon_catalog::quota::{Count, Quotas};
use photon_catalog::{Access, Actor, Tenants};
use photon_program::{Component, Identity};
use photon_service::{Guard, IamClient, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use model::{RecordSet, Zone, kind};
use network::Network;
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

    // What there is, for the quotas.
    let quantities = component.quota.of(&settings::QUANTITIES)?;
    let counted = Count::new().of::<Zone>(&db).await?;
    let counted = counted.of::<RecordSet>(&db).await?;
    counted.store(&db, &quantities).await?;

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
    let network = Network::new(sources.network.clone());
    let following = [
        AbortOnDropHandle::new(tokio::spawn(sources::follow(sources, nodes.clone()))),
        AbortOnDropHandle::new(tokio::spawn(nodes.clone().follow(db.clone()))),
    ];

    let access = Access::new(db.clone(), guard.clone(), mutations);
    let actor = Actor::server(format!("{}-server", COMPONENT.name));
    let tenants = Tenants::new(access.clone(), ledger.clone(), actor, kind::ZONES.service)
        .with::<Zone>()
        .with::<RecordSet>();
    let services = Services::new(guard.verifier())
        .add(DnsServiceServer::new(server::Dns::new(
            access.clone(),
            network,
            app::Zones::new(db.clone(), &component.suffix),
            app::RecordSets::new(db.clone()),
            app::Names::new(nodes.clone(), &component.suffix),
        )))
        .add(NodeServiceServer::new(server::Nodes::new(
            access.clone(),
            nodes,
            component.suffix,
        )))
        .add(QuotaServiceServer::new(Quotas::new(
            access,
            kind::ZONES.service,
            quantities,
        )))
        .add(TenantServiceServer::new(tenants))
        .events(guard, ledger);
    let served = photon_service::serve(&common, COMPONENT, services, listener, shutdown);
    let ended = tokio::select! {
        served = served => served,
        // Nothing can be promised any more; systemd starts the program again.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed")),
    };
    drop(following);
    ended
}
