//! Following resources: what is there, then what changes, and nothing of anybody else's.

use photon_api::prismnet::v1 as pb;
use tonic::{Code, Streaming};

use photon_testcloud::prismnet::{Client, Cloud};
use photon_testkit::{DEADLINE, expect_error};

async fn watch(tenant: &mut Client, since_revision: u64) -> Streaming<pb::WatchVpcsResponse> {
    let request = pb::WatchVpcsRequest {
        since_revision,
        ..Default::default()
    };
    tenant.vpcs.watch_vpcs(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<pb::WatchVpcsResponse>) -> pb::WatchVpcsResponse {
    let next = tokio::time::timeout(DEADLINE, stream.message()).await;
    next.expect("news in time").unwrap().expect("no end")
}

/// The name of what is there now, `-id` of what is gone, `.` when all has been told.
fn short(told: &pb::WatchVpcsResponse) -> String {
    match (&told.vpc, told.deleted_id.as_str()) {
        (Some(vpc), "") => vpc.name.clone(),
        (None, "") => ".".to_owned(),
        (None, id) => format!("-{id}"),
        both => panic!("one thing at a time: {both:?}"),
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_what_changes_and_nothing_of_others() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let old = acme.vpc("old", "10.0.0.0/16").await;
    globex.vpc("theirs", "10.0.0.0/16").await;

    let mut stream = watch(&mut acme, 0).await;
    let told = [next(&mut stream).await, next(&mut stream).await];
    assert_eq!(told.each_ref().map(short), ["old", "."]);
    assert_eq!(told[0].vpc.as_ref(), Some(&old));

    let others = globex.vpc("theirs-too", "10.1.0.0/16").await;
    globex
        .vpcs
        .delete_vpc(pb::DeleteVpcRequest {
            id: others.id,
            ..Default::default()
        })
        .await
        .unwrap();
    let new = acme.vpc("new", "10.1.0.0/16").await;
    let rename = pb::UpdateVpcRequest {
        id: new.id.clone(),
        name: Some("newer".into()),
        ..Default::default()
    };
    acme.vpcs.update_vpc(rename).await.unwrap();
    acme.vpcs
        .delete_vpc(pb::DeleteVpcRequest {
            id: new.id.clone(),
            ..Default::default()
        })
        .await
        .unwrap();
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(short(&next(&mut stream).await));
    }
    assert_eq!(names, ["new", "newer", &format!("-{}", new.id)]);
}

#[tokio::test]
async fn a_watch_goes_on_from_the_revision_of_a_list() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    acme.vpc("old", "10.0.0.0/16").await;
    let listed = acme.vpcs.list_vpcs(pb::ListVpcsRequest::default()).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!(listed.vpcs.len(), 1);
    let missed = acme.vpc("missed", "10.1.0.0/16").await;

    let mut stream = watch(&mut acme, listed.revision).await;
    let told = next(&mut stream).await;
    assert_eq!(told.vpc, Some(missed));
    assert!(told.revision > listed.revision);

    // From there another one goes on, and hears of nothing twice.
    let mut further = watch(&mut acme, told.revision).await;
    acme.vpc("last", "10.2.0.0/16").await;
    assert_eq!(short(&next(&mut further).await), "last");

    let future = pb::WatchVpcsRequest {
        since_revision: told.revision + 1_000_000,
        ..Default::default()
    };
    let refused = acme.vpcs.watch_vpcs(future).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "list again and watch from there",
    );
}

#[tokio::test]
async fn a_watch_ends_with_the_right_to_it() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut stream = watch(&mut acme, 0).await;
    assert_eq!(short(&next(&mut stream).await), ".");
    cloud.people.revoke(&acme.session).await;
    let ended = tokio::time::timeout(DEADLINE, stream.message()).await;
    let ended = ended.expect("the end in time").unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
}
