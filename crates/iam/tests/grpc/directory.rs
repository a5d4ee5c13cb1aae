//! Where the cloud's APIs are: what clients are told who know IAM alone.

use photon_api::iam::v1::ListEndpointsRequest;
use photon_api::iam::v1::directory_service_client::DirectoryServiceClient;
use photon_testcloud::iam::{start as start_iam, with};
use photon_testkit::Cloud;

#[tokio::test]
async fn who_has_no_token_yet_learns_what_the_operators_published() {
    let published = [
        ("iam", "https://cloud.example:50080"),
        ("plasmavmc", "https://cloud.example:50082"),
        ("prismnet", "https://cloud.example:50081"),
    ];
    let owned = published.map(|(component, url)| (component.to_owned(), url.to_owned()));
    let part = with("host-1", move |_, settings| {
        settings.component.public_endpoints = owned.clone().into();
    });
    let iam = Cloud::start([part]).await;
    let mut directory = DirectoryServiceClient::new(iam.channel("iam"));
    let answer = directory.list_endpoints(ListEndpointsRequest {}).await;
    let endpoints = answer.unwrap().into_inner().endpoints;
    let endpoints: Vec<(&str, &str)> = endpoints
        .iter()
        .map(|it| (it.component.as_str(), it.url.as_str()))
        .collect();
    assert_eq!(endpoints, published);
}

#[tokio::test]
async fn what_nobody_published_is_not_told() {
    let iam = start_iam().await;
    let mut directory = DirectoryServiceClient::new(iam.channel("iam"));
    let answer = directory.list_endpoints(ListEndpointsRequest {}).await;
    assert_eq!(answer.unwrap().into_inner().endpoints, []);
}
