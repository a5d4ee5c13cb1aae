//! External networks, NAT gateways and floating IPs, from their creation to their deletion.

use std::collections::BTreeSet;

use photon_api::chainfire::v1 as chainfire_pb;
use photon_api::prismnet::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use photon_testcloud::prismnet::{Client, Cloud, new_external_network};
use photon_testkit::{expect_error, new_id};

async fn delete_gateway(
    client: &mut Client,
    gateway: &pb::NatGateway,
) -> Result<(), tonic::Status> {
    let request = pb::DeleteNatGatewayRequest {
        id: gateway.id.clone(),
        ..Default::default()
    };
    client.gateways.delete_nat_gateway(request).await.map(drop)
}

async fn delete_port(client: &mut Client, port: &pb::Port) -> Result<(), tonic::Status> {
    let request = pb::DeletePortRequest {
        id: port.id.clone(),
        ..Default::default()
    };
    client.ports.delete_port(request).await.map(drop)
}

async fn delete_floating(client: &mut Client, it: &pb::FloatingIp) -> Result<(), tonic::Status> {
    let request = pb::DeleteFloatingIpRequest {
        id: it.id.clone(),
        ..Default::default()
    };
    client.floating.delete_floating_ip(request).await.map(drop)
}

async fn disassociate(client: &mut Client, it: &pb::FloatingIp) -> pb::FloatingIp {
    let request = pb::DisassociateFloatingIpRequest {
        id: it.id.clone(),
        ..Default::default()
    };
    let answer = client.floating.disassociate_floating_ip(request).await;
    answer.unwrap().into_inner().floating_ip.unwrap()
}

async fn networks(client: &mut Client) -> Vec<pb::ExternalNetwork> {
    let request = pb::ListExternalNetworksRequest::default();
    let answer = client.external.list_external_networks(request).await;
    answer.unwrap().into_inner().external_networks
}

#[tokio::test]
async fn an_external_network_is_for_those_whom_it_is_offered_to() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let made = operator.external_network("uplink", 113, &["acme"]).await;
    assert_eq!(made.gateway, "203.0.113.1");
    assert_eq!(made.org_ids, ["acme"]);
    assert_eq!(networks(&mut operator).await, std::slice::from_ref(&made));

    // Those whom it is offered to are not told who else.
    let seen = pb::ExternalNetwork {
        org_ids: Vec::new(),
        ..made.clone()
    };
    assert_eq!(networks(&mut acme).await, std::slice::from_ref(&seen));
    assert_eq!(networks(&mut globex).await, []);
    for id in [made.id.as_str(), "uplink"] {
        let get = pb::GetExternalNetworkRequest { id: id.into() };
        let answer = acme.external.get_external_network(get.clone()).await;
        assert_eq!(answer.unwrap().into_inner().external_network.unwrap(), seen);
        let text = format!("external network '{id}' not found");
        let answer = globex.external.get_external_network(get).await;
        expect_error(answer, Code::NotFound, &text);
        let request = pb::CreateFloatingIpRequest {
            name: "web".into(),
            external_network_id: id.into(),
            ..Default::default()
        };
        let answer = globex.floating.create_floating_ip(request).await;
        expect_error(answer, Code::NotFound, &text);
    }
    expect_error(
        globex.floating_ip("web").await,
        Code::FailedPrecondition,
        "no external network is offered to organization 'globex'",
    );

    // Offered to all.
    let request = pb::UpdateExternalNetworkRequest {
        id: "uplink".into(),
        org_ids: Some(pb::OrgIds::default()),
        expected_revision: 1,
        ..Default::default()
    };
    let changed = operator
        .external
        .update_external_network(request.clone())
        .await;
    let changed = changed.unwrap().into_inner().external_network.unwrap();
    assert_eq!((changed.org_ids.len(), changed.revision), (0, 2));
    globex.floating_ip("web").await.unwrap();
    let stale = operator.external.update_external_network(request).await;
    expect_error(stale, Code::Aborted, "is at revision 2, not 1");

    // Several: which is to be said.
    operator.external_network("backup", 114, &[]).await;
    let answer = acme.floating_ip("web").await;
    expect_error(answer, Code::InvalidArgument, "expected one of");
}

#[tokio::test]
async fn an_address_is_in_the_pools_of_one_external_network() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    operator.external_network("uplink", 113, &[]).await;
    let same = new_external_network("uplink", 114, &[]);
    let answer = operator.external.create_external_network(same).await;
    let text = "external network 'uplink' already exists";
    expect_error(answer, Code::AlreadyExists, text);
    let overlapping = new_external_network("other", 113, &[]);
    let answer = operator
        .external
        .create_external_network(overlapping.clone())
        .await;
    let text = "addresses that external network 'uplink' does not give out";
    expect_error(answer, Code::InvalidArgument, text);
    // Beside each other in one range.
    let apart = pb::CreateExternalNetworkRequest {
        pools: vec![pb::AddressRange {
            first: "203.0.113.30".into(),
            last: "203.0.113.39".into(),
        }],
        ..overlapping
    };
    operator
        .external
        .create_external_network(apart)
        .await
        .unwrap();
    let wider = pb::UpdateExternalNetworkRequest {
        id: "other".into(),
        pools: Some(pb::AddressRanges {
            ranges: vec![pb::AddressRange {
                first: "203.0.113.29".into(),
                last: "203.0.113.39".into(),
            }],
        }),
        ..Default::default()
    };
    let answer = operator.external.update_external_network(wider).await;
    expect_error(
        answer,
        Code::InvalidArgument,
        "'203.0.113.29 to 203.0.113.39'",
    );
}

#[tokio::test]
async fn a_vpc_has_one_nat_gateway_and_stays_as_long() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let uplink = operator.external_network("uplink", 113, &[]).await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let request = pb::CreateNatGatewayRequest {
        name: "out".into(),
        vpc_id: "main".into(),
        address_count: 3,
        ..Default::default()
    };
    let made = tenant.gateways.create_nat_gateway(request.clone()).await;
    let made = made.unwrap().into_inner().nat_gateway.unwrap();
    assert_eq!(made.vpc_id, vpc.id);
    assert_eq!(made.external_network_id, uplink.id);
    let addresses: BTreeSet<_> = made.addresses.iter().collect();
    assert_eq!(addresses.len(), 3, "{made:?}");
    assert!(
        addresses.iter().all(|it| it.starts_with("203.0.113.")),
        "{made:?}"
    );

    let second = tenant.nat_gateway(&vpc, "another").await;
    expect_error(second, Code::AlreadyExists, "is taken by NAT gateway 'out'");
    let too_many = pb::CreateNatGatewayRequest {
        address_count: 9,
        ..request
    };
    let answer = tenant.gateways.create_nat_gateway(too_many).await;
    expect_error(answer, Code::InvalidArgument, "address_count '9'");
    let same = tenant.vpc("same", "203.0.113.0/25").await;
    let answer = tenant.nat_gateway(&same, "same").await;
    expect_error(answer, Code::FailedPrecondition, "have addresses in common");
    let delete = pb::DeleteVpcRequest {
        id: vpc.id.clone(),
        ..Default::default()
    };
    let answer = tenant.vpcs.delete_vpc(delete.clone()).await;
    let text = "VPC 'main' has NAT gateway 'out': delete it first";
    expect_error(answer, Code::FailedPrecondition, text);
    let gone = pb::DeleteExternalNetworkRequest {
        id: "uplink".into(),
        ..Default::default()
    };
    let answer = operator
        .external
        .delete_external_network(gone.clone())
        .await;
    let text = "external network 'uplink' is in use by NAT gateways 'out'";
    expect_error(answer, Code::FailedPrecondition, text);

    let list = pb::ListNatGatewaysRequest {
        vpc_id: vpc.id.clone(),
        ..Default::default()
    };
    let listed = tenant.gateways.list_nat_gateways(list).await.unwrap();
    assert_eq!(
        listed.into_inner().nat_gateways,
        std::slice::from_ref(&made)
    );
    delete_gateway(&mut tenant, &made).await.unwrap();
    tenant.vpcs.delete_vpc(delete).await.unwrap();
    operator
        .external
        .delete_external_network(gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_floating_ip_goes_from_port_to_port() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    operator.external_network("uplink", 113, &[]).await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let (first, second) = (
        tenant.port(&subnet, "first").await,
        tenant.port(&subnet, "second").await,
    );
    let gateway = tenant.nat_gateway(&vpc, "out").await.unwrap();
    let floating = tenant.floating_ip("web").await.unwrap();
    assert_eq!(floating.port_id, "");

    let bound = tenant.associate(&floating, &first).await.unwrap();
    assert_eq!(
        (&bound.port_id, &bound.vpc_id, &bound.fixed_ip_address),
        (&first.id, &vpc.id, &first.ip_address)
    );
    // The same again changes nothing.
    assert_eq!(tenant.associate(&floating, &first).await.unwrap(), bound);
    let moved = tenant.associate(&floating, &second).await;
    let text = "is associated with port 'first': disassociate it first, or set reassociate";
    expect_error(moved, Code::FailedPrecondition, text);
    let other = tenant.floating_ip("other").await.unwrap();
    let twice = tenant.associate(&other, &first).await;
    expect_error(
        twice,
        Code::FailedPrecondition,
        "port 'first' has floating IP 'web'",
    );

    // What it stands on stays.
    for (answer, text) in [
        (
            delete_port(&mut tenant, &first).await,
            "port 'first' has floating IP 'web'",
        ),
        (
            delete_gateway(&mut tenant, &gateway).await,
            "NAT gateway 'out' is in use by floating IPs 'web'",
        ),
        (
            delete_floating(&mut tenant, &bound).await,
            "is associated with port 'first': disassociate it first",
        ),
    ] {
        expect_error(answer, Code::FailedPrecondition, text);
    }

    let request = pb::AssociateFloatingIpRequest {
        id: floating.id.clone(),
        port_id: second.id.clone(),
        reassociate: true,
        ..Default::default()
    };
    let moved = tenant
        .floating
        .associate_floating_ip(request)
        .await
        .unwrap();
    let moved = moved.into_inner();
    assert_eq!(moved.nat_gateway, Some(gateway.clone()));
    assert_eq!(moved.floating_ip.unwrap().port_id, second.id);
    delete_port(&mut tenant, &first).await.unwrap();
    let of_port = pb::ListFloatingIpsRequest {
        port_id: second.id.clone(),
        ..Default::default()
    };
    let listed = tenant.floating.list_floating_ips(of_port).await.unwrap();
    assert_eq!(listed.into_inner().floating_ips.len(), 1);

    let free = disassociate(&mut tenant, &floating).await;
    assert_eq!((free.port_id.as_str(), free.vpc_id.as_str()), ("", ""));
    assert_eq!(disassociate(&mut tenant, &floating).await, free);
    delete_port(&mut tenant, &second).await.unwrap();
    delete_gateway(&mut tenant, &gateway).await.unwrap();
    delete_floating(&mut tenant, &free).await.unwrap();
}

#[tokio::test]
async fn a_gateway_is_made_for_a_floating_ip_by_those_who_may() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    operator.external_network("uplink", 113, &[]).await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "web").await;
    let floating = tenant.floating_ip("web").await.unwrap();
    let mut limited = cloud
        .with_role(
            "acme",
            &[("network:floatingIps:*", ""), ("network:ports:get", "")],
        )
        .await;
    let refused = limited.associate(&floating, &port).await;
    let text =
        "VPC 'main' of port 'web' has no NAT gateway, and you may not create one: make one first";
    expect_error(refused, Code::FailedPrecondition, text);

    let bound = tenant.associate(&floating, &port).await.unwrap();
    let list = pb::ListNatGatewaysRequest::default();
    let listed = tenant.gateways.list_nat_gateways(list).await.unwrap();
    let made = listed.into_inner().nat_gateways;
    assert_eq!(made.len(), 1);
    assert_eq!((&made[0].name, &made[0].vpc_id), (&vpc.name, &vpc.id));
    let mut admin = cloud.org_admin("acme").await;
    let events = chainfire_pb::ListEventsRequest {
        action_prefix: "network:floatingIps:associate".into(),
        ..Default::default()
    };
    let events = admin
        .events
        .list_events(events)
        .await
        .unwrap()
        .into_inner()
        .events;
    let reason = format!("with NAT gateway 'main' ({})", made[0].id);
    assert!(
        events.iter().any(|it| it.reason.contains(&reason)),
        "{events:?}"
    );

    // With the gateway there, the right is not needed.
    disassociate(&mut tenant, &bound).await;
    limited.associate(&floating, &port).await.unwrap();

    // One on another external network does not do.
    let other = operator.external_network("other", 114, &[]).await;
    let request = pb::CreateFloatingIpRequest {
        name: "elsewhere".into(),
        external_network_id: other.id,
        ..Default::default()
    };
    let elsewhere = tenant.floating.create_floating_ip(request).await.unwrap();
    let elsewhere = elsewhere.into_inner().floating_ip.unwrap();
    let back = tenant.port(&subnet, "back").await;
    let answer = tenant.associate(&elsewhere, &back).await;
    expect_error(
        answer,
        Code::FailedPrecondition,
        "is on another external network",
    );
}

#[tokio::test]
async fn what_is_another_tenants_is_absent() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    operator.external_network("uplink", 113, &[]).await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let (vpc, subnet) = acme.network().await;
    let port = acme.port(&subnet, "web").await;
    acme.nat_gateway(&vpc, "out").await.unwrap();
    let floating = acme.floating_ip("web").await.unwrap();
    let own = globex.floating_ip("web").await.unwrap();

    let text = format!("VPC '{}' not found", vpc.id);
    expect_error(globex.nat_gateway(&vpc, "out").await, Code::NotFound, &text);
    let text = format!("port '{}' not found", port.id);
    expect_error(globex.associate(&own, &port).await, Code::NotFound, &text);
    let text = format!("floating IP '{}' not found", floating.id);
    expect_error(
        globex.associate(&floating, &port).await,
        Code::NotFound,
        &text,
    );
    // Whoever asks for an address learns that it is taken, not by whom.
    let request = pb::CreateFloatingIpRequest {
        name: "mine".into(),
        ip_address: floating.ip_address.clone(),
        ..Default::default()
    };
    let answer = globex.floating.create_floating_ip(request.clone()).await;
    let text = format!("address '{}' is taken by somebody", floating.ip_address);
    expect_error(answer, Code::AlreadyExists, &text);
    delete_floating(&mut acme, &floating).await.unwrap();
    let mine = globex.floating.create_floating_ip(request).await.unwrap();
    let mine = mine.into_inner().floating_ip.unwrap();
    assert_eq!(mine.ip_address, floating.ip_address);
}

#[tokio::test]
async fn nobody_gets_an_address_twice_and_the_last_is_given_too() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let mut small = new_external_network("uplink", 113, &[]);
    small.pools[0].last = "203.0.113.19".into();
    operator
        .external
        .create_external_network(small)
        .await
        .unwrap();
    let tenant = cloud.tenant("acme").await;
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let mut tenant = tenant.clone();
        tasks.spawn(async move { tenant.floating_ip(&format!("n{n}")).await });
    }
    let (mut given, mut refused) = (Vec::new(), Vec::new());
    while let Some(answer) = tasks.join_next().await {
        match answer.unwrap() {
            Ok(floating) => given.push(floating),
            Err(status) => refused.push(status),
        }
    }
    let addresses: BTreeSet<_> = given.iter().map(|it| &it.ip_address).collect();
    assert_eq!((given.len(), addresses.len(), refused.len()), (10, 10, 2));
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        let text = "external network 'uplink' has no free address left of 10";
        assert!(status.message().contains(text), "{status}");
    }
    // Its pool does not shrink under them.
    let request = pb::UpdateExternalNetworkRequest {
        id: "uplink".into(),
        pools: Some(pb::AddressRanges {
            ranges: vec![pb::AddressRange {
                first: "203.0.113.11".into(),
                last: "203.0.113.29".into(),
            }],
        }),
        ..Default::default()
    };
    let answer = operator.external.update_external_network(request).await;
    let text = "address 203.0.113.10 of external network 'uplink' is somebody's";
    expect_error(answer, Code::FailedPrecondition, text);
}

#[tokio::test]
async fn a_project_has_so_many_gateways_and_floating_ips() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let mut wide = new_external_network("uplink", 113, &[]);
    wide.pools[0].last = "203.0.113.99".into();
    operator
        .external
        .create_external_network(wide)
        .await
        .unwrap();
    let mut tenant = cloud.tenant("acme").await;
    for n in 0..20 {
        tenant.floating_ip(&format!("n{n}")).await.unwrap();
    }
    let answer = tenant.floating_ip("n20").await;
    expect_error(answer, Code::ResourceExhausted, "may have 20 floating_ips");
    for n in 0..6 {
        let vpc = tenant.vpc(&format!("n{n}"), "10.0.0.0/16").await;
        let answer = tenant.nat_gateway(&vpc, &vpc.name).await;
        match n {
            5 => expect_error(answer, Code::ResourceExhausted, "may have 5 nat_gateways"),
            _ => drop(answer.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_repeated_association_is_the_first() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    operator.external_network("uplink", 113, &[]).await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "web").await;
    let floating = tenant.floating_ip("web").await.unwrap();
    let request = pb::AssociateFloatingIpRequest {
        id: floating.id.clone(),
        port_id: "web".into(),
        request_id: new_id(),
        ..Default::default()
    };
    let first = tenant.floating.associate_floating_ip(request.clone()).await;
    let first = first.unwrap().into_inner();
    assert_eq!(first.floating_ip.as_ref().unwrap().port_id, port.id);
    disassociate(&mut tenant, &floating).await;
    let again = tenant.floating.associate_floating_ip(request).await;
    assert_eq!(again.unwrap().into_inner(), first);
}

#[tokio::test]
async fn a_gateway_is_on_one_host_with_an_interface_and_follows_it() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let uplink = operator.external_network("uplink", 113, &[]).await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "web").await;
    let gateway = tenant.nat_gateway(&vpc, "out").await.unwrap();
    let mut agent = cloud.agent("n1").await;
    let watch = async |agent: &mut Client, external: &[&str]| {
        let request = pb::WatchDesiredRequest {
            node: "n1".into(),
            external_networks: external.iter().map(|it| (*it).to_owned()).collect(),
            ..Default::default()
        };
        agent
            .nodes
            .watch_desired(request)
            .await
            .unwrap()
            .into_inner()
    };
    // Without an interface it has none, as without a port no VPC.
    let mut stream = watch(&mut agent, &["backup"]).await;
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!((told.gateways.len(), told.vpcs.len()), (0, 0));

    let mut stream = watch(&mut agent, &["uplink"]).await;
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!(told.gateways.len(), 1);
    let on_host = &told.gateways[0];
    assert_eq!((&on_host.id, &on_host.vpc_id), (&gateway.id, &vpc.id));
    assert_eq!(
        (&on_host.external_network, &on_host.external_cidr),
        (&uplink.name, &uplink.cidr)
    );
    assert_eq!(on_host.addresses, gateway.addresses);
    // The VPC with it, and the segment that leads to it.
    let transit = told.vpcs[0]
        .subnets
        .iter()
        .find(|it| it.id == gateway.id)
        .unwrap();
    assert_eq!(
        (transit.cidr.as_str(), transit.default_via.as_str()),
        ("169.254.64.0/24", "169.254.64.2")
    );
    assert_eq!(told.vpcs[0].subnets.len(), 2);

    let floating = tenant.floating_ip("web").await.unwrap();
    tenant.associate(&floating, &port).await.unwrap();
    let told = stream.message().await.unwrap().unwrap();
    let leads = &told.gateways[0].floating_ips;
    assert_eq!(leads.len(), 1, "{told:?}");
    assert_eq!(
        (&leads[0].ip_address, &leads[0].fixed_ip_address),
        (&floating.ip_address, &port.ip_address)
    );
    disassociate(&mut tenant, &floating).await;
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!(told.gateways[0].floating_ips, []);
    delete_gateway(&mut tenant, &gateway).await.unwrap();
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!((told.gateways.len(), told.vpcs.len()), (0, 0));

    let request = pb::WatchDesiredRequest {
        node: "n1".into(),
        external_networks: vec!["a/b".into()],
        ..Default::default()
    };
    let answer = agent.nodes.watch_desired(request).await.map(drop);
    expect_error(answer, Code::InvalidArgument, "external_networks 'a/b'");
}
