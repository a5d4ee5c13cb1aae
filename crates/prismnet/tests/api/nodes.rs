//! What hosts hear, and what they say.

use std::time::Instant;

use photon_api::desired::{DesiredMessage, Kind};
use photon_api::prismnet::v1 as pb;
use tokio::time::timeout;
use tonic::{Code, Response, Streaming};

use photon_testcloud::prismnet::{Client, Cloud, new_port};
use photon_testkit::{DEADLINE, expect_error, new_id};

async fn watch(agent: &mut Client, node: &str) -> Streaming<pb::DesiredNetwork> {
    let request = pb::WatchDesiredRequest {
        node: node.into(),
        ..Default::default()
    };
    agent
        .nodes
        .watch_desired(request)
        .await
        .unwrap()
        .into_inner()
}

async fn next(stream: &mut Streaming<pb::DesiredNetwork>) -> pb::DesiredNetwork {
    let message = timeout(DEADLINE, stream.message()).await;
    message.expect("a message in time").unwrap().unwrap()
}

/// Reads until the state is as wanted: changes may come together or one by one.
async fn until(
    stream: &mut Streaming<pb::DesiredNetwork>,
    wanted: impl Fn(&pb::DesiredNetwork) -> bool,
) -> pb::DesiredNetwork {
    loop {
        let desired = next(stream).await;
        if wanted(&desired) {
            return desired;
        }
    }
}

fn ports(desired: &pb::DesiredNetwork) -> Vec<&pb::DesiredPort> {
    let subnets = desired.vpcs.iter().flat_map(|vpc| &vpc.subnets);
    subnets.flat_map(|subnet| &subnet.ports).collect()
}

async fn report(
    agent: &mut Client,
    node: &str,
    revision: u64,
    port: &str,
    status: pb::PortStatus,
) -> Result<(), tonic::Status> {
    let request = pb::ReportStatusRequest {
        node: node.into(),
        revision,
        ports: vec![pb::PortReport {
            port_id: port.into(),
            status: status.into(),
            message: "because".into(),
        }],
        ..Default::default()
    };
    agent.nodes.report_status(request).await.map(|_| ())
}

/// What attaches a port hears all that its guest may have to be told; the host hears what the guest may send.
#[tokio::test]
async fn attaching_answers_what_the_device_needs() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let request = pb::CreateSubnetRequest {
        vpc_id: vpc.id.clone(),
        name: "quiet".into(),
        dhcp_enabled: Some(false),
        cidr: "10.0.9.0/24".into(),
        ipv6_cidr: "fd00:1:0:9::/64".into(),
        dns_servers: vec!["192.0.2.53".into()],
        ..Default::default()
    };
    let answer = tenant.subnets.create_subnet(request).await.unwrap();
    let subnet = answer.into_inner().subnet.unwrap();
    let request = pb::CreatePortRequest {
        ip_address: "10.0.9.10".into(),
        ipv6_address: "fd00:1:0:9::10".into(),
        ..new_port(&subnet, "eth0")
    };
    let answer = tenant.ports.create_port(request).await.unwrap();
    let port = answer.into_inner().port.unwrap();
    let mut request = pb::AttachPortRequest {
        id: port.id,
        device_id: new_id(),
        device_type: pb::DeviceType::Vm.into(),
        node: "n1".into(),
        mtu: 8950,
        ..Default::default()
    };
    let answer = tenant.devices.attach_port(request.clone()).await.unwrap();
    let expected = pb::PortAddressing {
        address: "10.0.9.10/24".into(),
        gateway: "10.0.9.1".into(),
        dhcp_enabled: false,
        dns_servers: vec!["192.0.2.53".into()],
        ipv6_address: "fd00:1:0:9::10/64".into(),
        ipv6_gateway: "fd00:1:0:9::1".into(),
        mtu: 8950,
    };
    assert_eq!(answer.into_inner().addressing, Some(expected.clone()));
    // It has it already, and what was agreed then.
    request.mtu = 1450;
    let answer = tenant.devices.attach_port(request).await.unwrap();
    assert_eq!(answer.into_inner().addressing, Some(expected));
    let mut agent = cloud.agent("n1").await;
    let mut stream = watch(&mut agent, "n1").await;
    let desired = until(&mut stream, |desired| !ports(desired).is_empty()).await;
    assert_eq!(ports(&desired)[0].mtu, 8950);

    // Without name servers of its own a subnet's are its gateways, where its guests' host answers them.
    let update = pb::UpdateSubnetRequest {
        id: subnet.id.clone(),
        dns_servers: Some(pb::DnsServers::default()),
        ..Default::default()
    };
    tenant.subnets.update_subnet(update).await.unwrap();
    let port = tenant.port(&subnet, "eth1").await;
    let request = pb::AttachPortRequest {
        id: port.id,
        device_id: new_id(),
        device_type: pb::DeviceType::Vm.into(),
        node: "n1".into(),
        ..Default::default()
    };
    let answer = tenant.devices.attach_port(request).await.unwrap();
    let addressing = answer.into_inner().addressing.unwrap();
    assert_eq!(addressing.dns_servers, ["10.0.9.1", "fd00:1:0:9::1"]);
}

#[tokio::test]
async fn a_host_hears_of_every_change_that_concerns_it() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut stream = watch(&mut agent, "n1").await;
    assert_eq!(next(&mut stream).await.vpcs, []);

    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "eth0").await;
    let device = new_id();
    tenant.attach(&port, &device, "n1").await.unwrap();
    let desired = until(&mut stream, |desired| !desired.vpcs.is_empty()).await;
    assert_eq!(desired.vpcs.len(), 1);
    let seen = &desired.vpcs[0];
    assert_eq!(seen.id, vpc.id);
    assert!(seen.table >= 1000);
    assert_eq!(seen.subnets.len(), 1);
    assert_eq!(
        (seen.subnets[0].id.as_str(), seen.subnets[0].vni),
        (subnet.id.as_str(), subnet.vni)
    );
    assert_eq!(
        seen.subnets[0].ports,
        [pb::DesiredPort {
            no_source_check: false,
            id: port.id.clone(),
            mac_address: port.mac_address.clone(),
            ip_address: port.ip_address.clone(),
            ipv6_address: String::new(),
            security_group_ids: port.security_group_ids.clone(),
            device_id: device,
            device_type: pb::DeviceType::Vm.into(),
            hostname: "eth0".into(),
            mtu: 0,
        }]
    );
    assert_eq!(seen.groups.len(), 1);
    assert_eq!(seen.groups[0].rules.len(), 2);
    assert_eq!(
        seen.groups[0].member_addresses,
        std::slice::from_ref(&port.ip_address)
    );

    // A new member of its group, on no host.
    let other = tenant.port(&subnet, "eth1").await;
    let desired = until(&mut stream, |desired| {
        desired.vpcs[0].groups[0].member_addresses.len() == 2
    })
    .await;
    assert!(
        desired.vpcs[0].groups[0]
            .member_addresses
            .contains(&other.ip_address)
    );
    assert_eq!(ports(&desired).len(), 1);

    // A subnet's settings, and a rule.
    let update = pb::UpdateSubnetRequest {
        id: subnet.id.clone(),
        dhcp_enabled: Some(false),
        ..Default::default()
    };
    tenant.subnets.update_subnet(update).await.unwrap();
    until(&mut stream, |desired| {
        !desired.vpcs[0].subnets[0].dhcp_enabled
    })
    .await;
    let add = pb::AddRuleRequest {
        security_group_id: "default".into(),
        rule: Some(pb::SecurityGroupRule {
            direction: pb::Direction::Ingress.into(),
            protocol: pb::Protocol::Icmp.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    tenant.groups.add_rule(add).await.unwrap();
    until(&mut stream, |desired| {
        desired.vpcs[0].groups[0].rules.len() == 3
    })
    .await;

    // A watch that begins now sees the whole at once, another host nothing.
    let mut late = watch(&mut agent, "n1").await;
    assert_eq!(ports(&next(&mut late).await).len(), 1);
    let mut neighbour = cloud.agent("n2").await;
    let mut neighbours = watch(&mut neighbour, "n2").await;
    assert_eq!(next(&mut neighbours).await.vpcs, []);

    tenant.detach(&port).await;
    until(&mut stream, |desired| desired.vpcs.is_empty()).await;
}

#[tokio::test]
async fn what_does_not_concern_a_host_is_not_told() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut acme = cloud.tenant("acme").await;
    let (_, subnet) = acme.network().await;
    let port = acme.port(&subnet, "eth0").await;
    acme.attach(&port, &new_id(), "n1").await.unwrap();
    let mut stream = watch(&mut agent, "n1").await;
    next(&mut stream).await;

    // Another tenant's network, its own report, a label.
    let mut globex = cloud.tenant("globex").await;
    let (_, foreign) = globex.network().await;
    let foreign = globex.port(&foreign, "eth0").await;
    globex.attach(&foreign, &new_id(), "n2").await.unwrap();
    let revision = u64::MAX;
    report(&mut agent, "n1", revision, &port.id, pb::PortStatus::Active)
        .await
        .unwrap();
    let label = pb::UpdatePortRequest {
        id: port.id.clone(),
        labels: Some(pb::Labels {
            labels: [("a".to_owned(), "b".to_owned())].into(),
        }),
        ..Default::default()
    };
    acme.ports.update_port(label).await.unwrap();
    // What comes next is this.
    let rename = pb::UpdatePortRequest {
        id: port.id.clone(),
        name: Some("renamed".into()),
        ..Default::default()
    };
    acme.ports.update_port(rename).await.unwrap();
    let desired = next(&mut stream).await;
    assert_eq!(ports(&desired)[0].hostname, "renamed");
}

#[tokio::test]
async fn a_port_becomes_what_its_host_reports() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "eth0").await;
    let mut stream = watch(&mut agent, "n1").await;
    let before = next(&mut stream).await;
    tenant.attach(&port, &new_id(), "n1").await.unwrap();
    let desired = until(&mut stream, |desired| !desired.vpcs.is_empty()).await;

    // Of a revision at which the port was not attached: ignored.
    report(
        &mut agent,
        "n1",
        before.revision,
        &port.id,
        pb::PortStatus::Error,
    )
    .await
    .unwrap();
    assert_eq!(
        tenant.read_port("eth0").await.status(),
        pb::PortStatus::Building
    );
    report(
        &mut agent,
        "n1",
        desired.revision,
        &port.id,
        pb::PortStatus::Error,
    )
    .await
    .unwrap();
    let failed = tenant.read_port("eth0").await;
    assert_eq!(failed.status(), pb::PortStatus::Error);
    assert_eq!(failed.status_message, "because");
    report(
        &mut agent,
        "n1",
        desired.revision,
        &port.id,
        pb::PortStatus::Active,
    )
    .await
    .unwrap();
    let active = tenant.read_port("eth0").await;
    assert_eq!(active.status(), pb::PortStatus::Active);
    assert_eq!(active.status_message, "");
    // The same again is no change.
    report(
        &mut agent,
        "n1",
        desired.revision,
        &port.id,
        pb::PortStatus::Active,
    )
    .await
    .unwrap();
    assert_eq!(tenant.read_port("eth0").await, active);

    // Moved to another host: the first one's word counts no more.
    tenant.detach(&port).await;
    tenant.attach(&port, &new_id(), "n2").await.unwrap();
    report(&mut agent, "n1", u64::MAX, &port.id, pb::PortStatus::Active)
        .await
        .unwrap();
    assert_eq!(
        tenant.read_port("eth0").await.status(),
        pb::PortStatus::Building
    );
    // A port that is gone meanwhile is no error.
    report(
        &mut agent,
        "n1",
        u64::MAX,
        &new_id(),
        pb::PortStatus::Active,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn only_a_hosts_own_agent_is_heard() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut tenant = cloud.tenant("acme").await;
    let mut operator = cloud.operator().await;
    let others = "is for the agents of hosts alone";
    for (client, reason) in [
        (&mut agent, "this one is 'n1', not 'n2'"),
        (&mut tenant, others),
        (&mut operator, others),
    ] {
        let request = pb::WatchDesiredRequest {
            node: "n2".into(),
            ..Default::default()
        };
        let watched = client.nodes.watch_desired(request).await;
        let watched = watched.map(|_| Response::new(()));
        expect_error(watched, Code::PermissionDenied, reason);
        let reported = report(client, "n2", 1, &new_id(), pb::PortStatus::Active).await;
        expect_error(reported.map(Response::new), Code::PermissionDenied, reason);
    }
    let mut forged = cloud.with_token("forged");
    let request = pb::WatchDesiredRequest {
        node: "n1".into(),
        ..Default::default()
    };
    let watched = forged.nodes.watch_desired(request).await;
    expect_error(
        watched.map(|_| Response::new(())),
        Code::Unauthenticated,
        "",
    );
}

/// The right to watch is asked for again and again, also while nothing changes.
#[tokio::test]
async fn a_watch_ends_with_its_token() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut stream = watch(&mut agent, "n1").await;
    next(&mut stream).await;
    cloud.people.revoke(&agent.session).await;
    let ended = timeout(DEADLINE, stream.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
}

/// Hundreds of ports come to a host while it listens: it is told often enough, not with each.
#[tokio::test(flavor = "multi_thread")]
async fn many_changes_are_told_together() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let subnet = tenant.subnet(&vpc, "front", "10.0.0.0/20").await;
    let mut stream = watch(&mut agent, "n1").await;
    next(&mut stream).await;
    let mut calls = tokio::task::JoinSet::new();
    let start = Instant::now();
    for number in 0..300 {
        let mut tenant = tenant.clone();
        let request = new_port(&subnet, &format!("p{number}"));
        calls.spawn(async move {
            let port = tenant.ports.create_port(request).await.unwrap();
            let port = port.into_inner().port.unwrap();
            tenant.attach(&port, &new_id(), "n1").await.unwrap();
        });
    }
    let mut messages = 0;
    loop {
        let desired = next(&mut stream).await;
        messages += 1;
        if ports(&desired).len() == 300 {
            break;
        }
    }
    calls.join_all().await;
    let took = start.elapsed();
    println!("300 ports made and attached in {took:?}, told in {messages} messages");
    let most = took.as_millis() / 50 + 2;
    assert!(messages <= most, "{messages} messages in {took:?}");
}

/// More ports than one transaction has room for: on one host, in one subnet, in one group.
#[tokio::test]
async fn a_host_reports_more_ports_than_one_commit_takes() {
    const MANY: usize = 130;
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let mut ids = Vec::new();
    for n in 0..MANY {
        let port = tenant.port(&subnet, &format!("eth{n}")).await;
        tenant.attach(&port, &new_id(), "n1").await.unwrap();
        ids.push(port.id);
    }
    let mut stream = watch(&mut agent, "n1").await;
    let desired = until(&mut stream, |desired| ports(desired).len() == MANY).await;
    let active = ids.iter().map(|id| pb::PortReport {
        port_id: id.clone(),
        status: pb::PortStatus::Active.into(),
        ..Default::default()
    });
    let request = pb::ReportStatusRequest {
        node: "n1".into(),
        revision: desired.revision,
        ports: active.collect(),
        ..Default::default()
    };
    agent.nodes.report_status(request.clone()).await.unwrap();
    for id in &ids {
        assert_eq!(tenant.read_port(id).await.status(), pb::PortStatus::Active);
    }
    // The same again is no news.
    let before = tenant.read_port(&ids[0]).await;
    agent.nodes.report_status(request).await.unwrap();
    assert_eq!(tenant.read_port(&ids[0]).await, before);
    // And whoever asks whether there are any is told so.
    let request = pb::DeleteSubnetRequest {
        id: subnet.id,
        ..Default::default()
    };
    let refused = tenant.subnets.delete_subnet(request).await;
    let more = format!("and {} more", MANY - 3);
    expect_error(refused, Code::FailedPrecondition, &more);
}

/// A host that accepts changes hears of everything once, and then of what changes alone.
#[tokio::test]
async fn a_host_that_accepts_changes_is_told_what_changed() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let first = tenant.port(&subnet, "eth0").await;
    tenant.attach(&first, &new_id(), "n1").await.unwrap();
    let request = pb::WatchDesiredRequest {
        node: "n1".into(),
        accepts_changes: true,
        accepts_kept_rules: true,
        external_networks: Vec::new(),
    };
    let stream = agent.nodes.watch_desired(request).await;
    let mut stream = stream.unwrap().into_inner();
    let everything = next(&mut stream).await;
    assert_eq!(everything.kind(), Some(Kind::Full { more: false }));
    assert_eq!(ports(&everything).len(), 1);

    let second = tenant.port(&subnet, "eth1").await;
    tenant.attach(&second, &new_id(), "n1").await.unwrap();
    // The new member of the group may be told before the attachment.
    let (mut known, mut told) = (everything, Vec::new());
    while ports(&known).len() < 2 {
        let change = next(&mut stream).await;
        assert_eq!(change.kind(), Some(Kind::Change { more: false }));
        told.extend(ports(&change).iter().map(|port| port.id.clone()));
        let groups = change.vpcs.iter().flat_map(|vpc| &vpc.groups);
        let members = groups.flat_map(|group| &group.member_addresses);
        for member in members {
            assert_eq!(member, &second.ip_address, "the first one is known");
        }
        known.amend(change);
    }
    assert_eq!(told, std::slice::from_ref(&second.id));

    tenant.detach(&first).await;
    let change = next(&mut stream).await;
    assert_eq!(ports(&change).len(), 0);
    let subnets = change.vpcs.iter().flat_map(|vpc| &vpc.subnets);
    let removed: Vec<&String> = subnets.flat_map(|it| &it.removed_port_ids).collect();
    assert_eq!(removed, [&first.id]);
    known.amend(change);
    assert_eq!(ports(&known)[0].id, second.id);

    // A report about a revision of another store is of no account.
    let request = pb::ReportStatusRequest {
        node: "n1".into(),
        revision: u64::MAX,
        ports: vec![pb::PortReport {
            port_id: second.id.clone(),
            status: pb::PortStatus::Error.into(),
            message: "of another time".into(),
        }],
        store_epoch: "another".into(),
    };
    agent.nodes.report_status(request).await.unwrap();
    let port = tenant.read_port("eth1").await;
    assert_eq!(port.status(), pb::PortStatus::Building);
}
