//! Peerings: asked for, accepted, rejected, ended, and what those learn who may not know.

use pb::PeeringState::{Active, Pending, Rejected};
use photon_api::prismnet::v1 as pb;
use tonic::{Code, Status};

use photon_testcloud::prismnet::{Client, Cloud};
use photon_testkit::{expect_error, new_id};

/// Asks for a peering with a VPC of project `web` of an organization.
async fn ask(
    client: &mut Client,
    vpc: &pb::Vpc,
    name: &str,
    (org, peer): (&str, &str),
) -> Result<pb::Peering, Status> {
    let request = pb::CreatePeeringRequest {
        name: name.into(),
        vpc_id: vpc.id.clone(),
        peer_org_id: org.into(),
        peer_vpc_id: peer.into(),
        ..Default::default()
    };
    let answer = client.peerings.create_peering(request).await?;
    Ok(answer.into_inner().peering.unwrap())
}

async fn accept(client: &mut Client, peering: &pb::Peering) -> Result<pb::Peering, Status> {
    let request = pb::AcceptPeeringRequest {
        id: peering.id.clone(),
        ..Default::default()
    };
    let answer = client.peerings.accept_peering(request).await?;
    Ok(answer.into_inner().peering.unwrap())
}

async fn reject(client: &mut Client, peering: &pb::Peering) -> Result<(), Status> {
    let request = pb::RejectPeeringRequest {
        id: peering.id.clone(),
        ..Default::default()
    };
    client.peerings.reject_peering(request).await.map(drop)
}

async fn delete(client: &mut Client, peering: &pb::Peering) -> Result<(), Status> {
    let request = pb::DeletePeeringRequest {
        id: peering.id.clone(),
        ..Default::default()
    };
    client.peerings.delete_peering(request).await.map(drop)
}

async fn list(client: &mut Client) -> Vec<pb::Peering> {
    let request = pb::ListPeeringsRequest::default();
    let answer = client.peerings.list_peerings(request).await;
    answer.unwrap().into_inner().peerings
}

async fn only(client: &mut Client) -> pb::Peering {
    let mut all = list(client).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[tokio::test]
async fn one_side_asks_and_the_other_accepts() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let ours = acme.vpc("ours", "10.0.0.0/16").await;
    let theirs = globex.vpc("theirs", "10.1.0.0/16").await;

    let asked = ask(&mut acme, &ours, "to-globex", ("globex", &theirs.id)).await;
    let asked = asked.unwrap();
    assert_eq!((asked.state(), asked.asked_by_peer), (Pending, false));
    assert_eq!(
        (asked.peer_org_id.as_str(), &asked.peer_vpc_id),
        ("globex", &theirs.id)
    );
    assert!(asked.peer_cidr.is_empty() && asked.expires_at.is_some());
    // The other side sees who asks, with what range, and that it is for it to accept.
    let request = only(&mut globex).await;
    assert_eq!((request.state(), request.asked_by_peer), (Pending, true));
    assert_eq!(
        (&request.org_id, &request.vpc_id),
        (&"globex".to_owned(), &theirs.id)
    );
    assert_eq!(
        (request.peer_org_id.as_str(), request.peer_cidr.as_str()),
        ("acme", "10.0.0.0/16")
    );
    assert_ne!(request.id, asked.id);

    // Neither side reaches into the other.
    let text = format!("peering '{}' not found", request.id);
    expect_error(accept(&mut acme, &request).await, Code::NotFound, &text);
    let text = "asked for by this side";
    expect_error(
        accept(&mut acme, &asked).await,
        Code::FailedPrecondition,
        text,
    );
    let text = format!("peering '{}' not found", asked.id);
    expect_error(delete(&mut globex, &asked).await, Code::NotFound, &text);

    let accepted = accept(&mut globex, &request).await.unwrap();
    assert_eq!((accepted.state(), accepted.expires_at), (Active, None));
    assert_eq!(accept(&mut globex, &request).await.unwrap(), accepted);
    let seen = only(&mut acme).await;
    assert_eq!(
        (seen.state(), seen.peer_cidr.as_str()),
        (Active, "10.1.0.0/16")
    );
    let text = "is none that the other side asks for";
    expect_error(
        reject(&mut globex, &request).await,
        Code::FailedPrecondition,
        text,
    );

    // It holds both VPCs, and no route leads its addresses elsewhere.
    for (client, vpc, name) in [
        (&mut acme, &ours, "to-globex"),
        (&mut globex, &theirs, &request.name),
    ] {
        let request = pb::DeleteVpcRequest {
            id: vpc.id.clone(),
            ..Default::default()
        };
        let text = format!("has peering '{name}'");
        let refused = client.vpcs.delete_vpc(request).await;
        expect_error(refused, Code::FailedPrecondition, &text);
    }
    let nowhere = (pb::RouteTarget::Blackhole, "");
    let text = "addresses of the VPC that peering 'to-globex' leads to";
    let refused = acme.route(&ours, "r", "10.1.7.0/24", nowhere).await;
    expect_error(refused, Code::FailedPrecondition, text);
    acme.route(&ours, "wide", "10.0.0.0/8", nowhere)
        .await
        .unwrap();

    // Ended by the other side, who asked learns that.
    delete(&mut globex, &request).await.unwrap();
    assert_eq!(list(&mut globex).await, []);
    assert_eq!(only(&mut acme).await.state(), Rejected);
    delete(&mut acme, &asked).await.unwrap();
    assert_eq!(list(&mut acme).await, []);
}

#[tokio::test]
async fn a_vpc_that_is_not_there_is_as_one_that_does_not_answer() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let ours = acme.vpc("ours", "10.0.0.0/16").await;
    // Of another organization, with addresses in common: nothing of it is told.
    let theirs = globex.vpc("theirs", "10.0.0.0/16").await;
    let there = ask(&mut acme, &ours, "there", ("globex", &theirs.id))
        .await
        .unwrap();
    let absent = new_id();
    let nobody = ask(&mut acme, &ours, "nobody", ("globex", &absent))
        .await
        .unwrap();
    let wrong = ask(&mut acme, &ours, "wrong", ("initech", &new_id()))
        .await
        .unwrap();
    for it in [&there, &nobody, &wrong] {
        assert_eq!((it.state(), it.peer_cidr.as_str()), (Pending, ""));
    }
    // A VPC is asked only by its right organization and project.
    let second = globex.vpc("second", "10.2.0.0/16").await;
    ask(&mut acme, &ours, "elsewhere", ("acme", &second.id))
        .await
        .unwrap();
    let request = only(&mut globex).await;
    assert_eq!(request.vpc_id, theirs.id);
    // Who may see both is told.
    let text = "addresses in common with its own range 10.0.0.0/16";
    expect_error(
        accept(&mut globex, &request).await,
        Code::FailedPrecondition,
        text,
    );
    let twin = acme.vpc("twin", "10.0.8.0/24").await;
    let refused = ask(&mut acme, &ours, "twin", ("", &twin.id)).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "VPC 'ours' can't have a peering with 10.0.8.0/24",
    );
    let refused = ask(&mut acme, &ours, "self", ("", &ours.id)).await;
    expect_error(
        refused,
        Code::InvalidArgument,
        "another VPC than the one that asks",
    );
    let refused = ask(&mut acme, &ours, "bad", ("", "x")).await;
    expect_error(refused, Code::InvalidArgument, "peer_vpc_id 'x'");

    // Rejected: gone there, and said here. Once more only after it is deleted.
    reject(&mut globex, &request).await.unwrap();
    assert_eq!(list(&mut globex).await, []);
    let again = ask(&mut acme, &ours, "again", ("globex", &theirs.id)).await;
    expect_error(
        again,
        Code::AlreadyExists,
        "peering 'there', which is rejected: delete that first",
    );
    let again = ask(&mut acme, &ours, "again", ("globex", &absent)).await;
    expect_error(again, Code::AlreadyExists, "peering 'nobody'");
    delete(&mut acme, &there).await.unwrap();
    ask(&mut acme, &ours, "again", ("globex", &theirs.id))
        .await
        .unwrap();
    // Who is asked does not ask.
    let crossed = ask(&mut globex, &theirs, "crossed", ("acme", &ours.id)).await;
    expect_error(
        crossed,
        Code::AlreadyExists,
        "by which it asks: accept that",
    );
}

#[tokio::test]
async fn peerings_of_a_vpc_have_no_address_in_common() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let ours = acme.vpc("ours", "10.0.0.0/16").await;
    let first = globex.vpc("first", "10.1.0.0/16").await;
    let second = globex.vpc("second", "10.1.128.0/17").await;
    for (name, vpc) in [("first", &first), ("second", &second)] {
        ask(&mut acme, &ours, name, ("globex", &vpc.id))
            .await
            .unwrap();
    }
    let requests = list(&mut globex).await;
    let of = |vpc: &pb::Vpc| {
        requests
            .iter()
            .find(|it| it.vpc_id == vpc.id)
            .unwrap()
            .clone()
    };
    accept(&mut globex, &of(&first)).await.unwrap();
    // What the asker reaches is not told to the other side.
    let refused = accept(&mut globex, &of(&second)).await;
    let text = "the VPC that asks can't have a peering with 10.1.128.0/17";
    expect_error(refused.clone(), Code::FailedPrecondition, text);
    assert!(!refused.unwrap_err().message().contains("10.1.0.0/16"));
    // A route is in the way too, until it is deleted.
    let third = globex.vpc("third", "10.3.0.0/16").await;
    let nowhere = (pb::RouteTarget::Blackhole, "");
    let route = globex
        .route(&third, "r", "10.0.7.0/24", nowhere)
        .await
        .unwrap();
    ask(&mut acme, &ours, "third", ("globex", &third.id))
        .await
        .unwrap();
    let requests = list(&mut globex).await;
    let request = requests.iter().find(|it| it.vpc_id == third.id).unwrap();
    let text = "10.0.7.0/24, to which it has a route";
    expect_error(
        accept(&mut globex, request).await,
        Code::FailedPrecondition,
        text,
    );
    let gone = pb::DeleteRouteRequest {
        id: route.id,
        ..Default::default()
    };
    globex.routes.delete_route(gone).await.unwrap();
    accept(&mut globex, request).await.unwrap();
}

#[tokio::test]
async fn nobody_fills_what_another_has_room_for() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let theirs = globex.vpc("theirs", "10.1.0.0/16").await;
    // 21 VPCs need more than a project has: two of them.
    for n in 0..20 {
        let vpc = acme
            .vpc(&format!("n{n}"), &format!("10.{}.0.0/16", 100 + n))
            .await;
        let asked = ask(&mut acme, &vpc, &format!("n{n}"), ("globex", &theirs.id)).await;
        assert_eq!(asked.unwrap().state(), Pending);
    }
    assert_eq!(list(&mut globex).await.len(), 20);
    // One more is pending too, and is heard by nobody.
    let mut initech = cloud.tenant("initech").await;
    let vpc = initech.vpc("late", "10.9.0.0/16").await;
    let asked = ask(&mut initech, &vpc, "late", ("globex", &theirs.id)).await;
    assert_eq!(asked.unwrap().state(), Pending);
    assert_eq!(list(&mut globex).await.len(), 20);
    // What others ask for takes nothing of the quota, and may be cleared away.
    for request in list(&mut globex).await.iter().take(2) {
        reject(&mut globex, request).await.unwrap();
    }
    let text = "VPC 'n2' has 20 peerings";
    let busy = pb::GetVpcRequest {
        id: "n2".into(),
        ..Default::default()
    };
    let busy = acme
        .vpcs
        .get_vpc(busy)
        .await
        .unwrap()
        .into_inner()
        .vpc
        .unwrap();
    for n in 1..20 {
        let name = format!("more{n}");
        ask(&mut acme, &busy, &name, ("globex", &new_id()))
            .await
            .unwrap();
    }
    let refused = ask(&mut acme, &busy, "more20", ("globex", &new_id())).await;
    expect_error(refused, Code::ResourceExhausted, text);
}

#[tokio::test]
async fn hosts_with_ports_of_either_vpc_are_told_of_both() {
    let cloud = Cloud::start().await;
    let mut operator = cloud.operator().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let ours = acme.vpc("ours", "10.0.0.0/16").await;
    let front = acme.subnet(&ours, "front", "10.0.1.0/24").await;
    let theirs = globex.vpc("theirs", "10.1.0.0/16").await;
    let back = globex.subnet(&theirs, "back", "10.1.1.0/24").await;
    let third = globex.vpc("third", "10.2.0.0/16").await;
    let port = acme.port(&front, "web").await;
    let vm = "7b1d3c0e-54f0-4bb9-9c6f-1f1c2b3a4d01";
    operator.attach(&port, vm, "n1").await.unwrap();

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
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!((told.vpcs.len(), told.peerings.len()), (1, 0));

    let asked = ask(&mut acme, &ours, "p", ("globex", &theirs.id))
        .await
        .unwrap();
    let request = only(&mut globex).await;
    accept(&mut globex, &request).await.unwrap();
    let told = stream.message().await.unwrap().unwrap();
    let side = |id: &str, vpc: &pb::Vpc| pb::DesiredPeeringSide {
        id: id.into(),
        vpc_id: vpc.id.clone(),
        cidr: vpc.cidr.clone(),
    };
    let expected = pb::DesiredPeering {
        id: asked.id.clone(),
        sides: vec![side(&asked.id, &ours), side(&request.id, &theirs)],
    };
    assert_eq!(told.peerings, [expected]);
    let vpcs: Vec<_> = told.vpcs.iter().map(|vpc| vpc.id.as_str()).collect();
    assert_eq!(vpcs.len(), 2);
    assert!(vpcs.contains(&theirs.id.as_str()));
    let subnets = told.vpcs.iter().flat_map(|vpc| &vpc.subnets);
    assert!(subnets.into_iter().any(|subnet| subnet.id == back.id));

    // Whom a peer has a peering with is nothing to this host.
    ask(&mut globex, &theirs, "q", ("", &third.id))
        .await
        .unwrap();
    let requests = list(&mut globex).await;
    let next = requests.iter().find(|it| it.vpc_id == third.id).unwrap();
    accept(&mut globex, next).await.unwrap();
    delete(&mut acme, &asked).await.unwrap();
    let told = stream.message().await.unwrap().unwrap();
    assert_eq!((told.vpcs.len(), told.peerings.len()), (1, 0), "{told:?}");
}
