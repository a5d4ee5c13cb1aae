//! What each RPC refuses, with the message that a person reads.

use photon_api::prismnet::v1 as pb;
use tonic::Code::{InvalidArgument, NotFound};

use photon_testcloud::prismnet::{Client, Cloud, new_port};
use photon_testkit::{expect_error, new_id};

/// Calls with each of the changed requests, and expects INVALID_ARGUMENT with this text.
macro_rules! refused {
    ($client:expr, $method:ident, $good:expr, [$(($change:expr, $text:expr)),+ $(,)?]) => {{
        let good = $good;
        $({
            let request = changed(&good, $change);
            expect_error($client.$method(request).await, InvalidArgument, $text);
        })+
        // Nothing of all that was wrong with the request itself.
        $client.$method(good).await.unwrap();
    }};
}

fn changed<T: Clone>(good: &T, change: fn(&mut T)) -> T {
    let mut request = good.clone();
    change(&mut request);
    request
}

/// The same for requests that name one resource: what is malformed, and what is not there.
macro_rules! unknown {
    ($client:expr, $method:ident, $request:ident, $field:ident, $kind:literal) => {{
        let with = |id: &str| pb::$request {
            $field: id.into(),
            ..Default::default()
        };
        let absent = new_id();
        let text = format!("{} '{absent}' not found", $kind);
        expect_error($client.$method(with(&absent)).await, NotFound, &text);
        for name in ["no-such", "No Such", "../etc", "a/b"] {
            let text = format!("{} '{name}' not found", $kind);
            expect_error($client.$method(with(name)).await, NotFound, &text);
        }
        let text = concat!("id '' is not valid: expected the id or name of a ", $kind);
        expect_error($client.$method(with("")).await, InvalidArgument, text);
    }};
}

async fn tenant(cloud: &Cloud) -> Client {
    cloud.tenant("acme").await
}

const NAME: &str = "expected 1 to 63 of a-z, 0-9 and '-'";

#[tokio::test]
async fn vpcs() {
    let cloud = Cloud::start().await;
    let mut tenant = tenant(&cloud).await;
    refused!(
        tenant.vpcs,
        create_vpc,
        pb::CreateVpcRequest {
            name: "main".into(),
            cidr: "10.0.0.0/16".into(),
            ..Default::default()
        },
        [
            (|r| r.name = String::new(), NAME),
            (|r| r.name = "Main".into(), "name 'Main'"),
            (|r| r.name = "a".repeat(64), NAME),
            (|r| r.name = new_id(), "and not a UUID"),
            (
                |r| r.cidr = String::new(),
                "cidr '' is not valid: expected an IPv4 network in CIDR form, /8 to /28, such as 10.0.0.0/16"
            ),
            (|r| r.cidr = "10.0.0.0".into(), "CIDR form"),
            (
                |r| r.cidr = "10.0.0.1/16".into(),
                "the network's own address: 10.0.0.0/16"
            ),
            (|r| r.cidr = "10.0.0.0/29".into(), "/8 to /28"),
            (|r| r.cidr = "127.0.0.0/8".into(), "127.0.0.0/8 is loopback"),
            (|r| r.cidr = "169.254.0.0/16".into(), "link-local"),
            (|r| r.cidr = "224.0.0.0/8".into(), "multicast"),
            (|r| r.cidr = "0.0.0.0/8".into(), "this network"),
            (|r| r.cidr = "240.0.0.0/8".into(), "reserved"),
            (|r| r.cidr = "fd00::/48".into(), "an IPv4 network"),
            (|r| r.ipv6_cidr = "10.0.0.0/16".into(), "an IPv6 network"),
            (|r| r.ipv6_cidr = "fd00::/65".into(), "/32 to /64"),
            (|r| r.ipv6_cidr = "fe80::/64".into(), "fc00::/7 or 2000::/3"),
            (|r| r.description = "x".repeat(1025), "description"),
            (|r| r.description = "a\u{7}".into(), "description"),
            (
                |r| {
                    r.labels.insert("a b".into(), String::new());
                },
                "labels 'a b'"
            ),
            (
                |r| {
                    r.labels.insert("a".into(), "x".repeat(256));
                },
                "labels[a]"
            ),
            (
                |r| r.labels = (0..65).map(|n| (n.to_string(), String::new())).collect(),
                "65 labels"
            ),
            (|r| r.request_id = "a b".into(), "request_id 'a b'"),
            (|r| r.org_id = "A".into(), "organization id 'A'"),
            (|r| r.project_id = "?".into(), "project id '?'"),
        ]
    );
    unknown!(tenant.vpcs, get_vpc, GetVpcRequest, id, "VPC");
    unknown!(tenant.vpcs, update_vpc, UpdateVpcRequest, id, "VPC");
    unknown!(tenant.vpcs, delete_vpc, DeleteVpcRequest, id, "VPC");
    refused!(
        tenant.vpcs,
        update_vpc,
        pb::UpdateVpcRequest {
            id: "main".into(),
            ..Default::default()
        },
        [
            (|r| r.name = Some(String::new()), NAME),
            (|r| r.description = Some("x".repeat(1025)), "description"),
            (
                |r| r.labels = Some(pb::Labels {
                    labels: [(String::new(), String::new())].into()
                }),
                "labels ''"
            ),
            (|r| r.request_id = "ü".into(), "request_id"),
        ]
    );
    refused!(
        tenant.vpcs,
        list_vpcs,
        pb::ListVpcsRequest::default(),
        [
            (
                |r| r.page_size = 1001,
                "page_size '1001' is not valid: expected 0 to 1000"
            ),
            (|r| r.page_token = "next".into(), "page_token 'next'"),
            (|r| r.page_token = "2f".into(), "page of the same list"),
            (|r| r.org_id = "A".into(), "organization id 'A'"),
        ]
    );
}

#[tokio::test]
async fn subnets() {
    let cloud = Cloud::start().await;
    let mut tenant = tenant(&cloud).await;
    tenant.vpc("main", "10.0.0.0/16").await;
    let good = pb::CreateSubnetRequest {
        vpc_id: "main".into(),
        name: "front".into(),
        cidr: "10.0.1.0/24".into(),
        ipv6_cidr: "fd00:1::/64".into(),
        ..Default::default()
    };
    for vpc in [new_id(), "other".to_owned(), "a/b".to_owned()] {
        let text = format!("VPC '{vpc}' not found");
        let request = pb::CreateSubnetRequest {
            vpc_id: vpc,
            ..good.clone()
        };
        expect_error(tenant.subnets.create_subnet(request).await, NotFound, &text);
    }
    refused!(
        tenant.subnets,
        create_subnet,
        good,
        [
            (
                |r| r.vpc_id = String::new(),
                "vpc_id '' is not valid: expected the id or name of a VPC"
            ),
            (|r| r.name = "-a".into(), NAME),
            (|r| r.cidr = "10.0.1.0/30".into(), "/8 to /29"),
            (
                |r| r.cidr = "10.0.1.7/24".into(),
                "the network's own address: 10.0.1.0/24"
            ),
            (
                |r| r.cidr = "10.1.0.0/24".into(),
                "cidr '10.1.0.0/24' is not valid: expected a network inside VPC 'main' (10.0.0.0/16)"
            ),
            (|r| r.cidr = "10.0.0.0/8".into(), "inside VPC 'main'"),
            (|r| r.gateway = "10.0.1.0".into(), "10.0.1.1 to 10.0.1.254"),
            (
                |r| r.gateway = "10.0.1.255".into(),
                "10.0.1.1 to 10.0.1.254"
            ),
            (|r| r.gateway = "10.0.2.1".into(), "10.0.1.1 to 10.0.1.254"),
            (|r| r.gateway = "router".into(), "gateway 'router'"),
            (|r| r.ipv6_cidr = "fd00:1::/63".into(), "/64"),
            (
                |r| r.ipv6_cidr = "fd00:2::/64".into(),
                "inside VPC 'main' (fd00:1::/48)"
            ),
            (|r| r.ipv6_gateway = "fd00:1::".into(), "ipv6_gateway"),
            (|r| r.ipv6_gateway = "10.0.1.1".into(), "ipv6_gateway"),
            (
                |r| {
                    r.ipv6_cidr = String::new();
                    r.ipv6_gateway = "fd00:1::1".into();
                },
                "unless ipv6_cidr is given"
            ),
            (|r| r.dns_servers = vec!["dns".into()], "dns_servers 'dns'"),
            (
                |r| r.dns_servers = vec!["127.0.0.53".into()],
                "that a guest can reach"
            ),
            (
                |r| r.dns_servers = vec!["9.9.9.9".into(); 2],
                "each address once"
            ),
            (
                |r| r.dns_servers = (1..10).map(|n| format!("9.9.9.{n}")).collect(),
                "at most 8"
            ),
        ]
    );
    unknown!(tenant.subnets, get_subnet, GetSubnetRequest, id, "subnet");
    unknown!(
        tenant.subnets,
        update_subnet,
        UpdateSubnetRequest,
        id,
        "subnet"
    );
    unknown!(
        tenant.subnets,
        delete_subnet,
        DeleteSubnetRequest,
        id,
        "subnet"
    );
    refused!(
        tenant.subnets,
        update_subnet,
        pb::UpdateSubnetRequest {
            id: "front".into(),
            ..Default::default()
        },
        [
            (|r| r.name = Some("A".into()), NAME),
            (
                |r| r.dns_servers = Some(pb::DnsServers {
                    addresses: vec!["::".into()]
                }),
                "dns_servers '::'"
            ),
        ]
    );
    refused!(
        tenant.subnets,
        list_subnets,
        pb::ListSubnetsRequest::default(),
        [
            (
                |r| r.vpc_id = "main".into(),
                "vpc_id 'main' is not valid: expected an id"
            ),
            (|r| r.page_size = 9999, "page_size"),
        ]
    );
}

#[tokio::test]
async fn ports() {
    let cloud = Cloud::start().await;
    let mut tenant = tenant(&cloud).await;
    let (_, subnet) = tenant.network().await;
    let good = new_port(&subnet, "eth0");
    for (change, text) in [
        (
            pb::CreatePortRequest {
                subnet_id: "other".into(),
                ..good.clone()
            },
            "subnet 'other' not found",
        ),
        (
            pb::CreatePortRequest {
                security_group_ids: vec!["other".into()],
                ..good.clone()
            },
            "security group 'other' not found",
        ),
    ] {
        expect_error(tenant.ports.create_port(change).await, NotFound, text);
    }
    refused!(
        tenant.ports,
        create_port,
        good,
        [
            (
                |r| r.subnet_id = String::new(),
                "subnet_id '' is not valid: expected the id or name of a subnet"
            ),
            (|r| r.name = String::new(), NAME),
            (|r| r.name = "eth0.1".into(), NAME),
            (
                |r| r.ip_address = "10.0.2.7".into(),
                "ip_address '10.0.2.7' is not valid: expected an address of subnet 'front' (10.0.1.0/24)"
            ),
            (
                |r| r.ip_address = "10.0.1.0".into(),
                "this is the network's own address"
            ),
            (
                |r| r.ip_address = "10.0.1.255".into(),
                "this is the broadcast address"
            ),
            (|r| r.ip_address = "10.0.1.1".into(), "this is the gateway"),
            (
                |r| r.ip_address = "10.0.1".into(),
                "an IPv4 address of 10.0.1.0/24"
            ),
            (
                |r| r.ipv6_address = "fd00:1::7".into(),
                "subnet 'front' has no IPv6"
            ),
            (
                |r| r.security_group_ids = (0..17).map(|n| format!("g{n}")).collect(),
                "at most 16"
            ),
        ]
    );
    unknown!(tenant.ports, get_port, GetPortRequest, id, "port");
    unknown!(tenant.ports, update_port, UpdatePortRequest, id, "port");
    unknown!(tenant.ports, delete_port, DeletePortRequest, id, "port");
    refused!(
        tenant.ports,
        update_port,
        pb::UpdatePortRequest {
            id: "eth0".into(),
            ..Default::default()
        },
        [
            (|r| r.name = Some("ETH".into()), NAME),
            (
                |r| r.security_group_ids = Some(pb::SecurityGroupIds {
                    ids: vec!["x".into(); 17]
                }),
                "at most 16"
            ),
        ]
    );
    let eth0 = tenant.read_port("eth0").await.id;
    refused!(
        tenant.devices,
        attach_port,
        pb::AttachPortRequest {
            id: eth0.clone(),
            device_id: new_id(),
            device_type: pb::DeviceType::Vm.into(),
            node: "n1".into(),
            ..Default::default()
        },
        [
            (|r| r.device_id = String::new(), "device_id ''"),
            (|r| r.device_id = "vm-1".into(), "the id of a VM, a UUID"),
            (|r| r.device_id = "a/b".into(), "device_id 'a/b'"),
            (
                |r| r.device_type = 0,
                "DEVICE_TYPE_VM or DEVICE_TYPE_LOAD_BALANCER"
            ),
            (|r| r.device_type = 77, "device_type '77'"),
            (|r| r.mtu = 100_000, "mtu '100000'"),
            (|r| r.node = String::new(), "node ''"),
            (|r| r.node = "a b".into(), "node 'a b'"),
        ]
    );
    refused!(
        tenant.devices,
        detach_port,
        pb::DetachPortRequest {
            id: eth0.clone(),
            ..Default::default()
        },
        [(|r| r.device_id = "a b".into(), "device_id 'a b'")]
    );
    refused!(
        tenant.ports,
        list_ports,
        pb::ListPortsRequest::default(),
        [
            (|r| r.subnet_id = "front".into(), "subnet_id 'front'"),
            (|r| r.vpc_id = "main".into(), "vpc_id 'main'"),
            (|r| r.device_id = "a b".into(), "device_id 'a b'"),
            (|r| r.page_token = "zz".into(), "page_token 'zz'"),
        ]
    );
}

#[tokio::test]
async fn security_groups() {
    let cloud = Cloud::start().await;
    let mut tenant = tenant(&cloud).await;
    let rule = || pb::SecurityGroupRule {
        direction: pb::Direction::Ingress.into(),
        protocol: pb::Protocol::Tcp.into(),
        port_min: 80,
        port_max: 80,
        ..Default::default()
    };
    refused!(
        tenant.groups,
        create_security_group,
        pb::CreateSecurityGroupRequest {
            name: "web".into(),
            rules: vec![],
            ..Default::default()
        },
        [
            (
                |r| r.name = "default".into(),
                "made by itself with its first port"
            ),
            (|r| r.name = "W".into(), NAME),
            (
                |r| r.rules = vec![pb::SecurityGroupRule::default()],
                "DIRECTION_INGRESS or DIRECTION_EGRESS"
            ),
        ]
    );
    refused!(
        tenant.groups,
        add_rule,
        pb::AddRuleRequest {
            security_group_id: "web".into(),
            rule: Some(rule()),
            ..Default::default()
        },
        [
            (|r| r.rule = None, "a rule to add"),
            (
                |r| r.rule.as_mut().unwrap().id = new_id(),
                "empty: the server gives it"
            ),
            (|r| r.rule.as_mut().unwrap().direction = 9, "direction '9'"),
            (
                |r| r.rule.as_mut().unwrap().protocol = 0,
                "PROTOCOL_ANY, PROTOCOL_TCP, PROTOCOL_UDP or PROTOCOL_ICMP"
            ),
            (|r| r.rule.as_mut().unwrap().port_min = 0, "port_min '0'"),
            (
                |r| r.rule.as_mut().unwrap().port_min = 81,
                "port_max '80' is not valid: expected at least port_min (81)"
            ),
            (
                |r| r.rule.as_mut().unwrap().port_max = 65536,
                "port_max '65536'"
            ),
            (
                |r| r.rule.as_mut().unwrap().set_protocol(pb::Protocol::Icmp),
                "PROTOCOL_ICMP has no ports"
            ),
            (
                |r| r.rule.as_mut().unwrap().set_protocol(pb::Protocol::Any),
                "PROTOCOL_ANY has no ports"
            ),
            (
                |r| r.rule.as_mut().unwrap().remote_cidr = "10.0.0.1".into(),
                "CIDR form"
            ),
            (
                |r| r.rule.as_mut().unwrap().remote_cidr = "10.0.0.1/8".into(),
                "the network's own address: 10.0.0.0/8"
            ),
            (
                |r| r.rule.as_mut().unwrap().remote_group_id = "default".into(),
                "remote_group_id 'default'"
            ),
            (
                |r| {
                    r.rule.as_mut().unwrap().remote_cidr = "10.0.0.0/8".into();
                    r.rule.as_mut().unwrap().remote_group_id = new_id();
                },
                "make two rules"
            ),
            (
                |r| r.rule.as_mut().unwrap().description = "x".repeat(1025),
                "description"
            ),
        ]
    );
    unknown!(
        tenant.groups,
        get_security_group,
        GetSecurityGroupRequest,
        id,
        "security group"
    );
    unknown!(
        tenant.groups,
        update_security_group,
        UpdateSecurityGroupRequest,
        id,
        "security group"
    );
    unknown!(
        tenant.groups,
        delete_security_group,
        DeleteSecurityGroupRequest,
        id,
        "security group"
    );
    unknown!(
        tenant.groups,
        add_rule,
        AddRuleRequest,
        security_group_id,
        "security group"
    );
    unknown!(
        tenant.groups,
        remove_rule,
        RemoveRuleRequest,
        security_group_id,
        "security group"
    );
    let remove = |id: &str| pb::RemoveRuleRequest {
        security_group_id: "web".into(),
        rule_id: id.into(),
        ..Default::default()
    };
    let malformed = tenant.groups.remove_rule(remove("first")).await;
    expect_error(malformed, InvalidArgument, "rule_id 'first'");
    let absent = new_id();
    let absent = tenant.groups.remove_rule(remove(&absent)).await;
    expect_error(absent, NotFound, "security group rule");
    refused!(
        tenant.groups,
        update_security_group,
        pb::UpdateSecurityGroupRequest {
            id: "web".into(),
            ..Default::default()
        },
        [
            (
                |r| r.name = Some("default".into()),
                "kept for the project's default group"
            ),
            (|r| r.name = Some("a b".into()), NAME),
        ]
    );
    refused!(
        tenant.groups,
        list_security_groups,
        pb::ListSecurityGroupsRequest::default(),
        [(|r| r.page_size = 1001, "page_size '1001'")]
    );
}

#[tokio::test]
async fn hosts() {
    let cloud = Cloud::start().await;
    let mut agent = cloud.agent("n1").await;
    let watch = pb::WatchDesiredRequest {
        node: "a b".into(),
        ..Default::default()
    };
    let watched = agent
        .nodes
        .watch_desired(watch)
        .await
        .map(|_| tonic::Response::new(()));
    expect_error(watched, InvalidArgument, "node 'a b'");
    refused!(
        agent.nodes,
        report_status,
        pb::ReportStatusRequest {
            node: "n1".into(),
            revision: 1,
            ports: vec![pb::PortReport {
                port_id: new_id(),
                status: pb::PortStatus::Active.into(),
                message: String::new(),
            }],
            ..Default::default()
        },
        [
            (|r| r.node = String::new(), "node ''"),
            (|r| r.ports[0].port_id = "eth0".into(), "port_id 'eth0'"),
            (
                |r| r.ports[0].status = 2,
                "PORT_STATUS_ACTIVE or PORT_STATUS_ERROR"
            ),
        ]
    );
}
