//! Many calls at once.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use photon_api::prismnet::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;

use photon_testcloud::prismnet::{Client, Cloud, new_port};
use photon_testkit::DEADLINE;

/// `count` CreatePort at once: the ports, and how many calls ended with which other code.
async fn create_ports(
    tenant: &Client,
    subnet: &pb::Subnet,
    count: usize,
) -> (Vec<pb::Port>, HashMap<Code, usize>) {
    let mut calls = JoinSet::new();
    for number in 0..count {
        let mut ports = tenant.ports.clone();
        let request = new_port(subnet, &format!("p{number}"));
        calls.spawn(async move { ports.create_port(request).await });
    }
    let mut ports = Vec::new();
    let mut refused = HashMap::new();
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            Ok(response) => ports.push(response.into_inner().port.unwrap()),
            Err(status) => {
                *refused.entry(status.code()).or_default() += 1;
            }
        }
    }
    (ports, refused)
}

fn distinct(ports: &[pb::Port], what: impl Fn(&pb::Port) -> &str) -> usize {
    ports.iter().map(what).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_ports_at_once_are_all_distinct() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let subnet = tenant.subnet(&vpc, "front", "10.0.0.0/20").await;
    let start = Instant::now();
    let (ports, refused) = create_ports(&tenant, &subnet, 1000).await;
    println!("1,000 CreatePort in {:?}", start.elapsed());
    assert_eq!(refused, HashMap::new());
    assert_eq!(ports.len(), 1000);
    assert_eq!(distinct(&ports, |port| &port.ip_address), 1000);
    assert_eq!(distinct(&ports, |port| &port.mac_address), 1000);
    assert_eq!(distinct(&ports, |port| &port.id), 1000);
    // One default group for all of them.
    assert_eq!(distinct(&ports, |port| &port.security_group_ids[0]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_subnet_refuses_exactly_those_beyond_it() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let (ports, refused) = create_ports(&tenant, &subnet, 1000).await;
    // A /24 without its network, broadcast and gateway address.
    assert_eq!(ports.len(), 253);
    assert_eq!(distinct(&ports, |port| &port.ip_address), 253);
    assert_eq!(refused, HashMap::from([(Code::ResourceExhausted, 747)]));
    let addresses: BTreeSet<_> = ports.iter().map(|port| port.ip_address.as_str()).collect();
    for reserved in ["10.0.1.0", "10.0.1.1", "10.0.1.255"] {
        assert!(!addresses.contains(reserved));
    }

    let late = tenant.ports.create_port(new_port(&subnet, "late")).await;
    let late = late.unwrap_err();
    assert_eq!(
        late.message(),
        "subnet 'front' (10.0.1.0/24) has no free address: all 253 are taken; delete a port or use another subnet"
    );
    // What is let go is had again at once by who asks for it, and by nobody else: others know it by the port that it was of.
    for _ in 0..3 {
        let free = pb::DeletePortRequest {
            id: ports[7].name.clone(),
            ..Default::default()
        };
        tenant.ports.delete_port(free).await.unwrap();
        let mut again = new_port(&subnet, &ports[7].name);
        let refused = tenant.ports.create_port(again.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let text = "of 253, 1 were let go less than 60 s ago";
        assert!(refused.message().contains(text), "{refused:?}");
        again.ip_address = ports[7].ip_address.clone();
        tenant.ports.create_port(again).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_for_and_chosen_addresses_never_meet() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let subnet = tenant.subnet(&vpc, "front", "10.0.1.0/26").await;
    let mut calls = JoinSet::new();
    for host in 2..62 {
        // Each address asked for twice, and as many left to the server.
        for copy in 0..3 {
            let mut ports = tenant.ports.clone();
            let mut request = new_port(&subnet, &format!("p{host}-{copy}"));
            if copy < 2 {
                request.ip_address = format!("10.0.1.{host}");
            }
            calls.spawn(async move { ports.create_port(request).await });
        }
    }
    let mut made = Vec::new();
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            Ok(response) => made.push(response.into_inner().port.unwrap()),
            Err(status) => assert!(
                matches!(status.code(), Code::AlreadyExists | Code::ResourceExhausted),
                "{status:?}"
            ),
        }
    }
    // 64 less three; one of them (10.0.1.62) nobody asked for.
    assert_eq!(distinct(&made, |port| &port.ip_address), made.len());
    assert!((60..=61).contains(&made.len()), "{}", made.len());
}

/// Calls that are given up in the middle leave neither an address that nobody gets nor one that two have.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_calls_lose_no_address() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let subnet = tenant.subnet(&vpc, "front", "10.0.1.0/25").await;
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let mut ports = tenant.ports.clone();
        let request = new_port(&subnet, &format!("given-up-{number}"));
        let patience = Duration::from_micros(500 * number);
        calls.spawn(async move { timeout(patience, ports.create_port(request)).await });
    }
    calls.join_all().await;
    // 128 less three. What was given up and still made counts, too.
    let list = pb::ListPortsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let mut attempt = 0;
    let full = async {
        loop {
            let mut ports = tenant.ports.clone();
            attempt += 1;
            let request = new_port(&subnet, &format!("p{attempt}"));
            if ports.create_port(request).await.is_err() {
                let listed = ports.list_ports(list.clone()).await.unwrap();
                let listed = listed.into_inner().ports;
                if listed.len() == 125 {
                    return listed;
                }
            }
        }
    };
    let listed = timeout(DEADLINE, full).await.expect("a full subnet");
    assert_eq!(distinct(&listed, |port| &port.ip_address), 125);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_makes_one_port() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let request = pb::CreatePortRequest {
        request_id: "boot-1".into(),
        ..new_port(&subnet, "eth0")
    };
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let mut ports = tenant.ports.clone();
        let request = request.clone();
        calls.spawn(async move { ports.create_port(request).await });
    }
    let mut answers = Vec::new();
    while let Some(done) = calls.join_next().await {
        answers.push(done.unwrap().unwrap().into_inner().port.unwrap());
    }
    assert!(answers.iter().all(|port| *port == answers[0]));
    let listed = tenant
        .ports
        .list_ports(pb::ListPortsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().ports.len(), 1);

    let other = pb::CreatePortRequest {
        name: "eth1".into(),
        ..request.clone()
    };
    let other = tenant.ports.create_port(other).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    assert!(other.message().contains("request_id 'boot-1'"), "{other:?}");
    // Somebody else's request_id is another one.
    let mut admin = cloud.org_admin("acme").await;
    let same = pb::CreatePortRequest {
        project_id: "web".into(),
        ..request
    };
    let same = admin.ports.create_port(same).await.unwrap_err();
    assert_eq!(same.code(), Code::AlreadyExists);

    // A deletion is repeated without harm, and what it reserved in passing is free: all but the one address, which rests.
    let delete = pb::DeletePortRequest {
        id: answers[0].id.clone(),
        request_id: "gone-1".into(),
    };
    for _ in 0..2 {
        tenant.ports.delete_port(delete.clone()).await.unwrap();
    }
    let (ports, _) = create_ports(&tenant, &subnet, 260).await;
    assert_eq!(ports.len(), 252);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_is_either_deleted_or_gets_its_port() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/8").await;
    for round in 0..20 {
        let subnet = tenant
            .subnet(&vpc, &format!("s{round}"), &format!("10.{round}.0.0/24"))
            .await;
        let mut calls = JoinSet::new();
        for number in 0..4 {
            let mut ports = tenant.ports.clone();
            let request = new_port(&subnet, &format!("p{round}-{number}"));
            calls.spawn(async move { ports.create_port(request).await.map(|_| ()) });
        }
        let delete = pb::DeleteSubnetRequest {
            id: subnet.id.clone(),
            ..Default::default()
        };
        let deleted = tenant.subnets.delete_subnet(delete).await;
        let mut made = 0;
        while let Some(done) = calls.join_next().await {
            match done.unwrap() {
                Ok(()) => made += 1,
                Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
            }
        }
        match deleted {
            Ok(_) => assert_eq!(made, 0),
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition);
                assert_eq!(made, 4);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subnets_at_once_leave_one() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let mut subnets = tenant.subnets.clone();
        let request = pb::CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: format!("s{number}"),
            cidr: format!("10.0.0.0/{}", 16 + number % 10),
            ..Default::default()
        };
        calls.spawn(async move { subnets.create_subnet(request).await });
    }
    let mut made = 0;
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            Ok(_) => made += 1,
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{status:?}"),
        }
    }
    assert_eq!(made, 1);
}
