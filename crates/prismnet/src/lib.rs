//! PrismNET: VPCs, subnets, ports, security groups, the data plane.
//!
//! The server (`run`) keeps what should be; the agent on each host (the crate `prismnet-agent`) makes it so.

pub mod app;
pub mod convert;
pub mod ipam;
pub mod model;
pub mod server;
pub mod store;

mod settings;

use std::sync::Arc;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::components;
use photon_api::prismnet::v1::external_network_service_server::ExternalNetworkServiceServer;
use photon_api::prismnet::v1::floating_ip_service_server::FloatingIpServiceServer;
use photon_api::prismnet::v1::nat_gateway_service_server::NatGatewayServiceServer;
use photon_api::prismnet::v1::network_settings_service_server::NetworkSettingsServiceServer;
use photon_api::prismnet::v1::node_service_server::NodeServiceServer;
use photon_api::prismnet::v1::peering_service_server::PeeringServiceServer;
use photon_api::prismnet::v1::port_service_server::PortServiceServer;
use photon_api::prismnet::v1::route_service_server::RouteServiceServer;
use photon_api::prismnet::v1::security_group_service_server::SecurityGroupServiceServer;
use photon_api::prismnet::v1::subnet_service_server::SubnetServiceServer;
use photon_api::prismnet::v1::trace_service_server::TraceServiceServer;
use photon_api::prismnet::v1::vpc_service_server::VpcServiceServer;
use photon_api::quota::v1::quota_service_server::QuotaServiceServer;
use photon_api::tenancy::v1::tenant_service_server::TenantServiceServer;
use photon_catalog::quota::{Count, Quantity, Quotas};
use photon_catalog::{Access, Actor, Tenants};
use photon_program::{Component, Identity};
use photon_service::{Guard, IamClient, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::model::{FloatingIp, NatGateway, Peering, Port, Route, SecurityGroup, Subnet, Vpc};

pub use settings::Settings;

/// The server's name and port.
pub const COMPONENT: Component = Component::server_of(&components::PRISMNET);

/// Serves PrismNET at `listener` until `shutdown`: opens the store, follows it for the hosts, answers calls.
///
/// Errors: the store can't be opened (in use, of a newer program, no disk) or fails later, the settings of TLS or
/// metrics are wrong.
pub async fn run(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let state = &settings.server.state_dir;
    tokio::fs::create_dir_all(state)
        .await
        .with_context(|| format!("the state directory {} can't be made", state.display()))?;
    let db = Db::sqlite(&state.join("flaredb.sqlite")).await?;
    let ledger = Ledger::new(db.clone(), COMPONENT.name);
    let mut iam = IamClient::new(&settings.server.endpoints)?;
    // All that it needs an identity for are calls that outlast their tokens: it answers the others without.
    if let Some(credential) = &settings.server.credential_file {
        let endpoints = &settings.server.endpoints;
        iam = iam.asking_as(Identity::new(
            "prismnet-server",
            Some(credential),
            endpoints,
        )?);
    }
    let guard = Guard::new(Arc::new(iam.clone()), Arc::new(iam), ledger.clone());

    let nodes = app::Nodes::new(db.clone(), &Uuid::new_v4().to_string());
    let following = tokio::spawn(nodes.clone().follow());
    let quantities = settings.component.quota.of(&settings::QUANTITIES)?;
    let counted = Count::new().of::<Vpc>(&db).await?.of::<Subnet>(&db).await?;
    let counted = counted
        .of::<Port>(&db)
        .await?
        .of::<SecurityGroup>(&db)
        .await?;
    let counted = counted.of::<NatGateway>(&db).await?;
    let counted = counted.of::<FloatingIp>(&db).await?;
    let counted = counted.of::<Route>(&db).await?;
    let counted = counted.of::<Peering>(&db).await?;
    counted.store(&db, &quantities).await?;
    let mutations = Mutations::new(db.clone(), ledger.clone(), &settings.server.limits);
    let services = services(
        db.clone(),
        ledger,
        guard,
        mutations,
        nodes,
        &settings.component,
        quantities,
    );
    let served = photon_service::serve(&settings.server, COMPONENT, services, listener, shutdown);
    let ended = tokio::select! {
        served = served => served,
        // Nothing can be promised any more; systemd starts the program again.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed")),
    };
    following.abort();
    ended
}

fn services(
    db: Db,
    ledger: Ledger,
    guard: Guard,
    mutations: Mutations,
    nodes: app::Nodes,
    component: &Settings,
    quantities: Arc<[Quantity]>,
) -> Services {
    let defaults = app::DefaultNetworks::new(db.clone(), component.default_network_cidr);
    let access = Access::new(db.clone(), guard.clone(), mutations);
    let addresses = app::Addresses::new(db.clone());
    let actor = Actor::server(format!("{}-server", COMPONENT.name));
    let tenants = Tenants::new(
        access.clone(),
        ledger.clone(),
        actor,
        model::kind::VPCS.service,
    )
    .with::<model::Vpc>()
    .with::<model::Subnet>()
    .with::<model::Port>()
    .with::<NatGateway>()
    .with::<FloatingIp>()
    .with::<Route>()
    .with::<Peering>()
    .with_automatic::<SecurityGroup>(
        |group| group.is_default,
        |group, tx| Box::pin(store::security_group_delete(tx, group)),
    );

    let vpcs = app::Vpcs::new(db.clone());
    let subnets = app::Subnets::new(db.clone(), addresses.clone());
    let ports = app::Ports::new(db.clone(), addresses);
    let groups = app::SecurityGroups::new(db.clone());
    let external = app::ExternalNetworks::new(db.clone());
    let gateways = app::NatGateways::new(db.clone());
    let floating = app::FloatingIps::new(db.clone());
    let routes = app::Routes::new(db.clone());
    let peerings = app::Peerings::new(db);
    Services::new(guard.verifier())
        .add(VpcServiceServer::new(server::Vpcs::new(
            access.clone(),
            vpcs,
        )))
        .add(SubnetServiceServer::new(server::Subnets::new(
            access.clone(),
            subnets,
            defaults.clone(),
        )))
        .add(NetworkSettingsServiceServer::new(server::Settings::new(
            access.clone(),
            defaults,
        )))
        .add(PortServiceServer::new(server::Ports::new(
            access.clone(),
            ports,
            component.resolver,
        )))
        .add(SecurityGroupServiceServer::new(
            server::SecurityGroups::new(access.clone(), groups),
        ))
        .add(ExternalNetworkServiceServer::new(
            server::ExternalNetworks::new(access.clone(), external),
        ))
        .add(NatGatewayServiceServer::new(server::NatGateways::new(
            access.clone(),
            gateways,
        )))
        .add(FloatingIpServiceServer::new(server::FloatingIps::new(
            access.clone(),
            floating,
        )))
        .add(RouteServiceServer::new(server::Routes::new(
            access.clone(),
            routes,
        )))
        .add(PeeringServiceServer::new(server::Peerings::new(
            access.clone(),
            peerings,
        )))
        .add(TraceServiceServer::new(server::Traces::new(
            access.clone(),
            nodes.clone(),
        )))
        .add(NodeServiceServer::new(server::Nodes::new(
            access.clone(),
            nodes,
        )))
        .add(QuotaServiceServer::new(Quotas::new(
            access,
            model::kind::VPCS.service,
            quantities,
        )))
        .add(TenantServiceServer::new(tenants))
        .events(guard, ledger)
}
