//! The network that a project gets without asking for one.

use std::collections::BTreeSet;

use photon_api::chainfire::v1 as chainfire_pb;
use photon_api::prismnet::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use photon_testcloud::prismnet::{Client, Cloud};
use photon_testkit::{expect_error, refused};

async fn ensure(client: &mut Client) -> Result<pb::Subnet, Status> {
    let request = pb::EnsureDefaultSubnetRequest::default();
    let answer = client.subnets.ensure_default_subnet(request).await?;
    Ok(answer.into_inner().subnet.unwrap())
}

async fn vpc(client: &mut Client, id: &str) -> pb::Vpc {
    let request = pb::GetVpcRequest {
        id: id.into(),
        ..Default::default()
    };
    let answer = client.vpcs.get_vpc(request).await.unwrap();
    answer.into_inner().vpc.unwrap()
}

async fn delete_subnet(client: &mut Client, id: &str) {
    let request = pb::DeleteSubnetRequest {
        id: id.into(),
        ..Default::default()
    };
    client.subnets.delete_subnet(request).await.unwrap();
}

async fn say(
    client: &mut Client,
    default_networks: Option<bool>,
) -> Result<pb::NetworkSettings, Status> {
    let request = pb::UpdateNetworkSettingsRequest {
        default_networks,
        ..Default::default()
    };
    let answer = client.settings.update_network_settings(request).await?;
    Ok(answer.into_inner().settings.unwrap())
}

#[tokio::test]
async fn a_default_network_is_made_once_and_is_then_as_any_other() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let made = ensure(&mut tenant).await.unwrap();
    assert_eq!(made.name, "default");
    assert_eq!(
        (made.cidr.as_str(), made.gateway.as_str(), made.dhcp_enabled),
        ("172.31.0.0/20", "172.31.0.1", true)
    );
    let around = vpc(&mut tenant, "default").await;
    assert_eq!(around.id, made.vpc_id);
    assert_eq!(around.cidr, "172.31.0.0/16");
    assert_eq!(ensure(&mut tenant).await.unwrap(), made);

    // Only one event, which says of both; asking again is none.
    let mut admin = cloud.org_admin("acme").await;
    let listed = admin
        .events
        .list_events(chainfire_pb::ListEventsRequest::default())
        .await
        .unwrap();
    let events = listed.into_inner().events;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].action, "network:subnets:create");
    assert_eq!(events[0].principal_id, tenant.session.principal_id);
    assert!(events[0].reason.contains(&around.id), "{events:?}");

    // It is known by its name: whoever has another of that name gets that.
    let rename = pb::UpdateSubnetRequest {
        id: made.id.clone(),
        name: Some("old".into()),
        ..Default::default()
    };
    tenant.subnets.update_subnet(rename).await.unwrap();
    let second = ensure(&mut tenant).await.unwrap();
    assert_eq!(second.vpc_id, around.id);
    assert_eq!(second.cidr, "172.31.16.0/20");

    // It goes as any other does, and comes back when it is needed.
    for subnet in ["old", "default"] {
        delete_subnet(&mut tenant, subnet).await;
    }
    let delete = pb::DeleteVpcRequest {
        id: around.id.clone(),
        ..Default::default()
    };
    tenant.vpcs.delete_vpc(delete).await.unwrap();
    let third = ensure(&mut tenant).await.unwrap();
    assert_ne!(third.vpc_id, around.id);
    assert_eq!(third.cidr, "172.31.0.0/20");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_need_it_at_once_make_one() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let mut tenant = tenant.clone();
        calls.spawn(async move { ensure(&mut tenant).await.unwrap().id });
    }
    let ids: BTreeSet<String> = calls.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    let vpcs = tenant.vpcs.list_vpcs(pb::ListVpcsRequest::default()).await;
    assert_eq!(vpcs.unwrap().into_inner().vpcs.len(), 1);
    // Each tenant has its own.
    let mut other = cloud.tenant("globex").await;
    assert!(!ids.contains(&ensure(&mut other).await.unwrap().id));
}

#[tokio::test]
async fn it_takes_the_room_that_a_vpc_of_that_name_has() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let own = tenant.vpc("default", "10.0.0.0/28").await;
    let made = ensure(&mut tenant).await.unwrap();
    assert_eq!(
        (made.vpc_id.as_str(), made.cidr.as_str()),
        (own.id.as_str(), "10.0.0.0/28")
    );
    delete_subnet(&mut tenant, "default").await;
    tenant.subnet(&own, "front", "10.0.0.8/29").await;
    expect_error(
        ensure(&mut tenant).await,
        Code::FailedPrecondition,
        "VPC 'default' (10.0.0.0/28) has no room for a subnet 'default'",
    );
}

#[tokio::test]
async fn an_organization_may_have_none_made() {
    let cloud = Cloud::start().await;
    let mut admin = cloud.org_admin("acme").await;
    let mut tenant = cloud.tenant("acme").await;
    // Who works in a project does not decide for the organization.
    refused(say(&mut tenant, Some(false)).await, Code::PermissionDenied);
    let off = say(&mut admin, Some(false)).await.unwrap();
    assert_eq!((off.org_id.as_str(), off.default_networks), ("acme", false));
    expect_error(
        ensure(&mut tenant).await,
        Code::FailedPrecondition,
        "organization 'acme' has none made by itself: make a VPC and a subnet",
    );
    // What is not said stays.
    assert_eq!(say(&mut admin, None).await.unwrap(), off);
    let get = pb::GetNetworkSettingsRequest::default();
    let read = admin.settings.get_network_settings(get).await.unwrap();
    assert_eq!(read.into_inner().settings.unwrap(), off);
    // It is about what is made by itself alone, and about this organization.
    let own = tenant.vpc("main", "10.0.0.0/16").await;
    let named = tenant.subnet(&own, "default", "10.0.1.0/24").await;
    assert_eq!(ensure(&mut tenant).await.unwrap(), named);
    ensure(&mut cloud.tenant("globex").await).await.unwrap();

    say(&mut admin, Some(true)).await.unwrap();
    delete_subnet(&mut tenant, "default").await;
    ensure(&mut tenant).await.unwrap();
}

#[tokio::test]
async fn it_needs_the_rights_to_make_both_and_to_see_what_is_there() {
    let cloud = Cloud::start().await;
    refused(
        ensure(&mut cloud.viewer("acme").await).await,
        Code::PermissionDenied,
    );
    let mut half = cloud
        .with_role("acme", &[("network:subnets:create", "")])
        .await;
    expect_error(
        ensure(&mut half).await,
        Code::PermissionDenied,
        "network:vpcs:create",
    );
    let blind = [
        ("network:subnets:create", ""),
        ("network:vpcs:create", ""),
        ("network:subnets:get", "resource.owner == principal.id"),
    ];
    let mut blind = cloud.with_role("acme", &blind).await;
    ensure(&mut cloud.tenant("acme").await).await.unwrap();
    // Somebody else's default network.
    expect_error(
        ensure(&mut blind).await,
        Code::PermissionDenied,
        "network:subnets:get",
    );
}
