//! One tenant next to another, and who may do what.

use photon_api::prismnet::v1 as pb;
use tonic::Code;

use photon_testcloud::prismnet::{Cloud, new_port};
use photon_testkit::{expect_error, new_id};

#[tokio::test]
async fn two_tenants_may_have_the_same_of_everything() {
    let cloud = Cloud::start().await;
    let mut seen = Vec::new();
    for org in ["acme", "globex"] {
        let mut tenant = cloud.tenant(org).await;
        let (vpc, subnet) = tenant.network().await;
        let request = pb::CreatePortRequest {
            ip_address: "10.0.1.10".into(),
            ..new_port(&subnet, "eth0")
        };
        let port = tenant.ports.create_port(request).await.unwrap();
        let port = port.into_inner().port.unwrap();
        assert_eq!(port.ip_address, "10.0.1.10");
        seen.push((vpc, subnet, port));
    }
    assert_ne!(seen[0].0.id, seen[1].0.id);
    assert_ne!(seen[0].1.vni, seen[1].1.vni);
    assert_ne!(seen[0].2.security_group_ids, seen[1].2.security_group_ids);
}

/// By id or by name, read or changed: what is another tenant's is answered as what does not exist.
#[tokio::test]
async fn another_tenants_things_do_not_exist() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let (vpc, subnet) = acme.network().await;
    let port = acme.port(&subnet, "eth0").await;
    let group = port.security_group_ids[0].clone();

    let mut globex = cloud.tenant("globex").await;
    macro_rules! hidden {
        ($client:ident, $method:ident, $request:ident, $field:ident, $id:expr, $kind:literal) => {{
            for id in [$id.clone(), new_id()] {
                let request = pb::$request {
                    $field: id.clone(),
                    ..Default::default()
                };
                let text = format!("{} '{id}' not found", $kind);
                expect_error(globex.$client.$method(request).await, Code::NotFound, &text);
            }
        }};
    }
    hidden!(vpcs, get_vpc, GetVpcRequest, id, vpc.id, "VPC");
    hidden!(vpcs, update_vpc, UpdateVpcRequest, id, vpc.id, "VPC");
    hidden!(vpcs, delete_vpc, DeleteVpcRequest, id, vpc.id, "VPC");
    hidden!(
        subnets,
        get_subnet,
        GetSubnetRequest,
        id,
        subnet.id,
        "subnet"
    );
    hidden!(
        subnets,
        update_subnet,
        UpdateSubnetRequest,
        id,
        subnet.id,
        "subnet"
    );
    hidden!(
        subnets,
        delete_subnet,
        DeleteSubnetRequest,
        id,
        subnet.id,
        "subnet"
    );
    hidden!(ports, get_port, GetPortRequest, id, port.id, "port");
    hidden!(ports, update_port, UpdatePortRequest, id, port.id, "port");
    hidden!(ports, delete_port, DeletePortRequest, id, port.id, "port");
    // Whoever's they are: that is for who runs devices.
    for id in [&port.id, &new_id()] {
        for mut tenant in [globex.clone(), acme.clone()] {
            let attach = pb::AttachPortRequest {
                id: id.clone(),
                device_id: new_id(),
                device_type: pb::DeviceType::Vm.into(),
                node: "n1".into(),
                ..Default::default()
            };
            let refused = tenant.ports.attach_port(attach).await;
            expect_error(refused, Code::PermissionDenied, "network:ports:attach");
            let detach = pb::DetachPortRequest {
                id: id.clone(),
                ..Default::default()
            };
            let refused = tenant.ports.detach_port(detach).await;
            expect_error(refused, Code::PermissionDenied, "network:ports:detach");
        }
    }
    hidden!(
        groups,
        get_security_group,
        GetSecurityGroupRequest,
        id,
        group,
        "security group"
    );
    hidden!(
        groups,
        update_security_group,
        UpdateSecurityGroupRequest,
        id,
        group,
        "security group"
    );
    hidden!(
        groups,
        delete_security_group,
        DeleteSecurityGroupRequest,
        id,
        group,
        "security group"
    );
    hidden!(
        groups,
        add_rule,
        AddRuleRequest,
        security_group_id,
        group,
        "security group"
    );
    hidden!(
        groups,
        remove_rule,
        RemoveRuleRequest,
        security_group_id,
        group,
        "security group"
    );

    // By name in the other's project.
    for name in ["main", "other"] {
        let request = pb::GetVpcRequest {
            id: name.into(),
            org_id: "acme".into(),
            project_id: "web".into(),
        };
        let text = format!("VPC '{name}' not found");
        expect_error(globex.vpcs.get_vpc(request).await, Code::NotFound, &text);
    }

    // In requests for something of one's own.
    let (_, own) = {
        let vpc = globex.vpc("mine", "10.0.0.0/16").await;
        let subnet = globex.subnet(&vpc, "mine", "10.0.1.0/24").await;
        (vpc, subnet)
    };
    let in_vpc = globex
        .subnets
        .create_subnet(pb::CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: "front".into(),
            cidr: "10.0.2.0/24".into(),
            ..Default::default()
        })
        .await;
    expect_error(
        in_vpc,
        Code::NotFound,
        &format!("VPC '{}' not found", vpc.id),
    );
    let in_subnet = globex.ports.create_port(new_port(&subnet, "eth0")).await;
    let text = format!("subnet '{}' not found", subnet.id);
    expect_error(in_subnet, Code::NotFound, &text);
    let in_group = pb::CreatePortRequest {
        security_group_ids: vec![group.clone()],
        ..new_port(&own, "eth0")
    };
    let in_group = globex.ports.create_port(in_group).await;
    let text = format!("security group '{group}' not found");
    expect_error(in_group, Code::NotFound, &text);
    let from_group = globex
        .groups
        .create_security_group(pb::CreateSecurityGroupRequest {
            name: "web".into(),
            rules: vec![pb::SecurityGroupRule {
                direction: pb::Direction::Ingress.into(),
                protocol: pb::Protocol::Any.into(),
                remote_group_id: group.clone(),
                ..Default::default()
            }],
            ..Default::default()
        })
        .await;
    expect_error(from_group, Code::NotFound, &text);
    let in_filter = pb::ListPortsRequest {
        subnet_id: subnet.id.clone(),
        ..Default::default()
    };
    let listed = globex.ports.list_ports(in_filter).await.unwrap();
    assert_eq!(listed.into_inner().ports, []);

    // Naming the other tenant itself is refused openly.
    let create = pb::CreateVpcRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: "mine".into(),
        cidr: "10.0.0.0/16".into(),
        ..Default::default()
    };
    let refused = globex.vpcs.create_vpc(create).await;
    expect_error(refused, Code::PermissionDenied, "outside of the tenant");
    let list = pb::ListVpcsRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let refused = globex.vpcs.list_vpcs(list).await;
    expect_error(refused, Code::PermissionDenied, "outside of the tenant");

    // And nothing of acme's has changed.
    assert_eq!(acme.read_port(&port.id).await, port);
}

#[tokio::test]
async fn a_role_decides_what_one_may_do() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "eth0").await;

    let mut viewer = cloud.viewer("acme").await;
    assert_eq!(viewer.read_port("eth0").await, port);
    viewer
        .vpcs
        .list_vpcs(pb::ListVpcsRequest::default())
        .await
        .unwrap();
    let create = viewer.ports.create_port(new_port(&subnet, "eth1")).await;
    expect_error(create, Code::PermissionDenied, "network:ports:create");
    let delete = pb::DeleteVpcRequest {
        id: vpc.id.clone(),
        ..Default::default()
    };
    let delete = viewer.vpcs.delete_vpc(delete).await;
    expect_error(delete, Code::PermissionDenied, "network:vpcs:delete");
    let attach = viewer.attach(&port, &new_id(), "n1").await.unwrap_err();
    assert_eq!(attach.code(), Code::PermissionDenied);

    // Who may do nothing can't even learn what exists.
    let mut nobody = cloud.nobody("acme").await;
    for id in [vpc.id.clone(), new_id(), "main".into(), "none".into()] {
        let get = pb::GetVpcRequest {
            id,
            ..Default::default()
        };
        let get = nobody.vpcs.get_vpc(get).await;
        expect_error(get, Code::PermissionDenied, "network:vpcs:get");
    }

    let mut forged = cloud.with_token("forged");
    let listed = forged.vpcs.list_vpcs(pb::ListVpcsRequest::default()).await;
    expect_error(listed, Code::Unauthenticated, "");
}

#[tokio::test]
async fn conditions_see_owner_name_and_labels() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (_, subnet) = tenant.network().await;
    tenant.port(&subnet, "theirs").await;
    let mut careful = cloud
        .with_role(
            "acme",
            &[
                ("network:ports:create", "resource.name like \"lab-*\""),
                ("network:ports:delete", "resource.owner == principal.id"),
            ],
        )
        .await;
    let other = careful.ports.create_port(new_port(&subnet, "eth0")).await;
    expect_error(other, Code::PermissionDenied, "network:ports:create");
    careful.port(&subnet, "lab-1").await;
    let delete = |id: &str| pb::DeletePortRequest {
        id: id.into(),
        ..Default::default()
    };
    let theirs = careful.ports.delete_port(delete("theirs")).await;
    expect_error(theirs, Code::PermissionDenied, "network:ports:delete");
    careful.ports.delete_port(delete("lab-1")).await.unwrap();
}

#[tokio::test]
async fn without_iam_and_with_a_revoked_token_nothing_goes() {
    let mut cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let list = pb::ListVpcsRequest::default();
    tenant.vpcs.list_vpcs(list.clone()).await.unwrap();
    let mut stranger = cloud.stranger();
    let listed = stranger.vpcs.list_vpcs(list.clone()).await;
    expect_error(listed, Code::Unauthenticated, "authorization: Bearer");

    cloud.people.revoke(&tenant.session).await;
    let listed = tenant.vpcs.list_vpcs(list.clone()).await;
    expect_error(listed, Code::Unauthenticated, "revoked");

    let mut other = cloud.tenant("acme").await;
    cloud.stop("iam").await;
    let listed = other.vpcs.list_vpcs(list).await;
    expect_error(listed, Code::Unavailable, "try again");
}
