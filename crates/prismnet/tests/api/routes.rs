//! Routes, and the ports that they may lead to.

use pb::RouteTarget::{Blackhole, NatGateway, Port, Unspecified};
use photon_api::chainfire::v1 as chainfire_pb;
use photon_api::prismnet::v1 as pb;
use tonic::Code;

use photon_testcloud::prismnet::{Client, Cloud, new_port};
use photon_testkit::expect_error;

async fn appliance(client: &mut Client, subnet: &pb::Subnet, name: &str) -> pb::Port {
    let request = pb::CreatePortRequest {
        source_check: Some(false),
        ..new_port(subnet, name)
    };
    let answer = client.ports.create_port(request).await;
    answer.unwrap().into_inner().port.unwrap()
}

async fn check(client: &mut Client, port: &str, on: bool) -> Result<pb::Port, tonic::Status> {
    let request = pb::UpdatePortRequest {
        id: port.into(),
        source_check: Some(on),
        ..Default::default()
    };
    let answer = client.ports.update_port(request).await?;
    Ok(answer.into_inner().port.unwrap())
}

async fn delete(client: &mut Client, route: &pb::Route) {
    let request = pb::DeleteRouteRequest {
        id: route.id.clone(),
        ..Default::default()
    };
    client.routes.delete_route(request).await.unwrap();
}

#[tokio::test]
async fn a_route_leads_to_a_port_without_source_check() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "fw").await;
    assert!(port.source_check);

    // Case 47: the flag and the right are named.
    let answer = tenant
        .route(&vpc, "lab", "192.168.0.0/16", (Port, "fw"))
        .await;
    let text = "port 'fw' has its source check on";
    expect_error(answer.clone(), Code::FailedPrecondition, text);
    for named in ["source_check", "network:ports:disableSourceCheck"] {
        expect_error(answer.clone(), Code::FailedPrecondition, named);
    }
    // Who makes and changes ports need not have that right.
    let own = [
        ("network:ports:create", ""),
        ("network:ports:update", ""),
        ("network:ports:get", ""),
        ("network:subnets:get", ""),
    ];
    let mut limited = cloud.with_role("acme", &own).await;
    let text = "network:ports:disableSourceCheck";
    let refused = check(&mut limited, &port.id, false).await;
    expect_error(refused, Code::PermissionDenied, text);
    let request = pb::CreatePortRequest {
        source_check: Some(false),
        ..new_port(&subnet, "other")
    };
    let refused = limited.ports.create_port(request).await;
    expect_error(refused, Code::PermissionDenied, text);
    // Nothing is asked for to have the check.
    assert!(
        check(&mut limited, &port.id, true)
            .await
            .unwrap()
            .source_check
    );

    let port = check(&mut tenant, "fw", false).await.unwrap();
    assert!(!port.source_check);
    let route = tenant
        .route(&vpc, "lab", "192.168.0.0/16", (Port, "fw"))
        .await;
    let route = route.unwrap();
    assert_eq!((route.target(), &route.target_id), (Port, &port.id));
    assert_eq!(
        (&route.vpc_id, route.destination.as_str()),
        (&vpc.id, "192.168.0.0/16")
    );

    // What it stands on stays as it is.
    let kept = "route 'lab' (192.168.0.0/16) leads to port 'fw'";
    expect_error(
        check(&mut tenant, "fw", true).await,
        Code::FailedPrecondition,
        kept,
    );
    let request = pb::DeletePortRequest {
        id: port.id.clone(),
        ..Default::default()
    };
    let refused = tenant.ports.delete_port(request.clone()).await;
    expect_error(refused, Code::FailedPrecondition, kept);
    delete(&mut tenant, &route).await;
    assert!(check(&mut tenant, "fw", true).await.unwrap().source_check);
    tenant.ports.delete_port(request).await.unwrap();
}

#[tokio::test]
async fn destinations_are_apart_from_subnets_and_each_other() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = appliance(&mut tenant, &subnet, "fw").await;
    let inside = (Port, port.id.as_str());
    tenant
        .route(&vpc, "pods", "10.0.9.0/24", inside)
        .await
        .unwrap();
    tenant
        .route(&vpc, "all", "0.0.0.0/0", inside)
        .await
        .unwrap();
    for (destination, target, code, text) in [
        (
            "10.0.1.0/24",
            inside,
            Code::FailedPrecondition,
            "addresses of subnet 'front' (10.0.1.0/24)",
        ),
        (
            "10.0.1.9/32",
            inside,
            Code::FailedPrecondition,
            "are reached directly",
        ),
        (
            "10.0.8.0/24",
            (Blackhole, ""),
            Code::InvalidArgument,
            "outside of 10.0.0.0/16",
        ),
        ("10.0.9.0/24", inside, Code::AlreadyExists, "route 'pods'"),
        (
            "0.0.0.0/0",
            (Blackhole, ""),
            Code::AlreadyExists,
            "route 'all'",
        ),
        (
            "198.51.100.0/24",
            (NatGateway, ""),
            Code::FailedPrecondition,
            "VPC 'main' has no NAT gateway",
        ),
        (
            "198.51.100.1/24",
            inside,
            Code::InvalidArgument,
            "the network's own address: 198.51.100.0/24",
        ),
        (
            "169.254.64.0/24",
            inside,
            Code::InvalidArgument,
            "link-local",
        ),
        ("127.0.0.0/8", inside, Code::InvalidArgument, "loopback"),
        (
            "fd00::/8",
            inside,
            Code::InvalidArgument,
            "IPv6 has no routes yet",
        ),
        ("", inside, Code::InvalidArgument, "CIDR form"),
        (
            "192.0.2.0/24",
            (Port, ""),
            Code::InvalidArgument,
            "the id or name of a port",
        ),
        (
            "192.0.2.0/24",
            (Port, "none"),
            Code::NotFound,
            "port 'none' not found",
        ),
        (
            "192.0.2.0/24",
            (Blackhole, "fw"),
            Code::InvalidArgument,
            "only a route to a port",
        ),
        (
            "192.0.2.0/24",
            (Unspecified, ""),
            Code::InvalidArgument,
            "ROUTE_TARGET_BLACKHOLE",
        ),
    ] {
        let answer = tenant.route(&vpc, "wrong", destination, target).await;
        expect_error(answer, code, text);
    }
    // A port of another VPC.
    let other = tenant.vpc("other", "10.1.0.0/16").await;
    let answer = tenant.route(&other, "wrong", "192.0.2.0/24", inside).await;
    expect_error(answer, Code::InvalidArgument, "a port of VPC 'other'");

    // A new subnet takes no addresses from a route, but may be within a wider one.
    let request = pb::CreateSubnetRequest {
        vpc_id: vpc.id.clone(),
        name: "pods".into(),
        cidr: "10.0.9.0/24".into(),
        ..Default::default()
    };
    let answer = tenant.subnets.create_subnet(request).await;
    expect_error(
        answer,
        Code::FailedPrecondition,
        "route 'pods' leads 10.0.9.0/24 elsewhere",
    );
    tenant.subnet(&vpc, "back", "10.0.10.0/24").await;

    // Routes hold their VPC.
    let bare = tenant.vpc("bare", "10.2.0.0/16").await;
    let route = tenant
        .route(&bare, "none", "192.0.2.0/24", (Blackhole, ""))
        .await;
    let request = pb::DeleteVpcRequest {
        id: bare.id.clone(),
        ..Default::default()
    };
    let answer = tenant.vpcs.delete_vpc(request.clone()).await;
    expect_error(
        answer,
        Code::FailedPrecondition,
        "VPC 'bare' has route 'none'",
    );
    delete(&mut tenant, &route.unwrap()).await;
    tenant.vpcs.delete_vpc(request).await.unwrap();
}

#[tokio::test]
async fn a_route_holds_the_nat_gateway_that_it_leads_to() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    operator.external_network("uplink", 113, &[]).await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, _) = tenant.network().await;
    let gateway = tenant.nat_gateway(&vpc, "out").await.unwrap();
    let route = tenant
        .route(&vpc, "out", "198.51.100.0/24", (NatGateway, ""))
        .await;
    let route = route.unwrap();
    assert_eq!(route.target_id, gateway.id);
    let request = pb::DeleteNatGatewayRequest {
        id: gateway.id,
        ..Default::default()
    };
    let refused = tenant.gateways.delete_nat_gateway(request.clone()).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "route 'out' (198.51.100.0/24) leads to NAT gateway 'out'",
    );
    delete(&mut tenant, &route).await;
    tenant.gateways.delete_nat_gateway(request).await.unwrap();
}

#[tokio::test]
async fn a_vpc_has_a_hundred_routes_and_each_is_an_event() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, _) = tenant.network().await;
    for n in 0..100 {
        let destination = format!("192.0.{n}.0/24");
        let name = format!("n{n}");
        let answer = tenant.route(&vpc, &name, &destination, (Blackhole, ""));
        answer.await.unwrap();
    }
    let answer = tenant
        .route(&vpc, "n100", "198.51.100.0/24", (Blackhole, ""))
        .await;
    expect_error(answer, Code::ResourceExhausted, "VPC 'main' has 100 routes");
    let request = pb::ListRoutesRequest {
        vpc_id: vpc.id,
        page_size: 1000,
        ..Default::default()
    };
    let listed = tenant.routes.list_routes(request).await.unwrap();
    let listed = listed.into_inner().routes;
    assert_eq!(listed.len(), 100);

    let request = pb::UpdateRouteRequest {
        id: "n7".into(),
        description: Some("nobody is there".into()),
        ..Default::default()
    };
    let changed = tenant.routes.update_route(request).await.unwrap();
    let changed = changed.into_inner().route.unwrap();
    assert_eq!(
        (changed.revision, changed.destination.as_str()),
        (2, "192.0.7.0/24")
    );
    let request = chainfire_pb::ListEventsRequest {
        action_prefix: "network:routes:".into(),
        page_size: 1000,
        ..Default::default()
    };
    let events = tenant.events.list_events(request).await.unwrap();
    let events = events.into_inner().events;
    let made = events
        .iter()
        .filter(|it| it.action == "network:routes:create");
    // The one that was refused is an event too, or none: it is the quota's.
    assert!(made.count() >= 100, "{events:?}");
    assert!(events.iter().any(|it| it.action == "network:routes:update"));
}

#[tokio::test]
async fn hosts_are_told_where_routes_lead_now() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let (web, fw) = (
        tenant.port(&subnet, "web").await,
        appliance(&mut tenant, &subnet, "fw").await,
    );
    let route = tenant
        .route(&vpc, "lab", "192.168.0.0/16", (Port, "fw"))
        .await;
    let route = route.unwrap();
    let vm = |n: u8| format!("7b1d3c0e-54f0-4bb9-9c6f-1f1c2b3a4d{n:02x}");
    operator.attach(&web, &vm(1), "n1").await.unwrap();

    let mut agent = cloud.agent("n1").await;
    let request = pb::WatchDesiredRequest {
        node: "n1".into(),
        ..Default::default()
    };
    let mut stream = agent
        .nodes
        .watch_desired(request)
        .await
        .unwrap()
        .into_inner();
    let mut routes = async || {
        let told = stream.message().await.unwrap().unwrap();
        told.vpcs
            .into_iter()
            .flat_map(|vpc| vpc.routes)
            .collect::<Vec<_>>()
    };
    let mut expected = pb::DesiredRoute {
        id: route.id.clone(),
        destination: "192.168.0.0/16".into(),
        way: None,
    };
    // Nobody has the port: what is for it is dropped, and does not go another way.
    assert_eq!(routes().await, std::slice::from_ref(&expected));
    operator.attach(&fw, &vm(2), "n2").await.unwrap();
    let address = fw.ip_address.clone();
    expected.way = Some(pb::desired_route::Way::PortAddress(address));
    assert_eq!(routes().await, std::slice::from_ref(&expected));
    operator.detach(&fw).await;
    expected.way = None;
    assert_eq!(routes().await, [expected]);
    delete(&mut tenant, &route).await;
    assert_eq!(routes().await, []);
}
