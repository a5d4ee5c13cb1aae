//! What becomes of a packet, and who may ask.

use pb::TraceVerdict::{Allowed, Dropped};
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::trace_service_client::TraceServiceClient;
use tonic::{Code, Status};

use photon_testcloud::prismnet::{Client, Cloud};
use photon_testkit::expect_error;

async fn trace(
    cloud: &Cloud,
    client: &Client,
    request: pb::TraceRequest,
) -> Result<pb::TraceResponse, Status> {
    let mut traces = TraceServiceClient::new(client.session.on(cloud.channel("prismnet")));
    traces.trace(request).await.map(tonic::Response::into_inner)
}

fn to(address: &str, protocol: pb::Protocol, port: u32) -> pb::TraceRequest {
    pb::TraceRequest {
        id: "web".into(),
        address: address.into(),
        protocol: protocol.into(),
        port,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_packet_is_followed_to_what_decides() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let (web, back) = (
        tenant.port(&subnet, "web").await,
        tenant.port(&subnet, "back").await,
    );
    let vm = |n: u8| format!("7b1d3c0e-54f0-4bb9-9c6f-1f1c2b3a4d{n:02x}");
    let unspecified = pb::Protocol::Unspecified;
    let seen = trace(&cloud, &tenant, to(&back.ip_address, unspecified, 0)).await;
    let seen = seen.unwrap();
    assert_eq!((seen.verdict(), seen.steps.len()), (Dropped, 1));
    assert_eq!(
        (seen.steps[0].kind.as_str(), &seen.steps[0].id),
        ("port", &web.id)
    );

    operator.attach(&web, &vm(1), "n1").await.unwrap();
    operator.attach(&back, &vm(2), "n2").await.unwrap();
    let seen = trace(&cloud, &tenant, to(&back.ip_address, unspecified, 443)).await;
    let seen = seen.unwrap();
    assert_eq!(seen.verdict(), Allowed, "{seen:?}");
    let kinds: Vec<_> = seen.steps.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "port",
            "security group rule",
            "subnet",
            "port",
            "security group rule"
        ]
    );
    // As soon as a route is made.
    let outside = || to("192.168.1.1", unspecified, 0);
    let seen = trace(&cloud, &tenant, outside()).await.unwrap();
    assert_eq!(
        (seen.verdict(), seen.steps.last().unwrap().kind.as_str()),
        (Dropped, "VPC")
    );
    let nowhere = (pb::RouteTarget::Blackhole, "");
    let route = tenant
        .route(&vpc, "hole", "192.168.0.0/16", nowhere)
        .await
        .unwrap();
    let seen = trace(&cloud, &tenant, outside()).await.unwrap();
    assert_eq!(seen.steps.last().unwrap().id, route.id);

    for (request, text) in [
        (to("web", unspecified, 0), "address 'web'"),
        (to("10.0.1.9", pb::Protocol::Tcp, 0), "port '0'"),
        (to("10.0.1.9", pb::Protocol::Udp, 70_000), "port '70000'"),
        (to("10.0.1.9", pb::Protocol::Icmp, 7), "ICMP has no ports"),
        (
            to("10.0.1.9", pb::Protocol::Any, 7),
            "PROTOCOL_TCP, PROTOCOL_UDP or PROTOCOL_ICMP",
        ),
    ] {
        let refused = trace(&cloud, &tenant, request).await;
        expect_error(refused, Code::InvalidArgument, text);
    }
    // It tells of the VPC, to whom may see that.
    let limited = cloud.with_role("acme", &[("network:ports:get", "")]).await;
    let refused = trace(&cloud, &limited, outside()).await;
    expect_error(refused, Code::PermissionDenied, "network:vpcs:get");
    let other = cloud.tenant("globex").await;
    let by_id = pb::TraceRequest {
        id: web.id.clone(),
        ..outside()
    };
    let refused = trace(&cloud, &other, by_id).await;
    expect_error(
        refused,
        Code::NotFound,
        &format!("port '{}' not found", web.id),
    );
}
