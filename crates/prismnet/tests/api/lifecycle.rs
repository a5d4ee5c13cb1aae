//! Each resource from its creation to its deletion.

use photon_api::prismnet::v1 as pb;
use tonic::Code;

use photon_testcloud::prismnet::{Cloud, new_port};
use photon_testkit::{expect_error, new_id};

#[tokio::test]
async fn a_vpc_is_made_read_changed_and_deleted() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let request = pb::CreateVpcRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: "main".into(),
        cidr: "10.0.0.0/16".into(),
        description: "the main one".into(),
        ipv6_cidr: "fd00:1::/48".into(),
        labels: [("tier".to_owned(), "1".to_owned())].into(),
        request_id: String::new(),
    };
    let created = tenant.vpcs.create_vpc(request.clone()).await.unwrap();
    let created = created.into_inner().vpc.unwrap();
    assert_eq!(
        (created.org_id.as_str(), created.project_id.as_str()),
        ("acme", "web")
    );
    assert_eq!(created.cidr, "10.0.0.0/16");
    assert_eq!(created.ipv6_cidr, "fd00:1::/48");
    assert_eq!(created.labels, request.labels);
    assert_eq!(created.revision, 1);

    for id in [created.id.as_str(), "main"] {
        let read = tenant
            .vpcs
            .get_vpc(pb::GetVpcRequest {
                id: id.into(),
                ..Default::default()
            })
            .await
            .unwrap();
        assert_eq!(read.into_inner().vpc.unwrap(), created);
    }
    let again = tenant.vpcs.create_vpc(request).await;
    expect_error(again, Code::AlreadyExists, "VPC 'main' already exists");

    let rename = pb::UpdateVpcRequest {
        id: created.id.clone(),
        name: Some("core".into()),
        labels: Some(pb::Labels::default()),
        expected_revision: 1,
        ..Default::default()
    };
    let updated = tenant.vpcs.update_vpc(rename.clone()).await.unwrap();
    let updated = updated.into_inner().vpc.unwrap();
    assert_eq!((updated.name.as_str(), updated.revision), ("core", 2));
    assert!(updated.labels.is_empty());
    assert_eq!(updated.description, "the main one");
    let stale = tenant.vpcs.update_vpc(rename).await;
    expect_error(stale, Code::Aborted, "is at revision 2, not 1");
    // The old name is free, the new one taken.
    tenant.vpc("main", "10.0.0.0/16").await;
    let taken = pb::UpdateVpcRequest {
        id: "main".into(),
        name: Some("core".into()),
        ..Default::default()
    };
    let taken = tenant.vpcs.update_vpc(taken).await;
    expect_error(taken, Code::AlreadyExists, "VPC 'core' already exists");

    let subnet = tenant.subnet(&created, "front", "10.0.1.0/24").await;
    let delete = pb::DeleteVpcRequest {
        id: created.id.clone(),
        ..Default::default()
    };
    let refused = tenant.vpcs.delete_vpc(delete.clone()).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "VPC 'core' is in use by subnets 'front': delete them first",
    );
    let delete_subnet = pb::DeleteSubnetRequest {
        id: subnet.id,
        ..Default::default()
    };
    tenant.subnets.delete_subnet(delete_subnet).await.unwrap();
    tenant.vpcs.delete_vpc(delete.clone()).await.unwrap();
    let gone = tenant.vpcs.delete_vpc(delete).await;
    expect_error(gone, Code::NotFound, &created.id);
}

#[tokio::test]
async fn a_subnet_lies_in_its_vpc_beside_the_others() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let request = pb::CreateSubnetRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        vpc_id: vpc.id.clone(),
        name: "front".into(),
        cidr: "10.0.1.0/24".into(),
        gateway: "10.0.1.254".into(),
        dhcp_enabled: Some(true),
        dns_servers: vec!["9.9.9.9".into(), "fd00::53".into()],
        ipv6_cidr: "fd00:1:0:7::/64".into(),
        ..Default::default()
    };
    let created = tenant.subnets.create_subnet(request.clone()).await.unwrap();
    let created = created.into_inner().subnet.unwrap();
    assert_eq!(created.vpc_id, vpc.id);
    assert_eq!(created.gateway, "10.0.1.254");
    assert_eq!(created.ipv6_gateway, "fd00:1:0:7::1");
    assert_eq!(created.dns_servers, request.dns_servers);
    assert!((1..1 << 24).contains(&created.vni));

    for (cidr, ipv6_cidr, text) in [
        ("10.0.1.128/25", "", "'front' has 10.0.1.0/24"),
        ("10.0.0.0/16", "", "'front' has 10.0.1.0/24"),
        ("10.0.2.0/24", "fd00:1:0:7::/64", "it is that of 'front'"),
        ("10.1.0.0/24", "", "inside VPC 'main' (10.0.0.0/16)"),
        (
            "10.0.2.0/24",
            "fd00:2::/64",
            "inside VPC 'main' (fd00:1::/48)",
        ),
    ] {
        let request = pb::CreateSubnetRequest {
            name: "other".into(),
            cidr: cidr.into(),
            gateway: String::new(),
            ipv6_cidr: ipv6_cidr.into(),
            ..request.clone()
        };
        let refused = tenant.subnets.create_subnet(request).await;
        expect_error(refused, Code::InvalidArgument, text);
    }
    // By the VPC's name, next to the first.
    let beside = pb::CreateSubnetRequest {
        vpc_id: "main".into(),
        name: "back".into(),
        cidr: "10.0.2.0/24".into(),
        gateway: String::new(),
        ipv6_cidr: String::new(),
        ..request
    };
    let beside = tenant.subnets.create_subnet(beside).await.unwrap();
    let beside = beside.into_inner().subnet.unwrap();
    assert_eq!(beside.gateway, "10.0.2.1");
    assert_ne!(beside.vni, created.vni);

    let update = pb::UpdateSubnetRequest {
        id: "front".into(),
        dhcp_enabled: Some(false),
        dns_servers: Some(pb::DnsServers {
            addresses: vec!["10.0.1.53".into()],
        }),
        ..Default::default()
    };
    let updated = tenant.subnets.update_subnet(update).await.unwrap();
    let updated = updated.into_inner().subnet.unwrap();
    assert!(!updated.dhcp_enabled);
    assert_eq!(updated.dns_servers, ["10.0.1.53"]);
    assert_eq!(updated.name, "front");

    let port = tenant.port(&created, "eth0").await;
    let delete = pb::DeleteSubnetRequest {
        id: "front".into(),
        ..Default::default()
    };
    let refused = tenant.subnets.delete_subnet(delete.clone()).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "subnet 'front' is in use by ports 'eth0': delete them first",
    );
    let delete_port = pb::DeletePortRequest {
        id: port.id,
        ..Default::default()
    };
    tenant.ports.delete_port(delete_port).await.unwrap();
    tenant.subnets.delete_subnet(delete).await.unwrap();
}

#[tokio::test]
async fn a_port_has_addresses_a_group_and_one_device_at_a_time() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let vpc = tenant.vpc("main", "10.0.0.0/16").await;
    let subnet = tenant
        .subnets
        .create_subnet(pb::CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: "front".into(),
            cidr: "10.0.1.0/24".into(),
            ipv6_cidr: "fd00:1::/64".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .subnet
        .unwrap();
    let asked = pb::CreatePortRequest {
        ip_address: "10.0.1.10".into(),
        ..new_port(&subnet, "eth0")
    };
    let port = tenant.ports.create_port(asked.clone()).await.unwrap();
    let port = port.into_inner().port.unwrap();
    assert_eq!(port.ip_address, "10.0.1.10");
    assert_eq!(port.vpc_id, vpc.id);
    assert!(port.mac_address.starts_with("fa:16:3e:"));
    assert_eq!(port.status(), pb::PortStatus::Detached);
    assert_eq!(port.interface_name, "");
    // Modified EUI-64 of the MAC.
    let tail = port.mac_address.replace(':', "");
    let ipv6: std::net::Ipv6Addr = port.ipv6_address.parse().unwrap();
    let segments = ipv6.segments();
    assert_eq!(segments[4..6], [0xf816, 0x3eff]);
    assert_eq!(
        format!("{:02x}{:04x}", segments[6] & 0xff, segments[7]),
        tail[6..]
    );

    // The project's default group came with it.
    let group = tenant
        .groups
        .get_security_group(pb::GetSecurityGroupRequest {
            id: "default".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .security_group
        .unwrap();
    assert!(group.is_default);
    assert_eq!(port.security_group_ids, std::slice::from_ref(&group.id));
    let ingress: Vec<_> = group
        .rules
        .iter()
        .filter(|rule| rule.direction() == pb::Direction::Ingress)
        .map(|rule| rule.remote_group_id.as_str())
        .collect();
    assert_eq!(ingress, [group.id.as_str()]);

    let taken = pb::CreatePortRequest {
        name: "eth1".into(),
        ..asked
    };
    let taken = tenant.ports.create_port(taken).await;
    expect_error(
        taken,
        Code::AlreadyExists,
        "address '10.0.1.10' is taken by port 'eth0'",
    );

    let (device, other) = (new_id(), new_id());
    let attached = tenant.attach(&port, &device, "n1").await.unwrap();
    assert_eq!(attached.device_id, device);
    assert_eq!(attached.node, "n1");
    assert_eq!(attached.status(), pb::PortStatus::Building);
    assert!(attached.interface_name.starts_with("pt"));
    assert_eq!(attached.revision, 2);
    assert_eq!(tenant.attach(&port, &device, "n1").await.unwrap(), attached);
    for (device, node) in [(&other, "n1"), (&device, "n2")] {
        let refused = tenant.attach(&port, device, node).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(
            refused.message().contains("detach it first"),
            "{}",
            refused.message()
        );
    }
    let delete = pb::DeletePortRequest {
        id: port.id.clone(),
        ..Default::default()
    };
    let refused = tenant.ports.delete_port(delete.clone()).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        &format!("port 'eth0' is attached to device {device} on n1"),
    );
    let wrong = tenant
        .devices
        .detach_port(pb::DetachPortRequest {
            id: port.id.clone(),
            device_id: other,
            ..Default::default()
        })
        .await;
    expect_error(wrong, Code::FailedPrecondition, "is attached to device");
    let detached = tenant.detach(&port).await;
    assert_eq!(detached.status(), pb::PortStatus::Detached);
    assert_eq!(detached.device_id, "");
    assert_eq!(tenant.detach(&port).await, detached);
    tenant.ports.delete_port(delete).await.unwrap();
}

#[tokio::test]
async fn groups_keep_their_rules_and_are_not_deleted_while_used() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    let ssh = pb::SecurityGroupRule {
        direction: pb::Direction::Ingress.into(),
        protocol: pb::Protocol::Tcp.into(),
        port_min: 22,
        port_max: 22,
        remote_cidr: "203.0.113.0/24".into(),
        ..Default::default()
    };
    let create = |name: &str, rules: Vec<pb::SecurityGroupRule>| pb::CreateSecurityGroupRequest {
        name: name.into(),
        rules,
        ..Default::default()
    };
    let admin = tenant
        .groups
        .create_security_group(create("admin", vec![ssh.clone()]))
        .await
        .unwrap()
        .into_inner()
        .security_group
        .unwrap();
    // SSH, and everything out.
    assert_eq!(admin.rules.len(), 2);
    assert!(admin.rules.iter().all(|rule| !rule.id.is_empty()));

    let from_admin = pb::SecurityGroupRule {
        remote_cidr: String::new(),
        remote_group_id: admin.id.clone(),
        ..ssh.clone()
    };
    let web = tenant
        .groups
        .create_security_group(create("web", vec![from_admin]))
        .await
        .unwrap()
        .into_inner()
        .security_group
        .unwrap();

    let same = tenant
        .groups
        .add_rule(pb::AddRuleRequest {
            security_group_id: admin.id.clone(),
            rule: Some(ssh.clone()),
            ..Default::default()
        })
        .await;
    expect_error(same, Code::AlreadyExists, "security group rule");
    let strange = tenant
        .groups
        .add_rule(pb::AddRuleRequest {
            security_group_id: admin.id.clone(),
            rule: Some(pb::SecurityGroupRule {
                remote_cidr: String::new(),
                remote_group_id: new_id(),
                ..ssh.clone()
            }),
            ..Default::default()
        })
        .await;
    expect_error(strange, Code::NotFound, "security group");

    let port = tenant
        .ports
        .create_port(pb::CreatePortRequest {
            security_group_ids: vec!["admin".into(), web.id.clone()],
            ..new_port(&subnet, "eth0")
        })
        .await
        .unwrap()
        .into_inner()
        .port
        .unwrap();
    assert_eq!(port.security_group_ids.len(), 2);

    let delete = |id: &str| pb::DeleteSecurityGroupRequest {
        id: id.into(),
        ..Default::default()
    };
    let used = tenant.groups.delete_security_group(delete("admin")).await;
    expect_error(used, Code::FailedPrecondition, "in use by ports 'eth0'");
    // Back to the default group.
    let update = pb::UpdatePortRequest {
        id: port.id.clone(),
        security_group_ids: Some(pb::SecurityGroupIds::default()),
        ..Default::default()
    };
    let updated = tenant.ports.update_port(update).await.unwrap();
    assert_eq!(
        updated.into_inner().port.unwrap().security_group_ids.len(),
        1
    );
    let named = tenant.groups.delete_security_group(delete("admin")).await;
    expect_error(
        named,
        Code::FailedPrecondition,
        "rules of security groups 'web'",
    );

    let naming = web
        .rules
        .iter()
        .find(|rule| !rule.remote_group_id.is_empty())
        .unwrap();
    let remove = pb::RemoveRuleRequest {
        security_group_id: web.id.clone(),
        rule_id: naming.id.clone(),
        ..Default::default()
    };
    let removed = tenant.groups.remove_rule(remove.clone()).await.unwrap();
    assert_eq!(removed.into_inner().security_group.unwrap().rules.len(), 1);
    let again = tenant.groups.remove_rule(remove).await;
    expect_error(again, Code::NotFound, &naming.id);
    tenant
        .groups
        .delete_security_group(delete("admin"))
        .await
        .unwrap();

    let default = tenant.groups.delete_security_group(delete("default")).await;
    expect_error(default, Code::FailedPrecondition, "cannot be deleted");
    let rename = tenant
        .groups
        .update_security_group(pb::UpdateSecurityGroupRequest {
            id: "default".into(),
            name: Some("other".into()),
            ..Default::default()
        })
        .await;
    expect_error(rename, Code::FailedPrecondition, "keeps its name");
}

/// What a declarative client needs: it says what is to be, and not how to come there.
#[tokio::test]
async fn all_rules_of_a_group_are_set_at_once() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let group = pb::CreateSecurityGroupRequest {
        name: "web".into(),
        ..Default::default()
    };
    let made = tenant.groups.create_security_group(group).await.unwrap();
    let group = made.into_inner().security_group.unwrap();
    let https = pb::SecurityGroupRule {
        direction: pb::Direction::Ingress.into(),
        protocol: pb::Protocol::Tcp.into(),
        port_min: 443,
        port_max: 443,
        ..Default::default()
    };
    let set = |rules: Vec<pb::SecurityGroupRule>| pb::UpdateSecurityGroupRequest {
        id: group.id.clone(),
        rules: Some(pb::SecurityGroupRules { rules }),
        ..Default::default()
    };
    // As it was read, and one more.
    let mut wanted = group.rules.clone();
    wanted.push(https.clone());
    let updated = tenant.groups.update_security_group(set(wanted)).await;
    let two = updated.unwrap().into_inner().security_group.unwrap();
    assert_eq!(two.rules.len(), 2);
    assert_eq!(two.rules[0], group.rules[0], "the old one keeps its id");

    // The same once more changes nothing.
    let updated = tenant
        .groups
        .update_security_group(set(two.rules.clone()))
        .await;
    let same = updated.unwrap().into_inner().security_group.unwrap();
    assert_eq!(same, two);

    let twice = set(vec![https.clone(), https.clone()]);
    let twice = tenant.groups.update_security_group(twice).await;
    expect_error(twice, Code::AlreadyExists, "security group rule");
    let strange = pb::SecurityGroupRule {
        remote_group_id: new_id(),
        ..https
    };
    let strange = tenant
        .groups
        .update_security_group(set(vec![strange]))
        .await;
    expect_error(strange, Code::NotFound, "security group");

    let updated = tenant.groups.update_security_group(set(Vec::new())).await;
    let none = updated.unwrap().into_inner().security_group.unwrap();
    assert_eq!(none.rules, []);
    let rename = pb::UpdateSecurityGroupRequest {
        id: group.id.clone(),
        name: Some("front".into()),
        ..Default::default()
    };
    let renamed = tenant.groups.update_security_group(rename).await.unwrap();
    assert_eq!(renamed.into_inner().security_group.unwrap().rules, []);
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_addresses_go_on() {
    let mut cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let first = tenant.port(&subnet, "one").await;
    let second = tenant.port(&subnet, "two").await;
    let delete = pb::DeletePortRequest {
        id: second.id.clone(),
        ..Default::default()
    };
    tenant.ports.delete_port(delete).await.unwrap();
    drop(tenant);
    cloud.restart("prismnet").await;

    let mut tenant = cloud.tenant("acme").await;
    assert_eq!(tenant.read_port(&first.id).await, first);
    let read = tenant
        .vpcs
        .get_vpc(pb::GetVpcRequest {
            id: vpc.id.clone(),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(read.into_inner().vpc.unwrap(), vpc);
    // The freed address waits for its turn.
    let third = tenant.port(&subnet, "three").await;
    assert_eq!(
        [first.ip_address, second.ip_address, third.ip_address],
        ["10.0.1.2", "10.0.1.3", "10.0.1.4"]
    );
}
