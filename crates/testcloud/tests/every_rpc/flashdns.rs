use photon_api::flashdns::v1::WatchDesiredRequest;
use photon_api::flashdns::v1::node_service_client::NodeServiceClient;
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::walk::{Case, walk};
use tonic::Code;

use crate::{Scene, bearers};

pub async fn cases(scene: &Scene<'_>) -> Vec<Case> {
    let agent = scene.cloud.program("flashdns-agent").await;
    let mut cases: Vec<Case> = scene.events().into();
    cases.push(scene.system(
        "flashdns.v1.NodeService/WatchDesired",
        &agent,
        WatchDesiredRequest { node: NODE.into() },
    ));
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_flashdns_has_its_walls() {
    let cloud = TestCloud::start().await;
    let bearers = bearers(&cloud, &["flashdns-agent"]).await;
    let cases = cases(&Scene::acme(&cloud)).await;
    let count = cases.len();
    let calls = walk(&cloud.channel("flashdns"), &cases, &bearers, &[]).await;
    println!("{calls} calls of {count} RPCs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_a_host_are_for_its_own_agents() {
    let cloud = TestCloud::start().await;
    let agent = cloud.program("flashdns-agent").await;
    let mut client = NodeServiceClient::new(cloud.channel("flashdns"));
    // Nor does an operator, who may do all else, speak for a host.
    for (session, node) in [(&agent, "another"), (&cloud.operator, NODE)] {
        let request = session.request(WatchDesiredRequest { node: node.into() });
        let status = client.watch_desired(request).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}
