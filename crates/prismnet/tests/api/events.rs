//! What the event log keeps of calls.

use photon_api::chainfire::v1 as chainfire_pb;
use photon_api::prismnet::v1 as pb;

use photon_testcloud::prismnet::{Client, Cloud, new_port};
use photon_testkit::new_id;

/// Action and last part of the resource's name of every event of the caller's organization, oldest first.
async fn events(client: &mut Client) -> Vec<chainfire_pb::Event> {
    let request = chainfire_pb::ListEventsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let listed = client.events.list_events(request).await.unwrap();
    listed.into_inner().events
}

#[tokio::test]
async fn every_change_and_every_refusal_is_an_event() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "eth0").await;
    let device = new_id();
    tenant.attach(&port, &device, "n1").await.unwrap();
    // Neither a repeated call nor one that reads is a change.
    tenant.attach(&port, &device, "n1").await.unwrap();
    tenant.read_port("eth0").await;
    tenant.detach(&port).await;
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
    let delete = pb::DeletePortRequest {
        id: "eth0".into(),
        ..Default::default()
    };
    tenant.ports.delete_port(delete).await.unwrap();
    let mut viewer = cloud.viewer("acme").await;
    let refused = viewer.ports.create_port(new_port(&subnet, "eth1")).await;
    refused.unwrap_err();
    // A stranger's attempt stands in the stranger's chain.
    let mut globex = cloud.tenant("globex").await;
    let get = pb::GetVpcRequest {
        id: vpc.id.clone(),
        ..Default::default()
    };
    globex.vpcs.get_vpc(get).await.unwrap_err();

    let mut admin = cloud.org_admin("acme").await;
    let seen = events(&mut admin).await;
    let summary: Vec<_> = seen
        .iter()
        .map(|event| {
            let digests = (
                !event.before_digest.is_empty(),
                !event.after_digest.is_empty(),
            );
            (event.action.as_str(), event.outcome(), digests)
        })
        .collect();
    let done = chainfire_pb::Outcome::Success;
    assert_eq!(
        summary,
        [
            ("network:vpcs:create", done, (false, true)),
            ("network:subnets:create", done, (false, true)),
            ("network:ports:create", done, (false, true)),
            ("network:ports:attach", done, (true, true)),
            ("network:ports:detach", done, (true, true)),
            ("network:securityGroups:update", done, (true, true)),
            ("network:ports:delete", done, (true, false)),
            (
                "network:ports:create",
                chainfire_pb::Outcome::Denied,
                (false, false)
            ),
        ]
    );
    assert_eq!(
        seen[0].resource,
        format!("org/acme/project/web/vpcs/{}", vpc.id)
    );
    assert!(seen[7].reason.contains("network:ports:create"), "{seen:?}");
    let mut admin = cloud.org_admin("globex").await;
    let seen = events(&mut admin).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].outcome(), chainfire_pb::Outcome::Denied);

    let verify = chainfire_pb::VerifyChainRequest::default();
    let verified = admin.events.verify_chain(verify).await.unwrap();
    let verified = verified.into_inner();
    assert!(verified.intact);
    assert_eq!(verified.events, 1);
}
